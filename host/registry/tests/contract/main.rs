//! The contract of a registry, kept by the embedded one; the integration tests hold the one on ZooKeeper
//! to the same file.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test ends where a step fails"
)]

mod observing;
mod suite;

use registry::{Cas, Registry, Session};

#[expect(clippy::unused_async, reason = "a registry across a network is there later")]
async fn open() -> Option<(Registry, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    Some((Registry::embedded(folder.path()).unwrap(), folder))
}

crate::contract!(open);

/// Somebody watches a cluster without being in it.
mod observers {
    use super::observing as suite;

    crate::contract!(@ super::open,
        an_observer_sees_nodes_come_and_go_and_leaves_no_trace,
        a_value_that_makes_no_sense_is_named_and_what_it_said_before_stays,
        while_the_registry_is_away_the_last_view_stays_and_then_the_next_comes,
    );
}

fn session(registry: &Registry) -> Session {
    registry.session(&"a".parse().unwrap())
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again_and_ephemerals_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let put = |key: &str, expect, data: &str| Cas {
        key: key.to_owned(),
        expect,
        data: Some(data.as_bytes().to_vec()),
    };
    let version = {
        let a = session(&Registry::embedded(folder.path()).unwrap());
        a.put_ephemeral("hashring/1", b"here".to_vec()).await.unwrap().unwrap();
        let gone = a.cas(put("members/b", None, "gone")).await.unwrap().unwrap();
        let delete = Cas { key: "members/b".to_owned(), expect: Some(gone), data: None };
        a.cas(delete).await.unwrap().unwrap();
        a.cas(put("members/a", None, "stays")).await.unwrap().unwrap()
    };
    let a = session(&Registry::embedded(folder.path()).unwrap());
    let stands = a.get("members/a").await.unwrap().unwrap();
    assert_eq!((stands.data.as_slice(), stands.version), (&b"stays"[..], version));
    assert_eq!(a.get("members/b").await.unwrap(), None);
    assert_eq!(a.get("hashring/1").await.unwrap(), None);
    assert!(a.cas(put("members/a", Some(version), "on")).await.unwrap().unwrap() > version);
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Registry::embedded(folder.path()).unwrap();
    let refused = Registry::embedded(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
}
