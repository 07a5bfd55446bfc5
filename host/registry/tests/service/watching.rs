//! Changes are told, in order, to everybody who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ensemble::Ensemble;
use crate::wait::eventually;
use registry::service::{Data, Kind};
use serde_json::json;

use super::{data, open, set, text};

#[tokio::test]
async fn a_watcher_is_told_at_once_and_of_every_kind_of_change() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    let mut watcher = b.watch("/services/crm").expect("a path");
    let first = watcher.next().await.expect("open");
    assert!(!first.exists() && first.children.is_empty());

    set(&a, "/services/crm", &data(json!({"v": "1"})), Kind::Persistent).await;
    assert_eq!(text(&watcher.next().await.expect("open"), "v"), Some("1"));
    set(&a, "/services/crm/x", &data(json!({"c": "1"})), Kind::Ephemeral).await;
    let child = watcher.next().await.expect("open").children["x"].clone();
    assert_eq!(child.expect("data")["c"], json!("1"));
    // A child's data, without a change of the list.
    set(&a, "/services/crm/x", &data(json!({"c": "2"})), Kind::Ephemeral).await;
    let child = watcher.next().await.expect("open").children["x"].clone();
    assert_eq!(child.expect("data")["c"], json!("2"));
    a.unset("/services/crm/x").await.expect("done");
    assert!(watcher.next().await.expect("open").children.is_empty());
    a.unset("/services/crm").await.expect("done");
    assert!(!watcher.next().await.expect("open").exists());
    set(&a, "/services/crm", &data(json!({"v": "2"})), Kind::Persistent).await;
    assert_eq!(text(&watcher.next().await.expect("open"), "v"), Some("2"));
    b.close().await;
    while watcher.next().await.is_some() {}
}

#[tokio::test]
async fn a_callback_that_panics_costs_its_own_call() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    let calls = Arc::new(AtomicU32::new(0));
    let (bad, good) = (Arc::clone(&calls), Arc::new(AtomicU32::new(0)));
    let counts = Arc::clone(&good);
    let _bad = a
        .on_change("/x", move |_| {
            bad.fetch_add(1, Ordering::Relaxed);
            panic!("on purpose");
        })
        .expect("a path");
    let good_one = a.on_change("/x", move |_| _ = counts.fetch_add(1, Ordering::Relaxed));
    let good_one = good_one.expect("a path");
    for n in 1..4_u32 {
        eventually("both were called", async || {
            let seen = (calls.load(Ordering::Relaxed), good.load(Ordering::Relaxed));
            if seen.0 >= n && seen.1 >= n { Ok(()) } else { Err(seen) }
        })
        .await;
        set(&a, "/x", &data(json!({"n": n})), Kind::Persistent).await;
    }
    drop(good_one);
    assert!(!a.get("/x").await.expect("it lives").stale);
}

#[tokio::test]
async fn many_changes_at_once_end_in_what_is_true() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    let mut watcher = b.watch("/many").expect("a path");
    for n in 0..40 {
        set(&a, &format!("/many/{n:02}"), &data(json!({"n": n})), Kind::Ephemeral).await;
    }
    for n in 0..40 {
        set(&a, &format!("/many/{n:02}"), &data(json!({"n": n + 1})), Kind::Ephemeral).await;
        if n % 2 == 0 {
            a.unset(&format!("/many/{n:02}")).await.expect("done");
        }
    }
    let mut entry = watcher.next().await.expect("open");
    let right = |entry: &registry::service::Entry| {
        entry.children.len() == 20
            && entry.children.iter().all(|(name, data)| {
                let n: u64 = name.parse().expect("a number");
                data.as_ref().is_some_and(|data| data["n"] == json!(n + 1))
            })
    };
    while !right(&entry) {
        entry = watcher.next().await.expect("open");
    }
}

#[tokio::test]
async fn what_is_forgotten_is_watched_no_more_and_can_be_watched_again() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    let mut watcher = a.watch("/x").expect("a path");
    assert!(watcher.next().await.is_some());
    a.forget("/x");
    assert!(watcher.next().await.is_none());
    set(&a, "/x", &Data::from("there"), Kind::Persistent).await;
    assert_eq!(text(&a.get("/x").await.expect("there"), "string_value"), Some("there"));
}

#[tokio::test]
async fn foreign_and_broken_bytes_are_texts() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    let intruder = ensemble.intruder().await;
    let cases: [(&str, &[u8], Option<&str>); 5] = [
        ("half", b"{\"a\": 1", Some("{\"a\": 1")),
        ("list", b"[1,2]", Some("[1,2]")),
        ("bytes", b"\xff\xfe", Some("\u{fffd}\u{fffd}")),
        ("nothing", b"", None),
        ("spaces", b"  \n", None),
    ];
    for (name, bytes, _) in cases {
        intruder.put(&format!("{root}/odd/{name}"), bytes).await;
    }
    let entry = a.get("/odd").await.expect("there");
    for (name, _, expected) in cases {
        let value = entry.children[name].as_ref().and_then(|data| data.get("string_value"));
        assert_eq!(value.and_then(|value| value.as_str()), expected, "{name}");
    }
    assert_eq!(entry.children["nothing"], None);
    assert_eq!(entry.children["spaces"], Some(serde_json::Map::new()));
}
