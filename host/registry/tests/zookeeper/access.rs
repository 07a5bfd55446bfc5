//! Who may write, and the words for everything that keeps a node from its registry.

use std::time::Duration;

use crate::ensemble::{Ensemble, registry, session};
use crate::wait::eventually;
use registry::{Cas, Digest, Error, Problem, Registry, Session, ZooKeeperConfig};

use crate::{PATIENCE, put, write};

fn digest(password: &str) -> Option<Digest> {
    Some(Digest { user: "carillon".to_owned(), password: password.to_owned() })
}

/// What a node is told that does not come in.
async fn problem(config: ZooKeeperConfig) -> Problem {
    let session = registry(config).session(&"x".parse().unwrap());
    for _ in 0..60 {
        match session.connected(Duration::from_secs(1)).await {
            Ok(()) => panic!("it came in"),
            Err(Some(problem)) => return problem,
            Err(None) => {}
        }
    }
    panic!("no words")
}

#[tokio::test]
async fn with_a_digest_others_may_read_and_not_write() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let config = ZooKeeperConfig { digest: digest("secret"), ..ensemble.config(&root) };
    let a = session(&registry(config.clone()), "a").await;
    let version = write(&a, put("partitions/000", None, "1")).await;
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();

    let intruder = ensemble.intruder().await;
    let path = format!("{root}/partitions/000");
    let (data, _) = intruder.get(&path).await.expect("anybody may read");
    assert_eq!(data, b"1");
    let refused = intruder.client().set_data(&path, b"2", None).await.unwrap_err();
    assert_eq!(refused, zookeeper::Error::NoAuth);
    for path in [&path, &format!("{root}/hashring/1")] {
        let refused = intruder.client().delete(path, None).await.unwrap_err();
        assert_eq!(refused, zookeeper::Error::NoAuth, "{path}");
    }
    let options = zookeeper::CreateMode::Persistent.with_acls(zookeeper::Acls::anyone_all());
    for folder in ["", "/partitions", "/hashring"] {
        let path = format!("{root}{folder}/mine");
        let refused = intruder.client().create(&path, b"", &options).await.unwrap_err();
        assert_eq!(refused, zookeeper::Error::NoAuth, "{path}");
    }

    // Another node with the same user is one of us.
    let b = session(&registry(config), "b").await;
    write(&b, put("partitions/000", Some(version), "2")).await;
}

