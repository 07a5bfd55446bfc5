//! What is set stands there, and goes on standing there.

use std::time::Duration;

use crate::ensemble::Ensemble;
use crate::wait::eventually;
use registry::service::{Connection, Data, Error, Kind, Outcome, ServiceRegistry, Status};
use serde_json::json;

use super::{becomes, config, data, open, sees, set, text};

#[tokio::test]
async fn what_is_set_is_read_by_others_with_pid_and_created_and_is_gone_when_unset() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    set(&a, "/services/crm", &data(json!({"zone": "a"})), Kind::Persistent).await;
    set(&a, "/services/crm/1", &Data::from("hello"), Kind::Ephemeral).await;
    let entry = b.get("/services/crm").await.expect("it is there");
    let found = entry.data.as_ref().expect("data");
    assert_eq!((&found["zone"], &found["pid"]), (&json!("a"), &json!(std::process::id())));
    let created = text(&entry, "created").expect("a text");
    assert_eq!(created.len(), "2026-11-21 21:31:27".len(), "{created}");
    assert_eq!(entry.children["1"].as_ref().expect("data")["string_value"], json!("hello"));
    let stat = entry.stat.expect("figures");
    assert_eq!((stat.num_children, stat.ephemeral_owner), (1, 0));
    assert!(!entry.stale && entry.age_ms == 0);

    let refused = a.unset("/services/crm").await;
    assert_eq!(refused, Err(Error::NotEmpty { path: "/services/crm".to_owned() }));
    assert_eq!(a.unset("/services/crm/1").await, Ok(Outcome::Applied(None)));
    assert_eq!(a.unset("/services/crm").await, Ok(Outcome::Applied(None)));
    // Taking back what is not there is done at once.
    assert_eq!(a.unset("/services/crm").await, Ok(Outcome::Applied(None)));
    sees(&b, "it is gone", "/services/crm", |entry| !entry.exists()).await;
    assert_eq!(a.registrations(), []);
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn the_same_again_wakes_nobody_and_something_else_does() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    set(&a, "/flag", &data(json!({"on": true})), Kind::Persistent).await;
    // Another process says the same: pid and created differ, and nothing is written.
    let outcome = b.set("/flag", &data(json!({"on": true, "pid": 1})), Kind::Persistent).await;
    let Ok(Outcome::Applied(Some(stat))) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stat.version, 1, "its own pid is something else");
    set(&b, "/flag", &data(json!({"on": true, "pid": 1})), Kind::Persistent).await;
    set(&a, "/flag", &data(json!({"on": true})), Kind::Persistent).await;
    assert_eq!(a.get("/flag").await.expect("there").stat.expect("figures").version, 1);
    // What stays can be cleared, too.
    set(&a, "/flag", &data(json!({"on": false})), Kind::Persistent).await;
    set(&a, "/flag", &Data::Nothing, Kind::Persistent).await;
    let entry = sees(&b, "it is cleared", "/flag", |entry| {
        text(entry, "created").is_some()
            && !entry.data.as_ref().is_some_and(|data| data.contains_key("on"))
    })
    .await;
    assert_eq!(entry.stat.expect("figures").version, 3);
    // Others may change it, and it is not changed back.
    let intruder = ensemble.intruder().await;
    intruder.put(&format!("{root}/flag"), b"{half").await;
    let entry =
        sees(&a, "the change", "/flag", |entry| text(entry, "string_value").is_some()).await;
    assert_eq!(text(&entry, "string_value"), Some("{half"));
}

#[tokio::test]
async fn an_ephemeral_is_restored_when_somebody_removes_or_changes_it() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    set(&a, "/services/crm/1", &data(json!({"n": 1})), Kind::Ephemeral).await;
    let intruder = ensemble.intruder().await;
    let path = format!("{root}/services/crm/1");
    let (bytes, before) = intruder.get(&path).await.expect("there");
    intruder.delete(&path).await;
    let after = eventually("it is there again", async || {
        let found = intruder.get(&path).await;
        found.filter(|(_, stat)| stat.czxid > before.czxid).ok_or(())
    })
    .await;
    assert_eq!(after.0, bytes, "byte for byte, with the first created");
    intruder.put(&path, b"{\"n\":2}").await;
    eventually("it says the same again", async || {
        let found = intruder.get(&path).await;
        found.filter(|(found, stat)| *found == bytes && stat.version == 2).ok_or(())
    })
    .await;
    a.close().await;
    assert_eq!(intruder.get(&path).await, None, "it goes with a close, and not with a time-out");
}

