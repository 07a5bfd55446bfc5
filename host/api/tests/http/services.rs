//! What operators are answered about application services.

use serde_json::json;

use crate::operators::desk;

#[tokio::test]
async fn services_are_shown_woken_and_given_again_what_they_did_not_take() {
    let desk = desk().await;
    let services = desk.get("/admin/v1/services").await.json();
    let expected = json!({"services": [{
        "name": "crm", "url": "http://crm", "dialect": "webhook", "state": "stopped",
        "cause": "paused", "for_ms": 7, "next_ms": null, "in_flight": 1, "pending": 5, "done": 9,
        "parked": 2, "partitions": 3,
    }]});
    assert_eq!(services, expected);
    let attempts = desk.get("/admin/v1/services/crm/attempts").await.json();
    assert_eq!(attempts["attempts"][0]["status"], 503);
    let nobody = desk.get("/admin/v1/services/other/attempts").await;
    assert_eq!((nobody.status, nobody.code().as_str()), (404, "not-found"));
    let dead = desk.get("/admin/v1/services/crm/dlq").await.json();
    assert_eq!(dead["entries"][0]["event"], "e");
    for verb in ["wake", "pause", "resume"] {
        let done = desk.json(&format!("/admin/v1/services/crm/{verb}"), "{}").await;
        assert_eq!((done.status, done.json()["name"].as_str()), (200, Some("crm")));
    }
    assert_eq!(desk.told(), ["Wake crm", "Pause crm", "Resume crm"]);
    let all = desk.json("/admin/v1/services/crm/replay", "").await;
    assert_eq!(all.json(), json!({"replayed": 2}));
    let one = desk.json("/admin/v1/services/crm/replay", r#"{"events": ["e"]}"#).await;
    assert_eq!(one.json(), json!({"replayed": 1}));
    let typo = desk.json("/admin/v1/services/crm/replay", r#"{"event": "e"}"#).await;
    assert_eq!(typo.code(), "invalid-request");
}
