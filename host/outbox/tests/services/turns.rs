//! T-S11: a service that wants one transaction after another from the whole cluster, and the node that has the turn dies,
//! is cut off, or stands still.

use std::time::Duration;

use outbox::{Order, Point, ServiceConfig};

use crate::gate::Gate;
use crate::outside::SECOND;
use crate::rig::{Rig, crm};
use crate::service::{Does, Seen, Service};

/// The others miss a holder after so long, and look every 5 s.
const MISSED: Duration = Duration::from_secs(45);

fn one_by_one(service: &Service) -> ServiceConfig {
    ServiceConfig { order: Order::Service, ..crm(service) }
}

/// The attempts at what was said in a partition.
fn of(service: &Service, partition: u16) -> Vec<Seen> {
    let begins = format!("{partition}-");
    let ours = |seen: &Seen| seen.texts.iter().any(|text| text.starts_with(&begins));
    service.seen().into_iter().filter(ours).collect()
}

/// Partition 0 is led by `a`, 1 by `b`.
fn two() -> Rig {
    let rig = Rig::with_registry(2);
    rig.ledger.take_over(1, "b", true);
    rig
}

#[tokio::test]
async fn the_turn_of_a_holder_that_died_in_an_attempt_is_taken_when_the_service_is_done_with_it() {
    let (rig, service) = (two(), Service::start().await);
    service.does(|_| Does::Stalls(""));
    let a = rig.start("a", vec![one_by_one(&service)]);
    let said = rig.says(0, 0..3);
    rig.came(&service, 1).await;
    a.dies().await;
    service.does(|_| Does::Status(200));
    let _b = rig.start("b", vec![one_by_one(&service)]);
    rig.says(1, 0..3);
    rig.passes(MISSED - 5 * SECOND).await;
    assert_eq!(service.seen().len(), 1, "it may still be busy with it");
    rig.passes(20 * SECOND).await;
    assert_eq!(of(&service, 1).len(), 1);
    // And what the dead one had begun comes from whoever leads next, as it was.
    rig.ledger.take_over(0, "b", true);
    rig.until("the rest", || match of(&service, 0).len() {
        0 | 1 => Err(()),
        _ => Ok(()),
    })
    .await;
    let tries = of(&service, 0);
    assert_eq!((&tries[0].path, &tries[0].body), (&tries[1].path, &tries[1].body));
    assert_eq!(tries[1].texts, said);
    service.checks(&rig.ledger);
}

#[tokio::test]
async fn a_holder_that_is_cut_off_from_the_registry_has_ended_before_another_begins() {
    let (rig, service) = (two(), Service::start().await);
    // As long as an attempt can last before its headers have to be there.
    let lasts = 19 * SECOND;
    service.does(move |_| Does::Late(lasts));
    let (a, _b) =
        (rig.start("a", vec![one_by_one(&service)]), rig.start("b", vec![one_by_one(&service)]));
    let mut said = rig.says(0, 0..1);
    rig.came(&service, 1).await;
    a.cuts(true);
    rig.says(1, 0..1);
    said.extend(rig.says(0, 1..2));
    rig.until("the other one's", || match of(&service, 1).len() {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    let (before, other) = (of(&service, 0), of(&service, 1)[0].at);
    let last = before.iter().map(|seen| seen.at).max().unwrap();
    assert!(other >= last + lasts, "{last:?} and {other:?}: one after the other");
    let count = before.len();
    rig.passes(60 * SECOND).await;
    assert_eq!(of(&service, 0).len(), count, "it does not renew, and sends nothing more");
    a.cuts(false);
    rig.arrives_in(&service, 0, &said).await;
    let ends = |seen: &Seen| (seen.at, seen.at + lasts);
    let mut all: Vec<_> = service.seen().iter().map(ends).collect();
    all.sort();
    assert!(all.windows(2).all(|two| two[0].1 <= two[1].0), "never two at once: {all:?}");
}

/// What a process sends that stood still between its last look and its first byte: the rule cannot keep it from that.
/// It is the transaction that the log froze, so that whoever sent it meanwhile sent the same.
#[tokio::test]
async fn a_holder_that_stood_still_sends_the_same_bytes_under_the_same_id() {
    for taken_over in [false, true] {
        let (rig, service, (gate, hook)) =
            (two(), Service::start().await, Gate::at(Point::Allowed));
        let a = rig.start_hooked("a", vec![one_by_one(&service)], hook);
        let _b = rig.start("b", vec![one_by_one(&service)]);
        let mut said = rig.says(0, 0..3);
        gate.is_reached(&rig, 1).await;
        // It renews nothing either.
        a.cuts(true);
        rig.says(1, 0..3);
        rig.passes(MISSED - 5 * SECOND).await;
        assert_eq!(service.seen().len(), 0, "an attempt that has just begun would not be over");
        if taken_over {
            rig.ledger.take_over(0, "b", true);
        }
        rig.passes(60 * SECOND).await;
        assert_eq!(of(&service, 1).len(), 1, "the other one has the turn");
        assert_eq!(of(&service, 0).len(), usize::from(taken_over));
        gate.opens();
        a.cuts(false);
        rig.until("what it had in its hands", || {
            let came = of(&service, 0).len();
            if came > usize::from(taken_over) { Ok(()) } else { Err(came) }
        })
        .await;
        let tries = of(&service, 0);
        assert!(
            tries.iter().all(|seen| (&seen.path, &seen.body) == (&tries[0].path, &tries[0].body))
        );
        said.extend(rig.says(0, 3..5));
        rig.arrives_in(&service, 0, &said).await;
        service.checks(&rig.ledger);
    }
}