#[tokio::test]
async fn who_only_looks_needs_no_password_and_leaves_nothing() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let looks = ZooKeeperConfig { observes: true, ..ensemble.config(&root) };
    let before = session(&registry(looks.clone()), "before").await;
    assert_eq!(before.list("partitions/").await, Ok(Vec::new()));
    let intruder = ensemble.intruder().await;
    assert_eq!(intruder.get(&root).await, None, "the root was made by somebody who only looks");

    let config = ZooKeeperConfig { digest: digest("secret"), ..ensemble.config(&root) };
    let a = session(&registry(config), "a").await;
    write(&a, put("partitions/000", None, "1")).await;
    let after = session(&registry(looks), "after").await;
    let seen = after.list("partitions/").await.unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let key = "partitions/000".to_owned();
    let refused = after.cas(Cas { key, expect: Some(seen[0].1.version), data: None }).await;
    assert!(matches!(refused, Err(Error::Denied { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_password_is_told_in_words_and_writes_nothing() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let config = |password| ZooKeeperConfig { digest: digest(password), ..ensemble.config(&root) };
    let a = session(&registry(config("secret")), "a").await;
    write(&a, put("k", None, "1")).await;
    for config in [config("wrong"), ensemble.config(&root)] {
        let problem = problem(config).await;
        assert!(matches!(problem, Problem::Denied { .. }) && problem.is_permanent(), "{problem}");
        let words = problem.to_string();
        assert!(words.contains(&root) && words.contains("registry.digest_file"), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
}

#[tokio::test]
async fn a_key_with_rules_of_its_own_is_refused_by_name() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = session(&registry(ensemble.config(&root)), "a").await;
    let intruder = ensemble.intruder().await;
    let read = zookeeper::CreateMode::Persistent.with_acls(zookeeper::Acls::anyone_read());
    intruder.client().create(&format!("{root}/theirs"), b"x", &read).await.unwrap();
    let refused = a.cas(put("theirs", Some(0), "y")).await.unwrap_err();
    assert_eq!(refused, Error::Denied { key: "theirs".to_owned() });
    let refused = a.cas(put("theirs/below", None, "y")).await.unwrap_err();
    assert_eq!(refused, Error::Denied { key: "theirs/below".to_owned() });
    let refused = a.cas(put("not//a path", None, "y")).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn a_chroot_must_be_there_and_everything_is_below_it() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let chroot = ensemble.root();
    let mut config = ensemble.config("/services/carillon");
    let host = &ensemble.hosts()[0];
    config.hosts = vec![format!("{host}{chroot}")];
    let missing = problem(config.clone()).await;
    assert_eq!(missing, Problem::Chroot { chroot: chroot.clone() });

    let intruder = ensemble.intruder().await;
    intruder.put(&chroot, b"").await;
    let a = session(&registry(config), "a").await;
    let mut watch = a.watch("hashring/");
    a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
    crate::told(&mut watch, &["hashring/1"]).await;
    let found = intruder.get(&format!("{chroot}/services/carillon/hashring/1")).await;
    assert!(found.is_some());
    assert_eq!(a.list("hashring/").await.unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_there_a_bad_name_and_somebody_else_are_told_apart() {
    let free = || async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let at = |host: String| ZooKeeperConfig {
        hosts: vec![host],
        session: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ..ZooKeeperConfig::default()
    };
    let nobody = free().await;
    let told = problem(at(nobody.to_string())).await;
    assert!(matches!(told, Problem::Unreachable { .. }), "{told}");

    let told = problem(at("no-such-host.invalid:2181".to_owned())).await;
    assert!(
        matches!(&told, Problem::Unresolved { host, .. } if host.contains("invalid")),
        "{told}"
    );

    // Listens, and never says anything.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let told = problem(at(mute.local_addr().unwrap().to_string())).await;
    assert!(matches!(told, Problem::NoSession { .. }), "{told}");
}

#[tokio::test]
async fn servers_that_lost_their_quorum_give_no_session_and_it_is_said() {
    let Some(ensemble) = Ensemble::start(3).await else { return };
    let last = if ensemble.leader().await == 1 { 2 } else { 1 };
    for server in (1..=3).filter(|server| *server != last) {
        ensemble.kill(server).await;
    }
    let config = ZooKeeperConfig { session: Duration::from_secs(2), ..ensemble.config("/t") };
    let session = registry(config).session(&"x".parse().unwrap());
    eventually("the right words", async || match session.problem() {
        Some(Problem::NoSession { .. }) => Ok(()),
        told => Err(told),
    })
    .await;
    assert!(!session.problem().unwrap().is_permanent());
    assert_eq!(session.get("k").await, Err(Error::Unreachable), "nothing is done there");
}

#[tokio::test]
async fn a_dropped_session_leaves_nothing_behind_and_an_ended_one_neither() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let registry: Registry = registry(ensemble.config(&root));
    let intruder = ensemble.intruder().await;
    for end in [true, false] {
        let a: Session = session(&registry, "a").await;
        a.put_ephemeral("hashring/1", b"a".to_vec()).await.unwrap().unwrap();
        if end {
            a.end().await;
            assert_eq!(intruder.names(&format!("{root}/hashring")).await, [""; 0]);
        }
        drop(a);
        let gone = async {
            while !intruder.names(&format!("{root}/hashring")).await.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        runtime::timeout(PATIENCE, gone).await.expect("it goes");
    }
}
