//! Locks exclude each other, say when they are lost, and carry a number that rises.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use crate::ensemble::Ensemble;
use crate::wait::eventually;
use registry::service::{Error, Held, LockOptions};

use super::open;

fn waiting(wait: Duration) -> LockOptions {
    LockOptions { wait, ..LockOptions::default() }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn one_holds_it_at_a_time_and_the_numbers_rise() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (inside, highest) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicI64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let registry = open(&ensemble, &root).await;
        for _ in 0..2 {
            let registry = registry.clone();
            let (inside, highest) = (Arc::clone(&inside), Arc::clone(&highest));
            tasks.spawn(async move {
                for _ in 0..8 {
                    let lock = registry.lock("/lock", &waiting(LONG)).await.expect("its turn");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                    let before = highest.swap(lock.fencing(), Ordering::SeqCst);
                    assert!(lock.fencing() > before, "{} after {before}", lock.fencing());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lock.release().await.expect("it was held");
                }
            });
        }
    }
    tasks.join_all().await;
    assert_eq!(ensemble.intruder().await.names(&format!("{root}/lock")).await, [""; 0]);
}

#[tokio::test]
async fn who_does_not_wait_is_told_and_stands_in_nobodys_way() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    let held = a.lock("/lock", &waiting(LONG)).await.expect("free");
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let refused = b.lock("/lock", &waiting(wait)).await.map(|lock| lock.fencing());
        assert_eq!(refused, Err(Error::LockHeld { path: "/lock".to_owned(), waited: wait }));
    }
    // One that stops waiting leaves the queue, too.
    let options = waiting(LONG);
    let gave_up = runtime::timeout(Duration::from_millis(50), b.lock("/lock", &options)).await;
    assert!(gave_up.is_err());
    let intruder = ensemble.intruder().await;
    eventually("only the holder stands there", async || {
        let names = intruder.names(&format!("{root}/lock")).await;
        if names.len() == 1 { Ok(()) } else { Err(names) }
    })
    .await;
    drop(held);
    let next = b.lock("/lock", &waiting(LONG)).await.expect("given back by dropping it");
    assert_eq!(next.held(), Held::Yes);
    next.release().await.expect("held");
}

#[tokio::test]
async fn several_may_hold_what_several_may_hold() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = open(&ensemble, &root).await;
    let options = |wait| LockOptions { holders: 2, wait, ..LockOptions::default() };
    let first = a.lock("/two", &options(LONG)).await.expect("free");
    let second = a.lock("/two", &options(LONG)).await.expect("free");
    let refused = a.lock("/two", &options(Duration::ZERO)).await.map(drop);
    assert!(matches!(refused, Err(Error::LockHeld { .. })), "{refused:?}");
    let third = options(LONG);
    let third = a.lock("/two", &third);
    let (released, third) = tokio::join!(second.release(), third);
    released.expect("held");
    assert!(third.expect("its turn").fencing() > first.fencing());
}

#[tokio::test]
async fn a_lock_is_lost_with_its_session_or_when_somebody_removes_it() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (a, b) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    let intruder = ensemble.intruder().await;
    let folder = format!("{root}/lock");
    let lock = a.lock("/lock", &waiting(LONG)).await.expect("free");
    let child = intruder.names(&folder).await.remove(0);
    intruder.delete(&format!("{folder}/{child}")).await;
    lock.lost().await;
    assert_eq!(lock.held(), Held::Lost);
    assert_eq!(lock.release().await, Err(Error::LockLost { path: "/lock".to_owned() }));

    let lock = a.lock("/lock", &waiting(LONG)).await.expect("free");
    let before = lock.fencing();
    let options = waiting(LONG);
    let next = b.lock("/lock", &options);
    let child = intruder.names(&folder).await.remove(0);
    let child = format!("{folder}/{child}");
    let (_, (), next) = tokio::join!(intruder.expire_session_of(&child), lock.lost(), next);
    assert!(next.expect("its turn").fencing() > before);
    // Whoever lost it may stand in the queue again.
    eventually("it has another session", async || {
        if a.connection().is_connected() { Ok(()) } else { Err(a.connection()) }
    })
    .await;
    let again = a.lock("/lock", &waiting(LONG)).await.expect("its turn");
    again.release().await.expect("held");
}

#[tokio::test]
async fn a_lock_is_in_doubt_while_the_ensemble_is_away_and_held_when_it_is_back() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let long = registry::service::Config {
        session: Duration::from_secs(60),
        ..super::config(&ensemble, "")
    };
    let a = registry::service::ServiceRegistry::open(long).await.expect("open");
    let lock = a.lock("/lock", &waiting(LONG)).await.expect("free");
    ensemble.kill(1).await;
    let until = async |wanted: Held| {
        eventually("the lock's state", async || {
            if lock.held() == wanted { Ok(()) } else { Err(lock.held()) }
        })
        .await;
    };
    until(Held::InDoubt).await;
    ensemble.restart(1).await;
    until(Held::Yes).await;
    lock.release().await.expect("held");
}
