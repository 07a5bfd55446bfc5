//! Servers that die, hang and lose their leader; sessions that end.

use std::time::Duration;

use crate::ensemble::{Ensemble, registry, session};
use crate::wait::eventually;
use registry::{Error, SessionState};

use crate::{put, told, until, write};

#[tokio::test]
async fn watches_go_on_after_the_server_was_killed_and_nothing_that_happened_is_missed() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let registry = registry(ensemble.config("/t"));
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    let mut watch = a.watch("partitions/");
    let first = write(&b, put("partitions/000", None, "1")).await;
    told(&mut watch, &["partitions/000"]).await;
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();

    ensemble.kill(1).await;
    until(&a, SessionState::Disconnected).await;
    assert_eq!(a.get("partitions/000").await, Err(Error::Unreachable), "at once");
    ensemble.restart(1).await;
    until(&b, SessionState::Connected).await;
    // Perhaps before the other one's watch is there again.
    let second = write(&b, put("partitions/000", Some(first), "2")).await;
    write(&b, put("partitions/001", None, "1")).await;
    until(&a, SessionState::Connected).await;
    told(&mut watch, &["partitions/000", "partitions/001"]).await;
    // And long after.
    write(&b, put("partitions/000", Some(second), "3")).await;
    told(&mut watch, &["partitions/000"]).await;
    eventually("the ephemeral", async || {
        let found = b.get("hashring/1").await;
        if matches!(&found, Ok(Some(_))) { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hangs_for_longer_than_the_session_ends_it_and_everything_is_there_again() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let mut config = ensemble.config("/t");
    config.session = Duration::from_secs(2);
    config.timeout = Duration::from_secs(1);
    let registry = registry(config);
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    let places = ["hashring/1", "hashring/2", "hashring/3"];
    for place in places {
        a.put_ephemeral(place, b"a".to_vec()).await.unwrap().unwrap();
    }
    let mut watch = a.watch("k/");
    assert_eq!(a.incarnation(), 1);

    ensemble.pause(1).await;
    // A call neither hangs nor pretends.
    let late = a.cas(put("k/1", None, "x")).await.unwrap_err();
    assert!(matches!(late, Error::Unknown | Error::Unreachable), "{late:?}");
    until(&a, SessionState::Disconnected).await;
    eventually("words about it", async || a.problem().ok_or("none")).await;
    ensemble.resume(1).await;

    until(&a, SessionState::Connected).await;
    eventually("its places", async || {
        let found = b.list("hashring/").await;
        if found.as_ref().is_ok_and(|found| found.len() == places.len()) {
            Ok(())
        } else {
            Err(found)
        }
    })
    .await;
    assert!(a.incarnation() > 1, "a new session");
    assert_eq!(a.problem(), None);
    until(&b, SessionState::Connected).await;
    write(&b, put("k/2", None, "y")).await;
    told(&mut watch, &["k/2"]).await;
}

#[tokio::test]
async fn a_session_ended_by_another_client_comes_back_with_the_same_places_and_live_watches() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let registry = registry(ensemble.config(&root));
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    let stood = write(&b, put("k/stood", None, "1")).await;
    let mut watch = a.watch("k/");
    told(&mut watch, &["k/stood"]).await;
    let intruder = ensemble.intruder().await;
    for round in 1..=3 {
        assert_eq!(a.incarnation(), round);
        let old = intruder.expire_session_of(&format!("{root}/hashring/1")).await;
        eventually("a new session", async || {
            if a.incarnation() == round + 1 { Ok(()) } else { Err(a.incarnation()) }
        })
        .await;
        until(&a, SessionState::Connected).await;
        let owner = eventually("its place", async || {
            let found = intruder.get(&format!("{root}/hashring/1")).await;
            found.map(|(_, stat)| stat.ephemeral_owner).ok_or("nothing")
        })
        .await;
        assert_ne!(owner, old);
        // Whatever stands below the watch may have changed meanwhile.
        told(&mut watch, &["k/stood"]).await;
        let key = format!("k/{round}");
        write(&b, put(&key, None, "1")).await;
        told(&mut watch, &[&key]).await;
    }
    let delete = registry::Cas { key: "k/stood".to_owned(), expect: Some(stood), data: None };
    b.cas(delete).await.unwrap().unwrap();
    told(&mut watch, &["k/stood"]).await;
}

#[tokio::test]
async fn what_vanished_while_nobody_could_tell_is_told_afterwards() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let registry = registry(ensemble.config("/t"));
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    let version = write(&b, put("k/gone", None, "1")).await;
    let mut watch = a.watch("k/");
    told(&mut watch, &["k/gone"]).await;
    ensemble.kill(1).await;
    until(&a, SessionState::Disconnected).await;
    until(&b, SessionState::Disconnected).await;
    a.set_cut(true);
    ensemble.restart(1).await;
    until(&b, SessionState::Connected).await;
    let delete = registry::Cas { key: "k/gone".to_owned(), expect: Some(version), data: None };
    b.cas(delete).await.unwrap().unwrap();
    a.set_cut(false);
    told(&mut watch, &["k/gone"]).await;
}