#[tokio::test]
async fn after_the_end_of_a_session_everything_is_set_and_watched_anew() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    set(&a, "/services/crm/1", &data(json!({"n": 1})), Kind::Ephemeral).await;
    set(&a, "/services/crm/2", &data(json!({"n": 2})), Kind::Ephemeral).await;
    a.get("/other").await.expect("an answer");
    let (told, mut heard) = tokio::sync::mpsc::channel(64);
    let _callback = a.on_connection(move |connection| _ = told.try_send(connection));
    assert_eq!(heard.recv().await, Some(Connection::Connected));
    let intruder = ensemble.intruder().await;
    let session = intruder.expire_session_of(&format!("{root}/services/crm/1")).await;
    for child in ["1", "2"] {
        let path = format!("/services/crm/{child}");
        let entry = sees(&b, "it is set in another session", &path, |entry| {
            entry.stat.is_some_and(|stat| stat.ephemeral_owner != session)
        })
        .await;
        assert_eq!(entry.data.expect("data")["n"], json!(child.parse::<u8>().expect("a number")));
    }
    // It was told of a connection that is not; which steps on the way it saw is a matter of how fast it is.
    let first = heard.recv().await.expect("the registry is open");
    assert!(matches!(first, Connection::Suspended | Connection::Connecting), "{first:?}");
    while heard.recv().await.expect("the registry is open") != Connection::Connected {}
    intruder.put(&format!("{root}/other"), b"x").await;
    sees(&a, "watches live on", "/other", |entry| text(entry, "string_value") == Some("x")).await;
}

#[tokio::test]
async fn what_others_hold_is_waited_for() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    set(&a, "/leader", &data(json!({"n": "a"})), Kind::Ephemeral).await;
    let outcome = b.set("/leader", &data(json!({"n": "b"})), Kind::Ephemeral).await;
    assert!(matches!(outcome, Ok(Outcome::Waiting { owner }) if owner != 0), "{outcome:?}");
    assert_eq!(text(&b.get("/leader").await.expect("there"), "n"), Some("a"));
    // Taken back by the one who waits, it stays; it was never that one's.
    b.unset("/leader").await.expect("done");
    assert!(b.get("/leader").await.expect("there").exists());
    b.set("/leader", &data(json!({"n": "b"})), Kind::Ephemeral).await.expect("waits again");
    a.close().await;
    becomes(&b, "the other one went", "/leader", |s| matches!(s, Status::Applied(_))).await;
    sees(&b, "its own stands there", "/leader", |entry| text(entry, "n") == Some("b")).await;

    let intruder = ensemble.intruder().await;
    intruder.put(&format!("{root}/stays"), b"").await;
    let outcome = b.set("/stays", &Data::Nothing, Kind::Ephemeral).await;
    assert_eq!(outcome, Ok(Outcome::Waiting { owner: 0 }));
    intruder.delete(&format!("{root}/stays")).await;
    becomes(&b, "nothing is in the way", "/stays", |s| matches!(s, Status::Applied(_))).await;
}

#[tokio::test]
async fn a_rebuild_is_another_session_with_the_same_registrations_and_watches() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    set(&a, "/services/crm/1", &data(json!({"n": 1})), Kind::Ephemeral).await;
    set(&a, "/flag", &data(json!({"n": 1})), Kind::Persistent).await;
    let before = a.get("/services/crm").await.expect("there");
    let intruder = ensemble.intruder().await;
    let owner = async || {
        let found = intruder.get(&format!("{root}/services/crm/1")).await;
        found.map(|(_, stat)| stat.ephemeral_owner)
    };
    let old = owner().await.expect("there");
    let renewed = a.rebuild().await.expect("the ensemble is there");
    assert_eq!((renewed.done, renewed.pending), (2, 0));
    let new = owner().await.expect("there");
    assert_ne!(new, old);
    let entry =
        sees(&a, "it is watched anew", "/services/crm", |entry| entry.stat != before.stat).await;
    assert!(!entry.stale);
}

#[tokio::test]
async fn what_is_dropped_is_closed_too() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    set(&a, "/gone", &Data::Nothing, Kind::Ephemeral).await;
    let _callback = a.on_change("/gone", |_| {}).expect("a path");
    drop(a);
    let intruder = ensemble.intruder().await;
    eventually("its ephemeral is gone", async || {
        intruder.get(&format!("{root}/gone")).await.map_or(Ok(()), Err)
    })
    .await;
}

#[tokio::test]
async fn reading_only_refuses_every_change_before_asking() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let reader = registry::service::Config { read_only: true, ..config(&ensemble, &root) };
    let reader = ServiceRegistry::open(reader).await.expect("open");
    assert!(!reader.get("/a").await.expect("an answer").exists());
    let options = registry::service::LockOptions { wait: Duration::ZERO, ..Default::default() };
    let refusals = [
        reader.set("/a", &Data::Nothing, Kind::Ephemeral).await.err(),
        reader.set("/a", &Data::Nothing, Kind::Persistent).await.err(),
        reader.unset("/a").await.err(),
        reader.lock("/a", &options).await.err(),
    ];
    for refused in refusals {
        assert!(matches!(refused, Some(Error::ReadOnly { .. })), "{refused:?}");
    }
    assert_eq!(ensemble.intruder().await.names(&root).await, [""; 0]);
}
