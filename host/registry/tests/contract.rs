//! What every registry must do, whatever it is made of. The embedded one answers here.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::time::Duration;

use registry::{Cas, CasError, Error, Registry, Session, SessionState, Value};

fn open(folder: &tempfile::TempDir) -> Registry {
    Registry::embedded(folder.path()).unwrap()
}

fn session(registry: &Registry, node: &str) -> Session {
    registry.session(&node.parse().unwrap())
}

fn put(key: &str, expect: Option<u64>, data: &str) -> Cas {
    Cas { key: key.to_owned(), expect, data: Some(data.as_bytes().to_vec()) }
}

async fn write(session: &Session, cas: Cas) -> u64 {
    session.cas(cas).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_write_on_an_old_version_is_refused_and_told_what_stands_there() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let (a, b) = (session(&registry, "a"), session(&registry, "b"));
    let first = write(&a, put("partitions/000", None, "1")).await;
    let second = write(&b, put("partitions/000", Some(first), "2")).await;
    assert!(second > first);
    let stands = Value { data: b"2".to_vec(), version: second };
    let refused = Err(CasError { current: Some(stands.clone()) });
    assert_eq!(a.cas(put("partitions/000", Some(first), "3")).await.unwrap(), refused);
    assert_eq!(a.cas(put("partitions/000", None, "3")).await.unwrap(), refused);
    assert_eq!(a.get("partitions/000").await.unwrap(), Some(stands));
}

#[tokio::test]
async fn the_writes_of_a_batch_succeed_or_fail_each_for_itself_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let a = session(&registry, "a");
    let taken = write(&a, put("k/1", None, "x")).await;
    let results = a
        .cas_many(vec![put("k/0", None, "a"), put("k/1", None, "b"), put("k/0", None, "c")])
        .await
        .unwrap();
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().current.as_ref().unwrap().version, taken);
    assert_eq!(results[2].as_ref().unwrap_err().current.as_ref().unwrap().data, b"a");
    let keys: Vec<_> = a.list("k/").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["k/0", "k/1"]);
}

#[tokio::test]
async fn one_of_many_racing_writers_wins() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let session = session(&registry, &format!("n{n}"));
        racers.spawn(async move { session.cas(put("cluster", None, &n.to_string())).await });
    }
    let results = racers.join_all().await;
    assert_eq!(results.into_iter().filter(|result| result.as_ref().unwrap().is_ok()).count(), 1);
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again_and_ephemerals_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let version = {
        let registry = open(&folder);
        let a = session(&registry, "a");
        a.put_ephemeral("hashring/1", b"here".to_vec()).await.unwrap().unwrap();
        let gone = write(&a, put("members/b", None, "gone")).await;
        a.cas(Cas { key: "members/b".to_owned(), expect: Some(gone), data: None })
            .await
            .unwrap()
            .unwrap();
        write(&a, put("members/a", None, "stays")).await
    };
    let registry = open(&folder);
    let a = session(&registry, "a");
    let stands = a.get("members/a").await.unwrap().unwrap();
    assert_eq!((stands.data.as_slice(), stands.version), (&b"stays"[..], version));
    assert_eq!(a.get("members/b").await.unwrap(), None);
    assert_eq!(a.get("hashring/1").await.unwrap(), None);
    assert!(write(&a, put("members/a", Some(version), "on")).await > version);
}

#[tokio::test]
async fn an_ephemeral_goes_with_its_session_and_the_watchers_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let (a, b) = (session(&registry, "a"), session(&registry, "b"));
    let mut watch = b.watch("hashring/");
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    assert!(watch.changed().await.unwrap().contains("hashring/1"));
    assert!(b.put_ephemeral("hashring/1", b"b".to_vec()).await.unwrap().is_err());
    drop(a);
    assert!(watch.changed().await.unwrap().contains("hashring/1"));
    assert_eq!(b.list("hashring/").await.unwrap(), []);
}

#[tokio::test]
async fn changes_before_anyone_asks_are_merged_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let a = session(&registry, "a");
    let mut watch = a.watch("partitions/");
    let first = write(&a, put("partitions/000", None, "1")).await;
    write(&a, put("partitions/000", Some(first), "2")).await;
    write(&a, put("partitions/001", None, "1")).await;
    write(&a, put("members/a", None, "elsewhere")).await;
    let keys: Vec<_> = watch.changed().await.unwrap().into_iter().collect();
    assert_eq!(keys, ["partitions/000", "partitions/001"]);
}

#[tokio::test]
async fn a_session_that_is_cut_off_is_told_so_and_hears_of_changes_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let (a, b) = (session(&registry, "a"), session(&registry, "b"));
    let mut watch = a.watch("k");
    a.set_cut(true);
    assert_eq!(*a.state().borrow(), SessionState::Disconnected);
    assert_eq!(a.get("k").await, Err(Error::Unreachable));
    assert_eq!(a.cas(put("k", None, "a")).await, Err(Error::Unreachable));
    write(&b, put("k", None, "b")).await;
    let waited = runtime::timeout(Duration::from_millis(20), watch.changed()).await;
    assert!(waited.is_err(), "no change is told while it is cut off");
    a.set_cut(false);
    assert!(watch.changed().await.unwrap().contains("k"));
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_watches() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let a = session(&registry, "a");
    let mut watch = a.watch("");
    drop(a);
    assert_eq!(watch.changed().await, None);
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(&folder);
    let refused = Registry::embedded(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
}

#[tokio::test]
async fn too_long_a_key_or_value_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let registry = open(&folder);
    let a = session(&registry, "a");
    let long = "k".repeat(1025);
    assert_eq!(a.cas(put(&long, None, "")).await, Err(Error::TooLarge { key: long }));
}