#[tokio::test]
async fn the_leader_of_three_dies_and_the_session_lives_on() {
    let Some(ensemble) = Ensemble::start(3).await else { return };
    let mut config = ensemble.config("/t");
    config.session = Duration::from_secs(20);
    let registry = registry(config);
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    let mut watch = b.watch("k/");
    let mut version = write(&a, put("k/1", None, "0")).await;
    told(&mut watch, &["k/1"]).await;

    ensemble.kill(ensemble.leader().await).await;
    for round in 1..=3 {
        let text = round.to_string();
        version = eventually("a write", async || {
            match a.cas(put("k/1", Some(version), &text)).await {
                Ok(Ok(version)) => Ok(version),
                // Lost answers are looked up, as whoever writes has to.
                Ok(Err(error)) => match error.current {
                    Some(stands) if stands.data == text.as_bytes() => Ok(stands.version),
                    stands => panic!("{stands:?}"),
                },
                Err(error) => Err(error),
            }
        })
        .await;
        told(&mut watch, &["k/1"]).await;
    }
    let stands = b.get("hashring/1").await.unwrap();
    assert!(stands.is_some(), "a lost connection is not the end of a session");
    assert_eq!((a.incarnation(), b.incarnation()), (1, 1));
}

#[tokio::test]
async fn places_that_somebody_deletes_are_taken_again() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let registry = registry(ensemble.config(&root));
    let a = session(&registry, "a").await;
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    let intruder = ensemble.intruder().await;
    intruder.delete(&format!("{root}/hashring/1")).await;
    eventually("it again", async || {
        let found = intruder.get(&format!("{root}/hashring/1")).await;
        found.ok_or("nothing")
    })
    .await;
    // With the folder and all.
    a.remove_ephemeral("hashring/1").await.unwrap();
    intruder.delete(&format!("{root}/hashring")).await;
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    write(&a, put("k/1", None, "1")).await;
    intruder.delete(&format!("{root}/k/1")).await;
    intruder.delete(&format!("{root}/k")).await;
    write(&a, put("k/2", None, "1")).await;
}

#[tokio::test]
async fn a_session_begins_once_the_server_is_there() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    ensemble.kill(1).await;
    let registry = registry(ensemble.config("/t"));
    let a = registry.session(&"a".parse().unwrap());
    let problem = eventually("words about it", async || a.problem().ok_or("none")).await;
    let words = problem.to_string();
    assert!(words.contains("no ZooKeeper server answers at 127.0.0.1:"), "{words}");
    assert!(!problem.is_permanent());
    assert_eq!(a.get("k").await, Err(Error::Unreachable));
    let mut watch = a.watch("k/");
    ensemble.restart(1).await;
    until(&a, SessionState::Connected).await;
    write(&a, put("k/1", None, "1")).await;
    told(&mut watch, &["k/1"]).await;
}

#[tokio::test]
async fn the_last_known_ring_is_on_the_disk_with_its_age() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = ensemble.config("/t");
    config.cache = Some(folder.path().join("registry.cache"));
    let registry = registry(config);
    assert_eq!(registry.last_known(), None);
    let a = session(&registry, "a").await;
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    write(&a, put("members/a", None, "m")).await;
    write(&a, put("elsewhere/a", None, "e")).await;
    let keys = |known: &registry::LastKnown| -> Vec<String> {
        known.records.iter().map(|(key, _)| key.clone()).collect()
    };
    eventually("both records on the disk", async || {
        let known = registry.last_known().ok_or_else(|| vec!["nothing".to_owned()])?;
        if keys(&known) == ["hashring/1", "members/a"] { Ok(()) } else { Err(keys(&known)) }
    })
    .await;
    ensemble.kill(1).await;
    until(&a, SessionState::Disconnected).await;
    drop(a);
    let known = registry.last_known().unwrap();
    assert_eq!(keys(&known), ["hashring/1", "members/a"]);
    assert_eq!(known.list("members/").next().unwrap().1.data, b"m");
    eventually("its age rises", async || {
        let age = registry.last_known().map(|known| known.age_ms());
        if age > Some(100) { Ok(()) } else { Err(age) }
    })
    .await;
}
