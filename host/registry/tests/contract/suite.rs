//! What every registry must do, whatever it is made of: each function is one test, given an empty
//! registry.

use std::collections::BTreeSet;
use std::time::Duration;

use registry::{Cas, CasError, Error, Registry, Session, SessionState, Value, Watch};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a test of each function of this file, with a registry that `$open` gives. What `$open` returns
/// is kept until the test ends; `None`: there can be none here, which was said.
#[macro_export]
macro_rules! contract {
    ($open:path) => {
        $crate::contract!(@ $open,
            a_write_on_an_old_version_is_refused_and_told_what_stands_there,
            the_writes_of_a_batch_succeed_or_fail_each_for_itself_and_in_order,
            a_batch_of_all_partitions_is_written_and_listed,
            one_of_many_racing_writers_wins,
            a_key_that_was_deleted_can_be_written_again,
            an_ephemeral_goes_with_its_session_and_the_watchers_are_told,
            an_ephemeral_of_another_session_is_left_alone_and_ones_own_is_replaced,
            an_ephemeral_that_is_taken_back_is_gone_and_one_of_another_stays,
            changes_before_anyone_asks_are_merged_and_none_is_lost,
            a_watch_tells_of_nothing_elsewhere,
            a_session_that_is_cut_off_is_told_so_and_hears_of_changes_afterwards,
            a_session_that_has_ended_answers_nothing_and_its_watches_end,
            the_end_of_a_session_ends_its_watches,
            too_long_a_key_or_value_is_refused,
        );
    };
    (@ $open:path, $($name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                if let Some((registry, _kept)) = $open().await {
                    suite::$name(&registry).await;
                }
            }
        )*
    };
}

async fn session(registry: &Registry, node: &str) -> Session {
    let session = registry.session(&node.parse().unwrap());
    session.connected(PATIENCE).await.unwrap();
    session
}

fn put(key: &str, expect: Option<u64>, data: &str) -> Cas {
    Cas { key: key.to_owned(), expect, data: Some(data.as_bytes().to_vec()) }
}

async fn write(session: &Session, cas: Cas) -> u64 {
    session.cas(cas).await.unwrap().unwrap()
}

/// Waits until `watch` has told of all these keys, and returns everything it told.
async fn told(watch: &mut Watch, keys: &[&str]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let all = async {
        while !keys.iter().all(|key| told.contains(*key)) {
            told.extend(watch.changed().await.expect("the session lives"));
        }
    };
    runtime::timeout(PATIENCE, all).await.expect("the watch tells of it");
    told
}

pub async fn a_write_on_an_old_version_is_refused_and_told_what_stands_there(registry: &Registry) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    let first = write(&a, put("partitions/000", None, "1")).await;
    let second = write(&b, put("partitions/000", Some(first), "2")).await;
    assert!(second > first);
    let stands = Value { data: b"2".to_vec(), version: second };
    let refused = Err(CasError { current: Some(stands.clone()) });
    assert_eq!(a.cas(put("partitions/000", Some(first), "3")).await.unwrap(), refused);
    assert_eq!(a.cas(put("partitions/000", None, "3")).await.unwrap(), refused);
    assert_eq!(a.cas(put("partitions/000", Some(u64::MAX), "3")).await.unwrap(), refused);
    assert_eq!(a.get("partitions/000").await.unwrap(), Some(stands));
    let nothing = Err(CasError { current: None });
    assert_eq!(a.cas(put("partitions/001", Some(first), "3")).await.unwrap(), nothing);
    assert_eq!(a.get("partitions/001").await.unwrap(), None);
}

pub async fn the_writes_of_a_batch_succeed_or_fail_each_for_itself_and_in_order(
    registry: &Registry,
) {
    let a = session(registry, "a").await;
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

pub async fn a_batch_of_all_partitions_is_written_and_listed(registry: &Registry) {
    let a = session(registry, "a").await;
    let key = |n: usize| format!("partitions/{n:03}");
    let writes = (0..256).map(|n| put(&key(n), None, &n.to_string())).collect();
    let versions = a.cas_many(writes).await.unwrap();
    let writes = versions.iter().enumerate().map(|(n, version)| {
        // Every other one is wrong.
        let expect = version.clone().unwrap() + (n as u64 % 2);
        put(&key(n), Some(expect), &format!("{n} again"))
    });
    let results = a.cas_many(writes.collect()).await.unwrap();
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n % 2 == 0, "{n}: {result:?}");
    }
    let listed = a.list("partitions/").await.unwrap();
    assert_eq!(listed.len(), 256);
    for (n, (found, value)) in listed.iter().enumerate() {
        let data = if n % 2 == 0 { format!("{n} again") } else { n.to_string() };
        assert_eq!((found, value.data.as_slice()), (&key(n), data.as_bytes()));
    }
    let some: Vec<_> = a.list("partitions/25").await.unwrap();
    assert_eq!(some.len(), 6);
    assert_eq!(a.list("nothing/").await.unwrap(), []);
}

pub async fn one_of_many_racing_writers_wins(registry: &Registry) {
    let mut racers = tokio::task::JoinSet::new();
    for n in 0..16 {
        let session = session(registry, &format!("n{n}")).await;
        racers.spawn(async move { session.cas(put("cluster", None, &n.to_string())).await });
    }
    let results = racers.join_all().await;
    assert_eq!(results.into_iter().filter(|result| result.as_ref().unwrap().is_ok()).count(), 1);
}

