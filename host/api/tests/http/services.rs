//! What operators are answered about application services.

use api::admin::{
    AttemptInfo, AttemptsInfo, DeadInfo, DeadLettersInfo, ReplayedInfo, ServiceInfo,
    ServiceNodeInfo, ServicesInfo,
};
use serde_json::json;

use crate::desk::desk;

/// A service that is stopped, as one node sees it.
pub(crate) fn shown() -> ServicesInfo {
    let node = ServiceNodeInfo {
        node: "n1".parse().unwrap(),
        url: "http://crm".to_owned(),
        state: "stopped",
        cause: Some("paused"),
        for_ms: 7,
        next_ms: None,
        failing: 1,
        failing_ms: Some(60),
        lag_ms: Some(70),
        in_flight: 1,
        pending: 5,
        done: 9,
        parked: 2,
        abandoned: 4,
        partitions: 3,
    };
    let service = ServiceInfo {
        name: "crm".to_owned(),
        url: "http://crm".to_owned(),
        dialect: "webhook".to_owned(),
        state: "stopped",
        cause: Some("paused"),
        for_ms: 7,
        next_ms: None,
        failing: 1,
        failing_ms: Some(60),
        lag_ms: Some(70),
        in_flight: 1,
        pending: 5,
        done: 9,
        parked: 2,
        abandoned: 4,
        partitions: 3,
        nodes: vec![node],
    };
    ServicesInfo { services: vec![service], silent: vec!["n9".parse().unwrap()] }
}

pub(crate) fn attempt() -> AttemptInfo {
    AttemptInfo {
        node: "n1".parse().unwrap(),
        transaction: "t".to_owned(),
        at_ms: 5,
        events: 2,
        outcome: "failed",
        status: Some(503),
        ms: 12,
        error: None,
        answer: "busy".to_owned(),
    }
}

pub(crate) fn attempts() -> AttemptsInfo {
    AttemptsInfo { attempts: vec![attempt()], more: false, silent: vec!["n9".parse().unwrap()] }
}

pub(crate) fn dead_letters(transaction: String) -> DeadLettersInfo {
    let dead = DeadInfo {
        event: Some("e".to_owned()),
        chat: None,
        cursor: None,
        status: Some(400),
        transaction,
        last_ms: 3,
        abandoned: 0,
    };
    DeadLettersInfo { entries: vec![dead], more: true, silent: Vec::new() }
}

pub(crate) fn replayed(replayed: u64) -> ReplayedInfo {
    ReplayedInfo { replayed, more: replayed > 1, silent: vec!["n9".parse().unwrap()] }
}

#[tokio::test]
async fn services_are_shown_woken_and_given_again_what_they_did_not_take() {
    let desk = desk().await;
    let services = desk.get("/admin/v1/services").await.json();
    let sums = json!({
        "name": "crm", "url": "http://crm", "dialect": "webhook", "state": "stopped",
        "cause": "paused", "for_ms": 7, "next_ms": null, "failing": 1, "failing_ms": 60,
        "lag_ms": 70, "in_flight": 1, "pending": 5, "done": 9,
        "parked": 2, "abandoned": 4, "partitions": 3,
        "nodes": [{
            "node": "n1", "url": "http://crm", "state": "stopped", "cause": "paused", "for_ms": 7,
            "next_ms": null, "failing": 1, "failing_ms": 60, "lag_ms": 70, "in_flight": 1, "pending": 5, "done": 9, "parked": 2,
            "abandoned": 4, "partitions": 3,
        }],
    });
    assert_eq!(services, json!({"services": [sums], "silent": ["n9"]}));
    let attempts = desk.get("/admin/v1/services/crm/attempts").await.json();
    assert_eq!(attempts["attempts"][0]["status"], 503);
    assert_eq!((&attempts["more"], &attempts["silent"]), (&json!(false), &json!(["n9"])));
    let nobody = desk.get("/admin/v1/services/other/attempts").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "not-found"));
    let dead = desk.get("/admin/v1/services/crm/dlq").await.json();
    assert_eq!(dead["entries"][0]["event"], "e");
    assert_eq!((&dead["more"], &dead["silent"]), (&json!(true), &json!([])));
    for verb in ["wake", "pause", "resume", "forget"] {
        let done = desk.json(&format!("/admin/v1/services/crm/{verb}"), "{}").await;
        assert_eq!((done.status, done.json()), (200, services.clone()));
    }
    let tested = desk.json("/admin/v1/services/crm/test", "").await;
    assert_eq!((tested.status, tested.json()["outcome"].as_str()), (200, Some("failed")));
    assert_eq!(desk.told(), ["Wake crm", "Pause crm", "Resume crm", "Forget crm", "test crm"]);
    let all = desk.json("/admin/v1/services/crm/replay", "").await;
    assert_eq!(all.json(), json!({"replayed": 2, "more": true, "silent": ["n9"]}));
    let one = desk.json("/admin/v1/services/crm/replay", r#"{"events": ["e"]}"#).await;
    assert_eq!(one.json(), json!({"replayed": 1, "more": false, "silent": ["n9"]}));
    let typo = desk.json("/admin/v1/services/crm/replay", r#"{"event": "e"}"#).await;
    assert_eq!(typo.code(), "invalid-request");
}
