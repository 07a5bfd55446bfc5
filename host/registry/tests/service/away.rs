//! While the ensemble is away: what is known is told with its age, what is wanted is put off, and it
//! says so.

use std::time::Duration;

use crate::ensemble::Ensemble;
use crate::wait::eventually;
use registry::service::{Config, Connection, Data, Error, Kind, Outcome, ServiceRegistry, Status};
use serde_json::json;
use tempfile::TempDir;

use super::{becomes, config, data, open, sees, set, text};

#[tokio::test]
async fn known_paths_are_stale_with_their_age_and_unknown_ones_have_no_connection() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("cache.json");
    let cached = Config { cache: Some(file.clone()), ..config(&ensemble, "") };
    let a = ServiceRegistry::open(cached.clone()).await.expect("open");
    set(&a, "/known", &data(json!({"v": "1"})), Kind::Persistent).await;
    set(&a, "/mine", &data(json!({"v": "1"})), Kind::Ephemeral).await;
    let fresh = a.get("/known").await.expect("there");
    // Known for longer than the loss will have been noticed for.
    runtime::sleep(Duration::from_millis(500)).await;
    let killed = runtime::now();
    ensemble.kill(1).await;
    eventually("the loss is noticed", async || match a.connection() {
        Connection::Connected => Err(()),
        _ => Ok(()),
    })
    .await;
    let stale = a.get("/known").await.expect("it is known");
    assert!(stale.stale);
    assert_eq!((&stale.data, &stale.stat), (&fresh.data, &fresh.stat));
    // Its age is that of the loss, and not that of the knowledge.
    let since = killed.elapsed();
    assert!(Duration::from_millis(stale.age_ms) <= since, "{} ms, {since:?}", stale.age_ms);
    eventually("it grows older", async || {
        let now = a.get("/known").await.expect("it is known");
        if now.age_ms > stale.age_ms { Ok(()) } else { Err(now.age_ms) }
    })
    .await;
    for _ in 0..2 {
        let unknown = a.get("/unknown").await;
        assert!(matches!(unknown, Err(Error::NoConnection { .. })), "{unknown:?}");
    }
    let refused = a.set("/new", &Data::Nothing, Kind::Persistent).await;
    assert!(matches!(refused, Err(Error::NoConnection { .. })), "{refused:?}");
    a.close().await;

    // Another process, which has only the file.
    let impatient = Config { timeout: Duration::from_millis(300), ..cached };
    let refused = ServiceRegistry::open(impatient.clone()).await.map(drop);
    assert!(matches!(refused, Err(Error::NoConnection { .. })), "{refused:?}");
    let lazy = Config { lazy: true, ..impatient };
    let b = ServiceRegistry::open(lazy.clone()).await.expect("it begins without");
    let remembered = b.get("/known").await.expect("the file knows it");
    assert!(remembered.stale);
    assert_eq!(remembered.data, fresh.data);
    assert!(matches!(b.get("/unknown").await, Err(Error::NoConnection { .. })));
    b.close().await;

    // A file that is damaged is believed in nothing.
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let c = ServiceRegistry::open(lazy).await.expect("it begins without");
    assert!(matches!(c.get("/known").await, Err(Error::NoConnection { .. })));
    c.close().await;
}

#[tokio::test]
async fn what_is_set_lazily_is_deferred_and_applied_when_the_ensemble_is_there() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    open(&ensemble, "").await.close().await;
    ensemble.kill(1).await;
    let lazy = Config { lazy: true, timeout: Duration::from_secs(5), ..config(&ensemble, "") };
    let a = ServiceRegistry::open(lazy).await.expect("it begins without");
    let path = "/services/crm/1";
    let outcome = a.set(path, &data(json!({"v": "1"})), Kind::Ephemeral).await;
    assert_eq!(outcome, Ok(Outcome::Deferred));
    assert_eq!(a.set(path, &data(json!({"v": "2"})), Kind::Ephemeral).await, Ok(Outcome::Deferred));
    let stays = a.set("/stays", &data(json!({"v": "1"})), Kind::Persistent).await;
    assert_eq!(stays, Ok(Outcome::Deferred));
    assert_eq!(a.set("/never", &Data::Nothing, Kind::Persistent).await, Ok(Outcome::Deferred));
    a.release("/never");
    assert!(a.registrations().iter().all(|(_, status)| *status == Status::Pending));
    let mut watcher = a.watch("/stays").expect("a path");
    ensemble.restart(1).await;
    becomes(&a, "it is applied", path, |status| matches!(status, Status::Applied(_))).await;
    becomes(&a, "it is applied", "/stays", |status| matches!(status, Status::Applied(_))).await;
    let entry = sees(&a, "the last wish", path, |entry| text(entry, "v").is_some()).await;
    assert_eq!(text(&entry, "v"), Some("2"));
    while !watcher.next().await.expect("open").exists() {}
    assert!(!a.get("/never").await.expect("an answer").exists(), "it was released");

    // The same session, or another: what is ephemeral is there after a restart, and taken back lazily.
    ensemble.kill(1).await;
    eventually(
        "the loss is noticed",
        async || {
            if a.connection().is_connected() { Err(()) } else { Ok(()) }
        },
    )
    .await;
    assert_eq!(a.unset(path).await, Ok(Outcome::Deferred));
    ensemble.restart(1).await;
    sees(&a, "it is gone", path, |entry| !entry.exists() && !entry.stale).await;
    eventually("it is not wanted any more", async || {
        if a.registrations().iter().any(|(set, _)| set == path) { Err(()) } else { Ok(()) }
    })
    .await;
    a.close().await;
}

#[tokio::test]
async fn a_server_that_stands_still_costs_a_session_and_nothing_that_was_set() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let short = Config { session: Duration::from_secs(1), ..config(&ensemble, "") };
    let a = ServiceRegistry::open(short).await.expect("open");
    set(&a, "/mine", &data(json!({"v": "1"})), Kind::Ephemeral).await;
    a.get("/mine").await.expect("there");
    ensemble.pause(1).await;
    eventually("the session is over", async || match a.connection() {
        Connection::Connecting => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(a.get("/mine").await.expect("known").stale);
    ensemble.resume(1).await;
    let entry = sees(&a, "it is set again", "/mine", |entry| !entry.stale && entry.exists()).await;
    assert_eq!(text(&entry, "v"), Some("1"));
    let set = a.set("/after", &Data::Nothing, Kind::Ephemeral).await;
    assert!(matches!(set, Ok(Outcome::Applied(_))), "{set:?}");
    a.close().await;
}