pub async fn a_key_that_was_deleted_can_be_written_again(registry: &Registry) {
    let a = session(registry, "a").await;
    let delete = |version| Cas { key: "members/a".to_owned(), expect: version, data: None };
    let first = write(&a, put("members/a", None, "1")).await;
    let refused = a.cas(delete(Some(first + 1))).await.unwrap().unwrap_err();
    assert_eq!(refused.current.unwrap().data, b"1");
    a.cas(delete(Some(first))).await.unwrap().unwrap();
    assert_eq!(a.get("members/a").await.unwrap(), None);
    a.cas(delete(None)).await.unwrap().unwrap();
    write(&a, put("members/a", None, "2")).await;
    assert_eq!(a.get("members/a").await.unwrap().unwrap().data, b"2");
}

pub async fn an_ephemeral_goes_with_its_session_and_the_watchers_are_told(registry: &Registry) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    let mut watch = b.watch("hashring/");
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    told(&mut watch, &["hashring/1"]).await;
    drop(a);
    // It may be told of more than once before it is gone.
    while b.get("hashring/1").await.unwrap().is_some() {
        told(&mut watch, &["hashring/1"]).await;
    }
    assert_eq!(b.list("hashring/").await.unwrap(), []);
}

pub async fn an_ephemeral_of_another_session_is_left_alone_and_ones_own_is_replaced(
    registry: &Registry,
) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    let refused = b.put_ephemeral("hashring/1", b"b".to_vec()).await.unwrap().unwrap_err();
    assert_eq!(refused.current.unwrap().data, b"a");
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    a.put_ephemeral("hashring/1", b"again".to_vec()).await.unwrap().unwrap();
    assert_eq!(b.get("hashring/1").await.unwrap().unwrap().data, b"again");
}

pub async fn an_ephemeral_that_is_taken_back_is_gone_and_one_of_another_stays(registry: &Registry) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    b.remove_ephemeral("hashring/1").await.unwrap();
    assert!(a.get("hashring/1").await.unwrap().is_some());
    a.remove_ephemeral("hashring/1").await.unwrap();
    assert_eq!(a.get("hashring/1").await.unwrap(), None);
    a.remove_ephemeral("hashring/1").await.unwrap();
    b.put_ephemeral("hashring/1", b"b".to_vec()).await.unwrap().unwrap();
}

pub async fn changes_before_anyone_asks_are_merged_and_none_is_lost(registry: &Registry) {
    let a = session(registry, "a").await;
    let mut watch = a.watch("partitions/");
    let first = write(&a, put("partitions/000", None, "1")).await;
    write(&a, put("partitions/000", Some(first), "2")).await;
    write(&a, put("partitions/001", None, "1")).await;
    write(&a, put("members/a", None, "elsewhere")).await;
    let keys = told(&mut watch, &["partitions/000", "partitions/001"]).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
}

pub async fn a_watch_tells_of_nothing_elsewhere(registry: &Registry) {
    let a = session(registry, "a").await;
    let mut part = a.watch("partitions/00");
    let mut all = a.watch("");
    write(&a, put("partitions/010", None, "1")).await;
    write(&a, put("partitionsomething", None, "1")).await;
    write(&a, put("partitions/001", None, "1")).await;
    let keys = told(&mut part, &["partitions/001"]).await;
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["partitions/001"]);
    told(&mut all, &["partitions/001", "partitions/010", "partitionsomething"]).await;
}

pub async fn a_session_that_is_cut_off_is_told_so_and_hears_of_changes_afterwards(
    registry: &Registry,
) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    let mut watch = a.watch("k");
    a.set_cut(true);
    assert_eq!(*a.state().borrow(), SessionState::Disconnected);
    assert_eq!(a.get("k").await, Err(Error::Unreachable));
    assert_eq!(a.cas(put("k", None, "a")).await, Err(Error::Unreachable));
    write(&b, put("k", None, "b")).await;
    let waited = runtime::timeout(Duration::from_millis(20), watch.changed()).await;
    assert!(waited.is_err(), "no change is told while it is cut off");
    a.set_cut(false);
    told(&mut watch, &["k"]).await;
}

pub async fn a_session_that_has_ended_answers_nothing_and_its_watches_end(registry: &Registry) {
    let (a, b) = (session(registry, "a").await, session(registry, "b").await);
    let mut watch = a.watch("hashring/");
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    a.end().await;
    assert_eq!(*a.state().borrow(), SessionState::Disconnected);
    assert_eq!(a.get("hashring/1").await, Err(Error::Unreachable));
    let ended = async { while watch.changed().await.is_some() {} };
    runtime::timeout(PATIENCE, ended).await.expect("the watch ends");
    assert_eq!(b.get("hashring/1").await.unwrap(), None, "it was told goodbye");
}

pub async fn the_end_of_a_session_ends_its_watches(registry: &Registry) {
    let a = session(registry, "a").await;
    let mut watch = a.watch("");
    drop(a);
    let ended = async { while watch.changed().await.is_some() {} };
    runtime::timeout(PATIENCE, ended).await.expect("the watch ends");
}

pub async fn too_long_a_key_or_value_is_refused(registry: &Registry) {
    let a = session(registry, "a").await;
    let long = "k".repeat(1025);
    assert_eq!(a.cas(put(&long, None, "")).await, Err(Error::TooLarge { key: long }));
    let value = "v".repeat((1 << 20) + 1);
    let refused = a.cas(put("k", None, &value)).await;
    assert_eq!(refused, Err(Error::TooLarge { key: "k".to_owned() }));
}
