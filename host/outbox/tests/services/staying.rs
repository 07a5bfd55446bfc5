//! A node that was to go, and stays: an order to finish what was begun is taken back before it is carried out.

use tokio::task::JoinSet;

use crate::outside::SECOND;
use crate::rig::{Node, Rig, crm};
use crate::service::{Does, Service};

/// Two lanes that were sent something, a service that keeps what comes next for ten seconds, and a node that is to go
/// meanwhile; what the service has seen by then.
async fn is_to_go(service: &Service, rig: &Rig) -> (Node, JoinSet<()>, usize) {
    let node = rig.start("a", vec![crm(service)]);
    for partition in 0..2 {
        rig.says(partition, 0..1);
        rig.is_settled(partition).await;
    }
    service.does(|seen| match seen.texts.iter().any(|text| text == "0-1") {
        true => Does::Late(10 * SECOND),
        false => Does::Status(200),
    });
    let before = service.seen().len();
    rig.says(0, 1..2);
    rig.came(service, before + 1).await;
    let drained = node.services.clone();
    let mut waits = JoinSet::new();
    waits.spawn(async move { drained.drain().await });
    rig.settles().await;
    (node, waits, before + 1)
}

#[tokio::test]
async fn what_is_taken_back_before_everything_is_heard_out_goes_on_at_once() {
    let (rig, service) = (Rig::new(2), Service::start().await);
    let (node, mut waits, before) = is_to_go(&service, &rig).await;
    rig.says(0, 2..3);
    rig.says(1, 1..3);
    rig.passes(3 * SECOND).await;
    assert_eq!(service.seen().len(), before, "nothing begins while it is to go");
    node.services.go_on();
    rig.passes(SECOND).await;
    let taken = service.taken();
    assert_eq!(taken.last().map(String::as_str), Some("1-2"), "the other lane goes on: {taken:?}");
    assert!(!taken.contains(&"0-2".to_owned()), "one after the other: {taken:?}");
    assert!(waits.try_join_next().is_none(), "the service still has something in its hands");
    rig.passes(10 * SECOND).await;
    for partition in 0..2 {
        let said: Vec<_> = (0..3).map(|number| format!("{partition}-{number}")).collect();
        rig.arrives_in(&service, partition, &said).await;
        rig.is_settled(partition).await;
    }
    let all: Vec<String> = service.seen().into_iter().flat_map(|seen| seen.texts).collect();
    assert_eq!(all.len(), 6, "each came once: {all:?}");
    service.checks(&rig.ledger);
}

/// Whoever gave the order is gone, and never took it back.
#[tokio::test]
async fn what_nobody_takes_back_and_nobody_carries_out_goes_on_after_half_a_minute() {
    let (rig, service) = (Rig::new(2), Service::start().await);
    let (_node, mut waits, before) = is_to_go(&service, &rig).await;
    rig.says(1, 1..2);
    rig.passes(25 * SECOND).await;
    assert_eq!(service.seen().len(), before);
    assert!(waits.try_join_next().is_some(), "what was taken is settled");
    rig.passes(10 * SECOND).await;
    assert_eq!(service.taken(), ["0-0", "1-0", "0-1", "1-1"]);
}
