//! What outlives the process that found a service down.

use outbox::Condition;

use crate::outside::SECOND;
use crate::rig::{CRM, Rig, crm};
use crate::service::{Does, Service};

/// Nothing is sent for ten minutes.
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 600\r\n\r\n";

const DOWN: &str = "services/crm/down";

#[tokio::test]
async fn what_was_down_before_a_restart_is_down_since_then_and_waits_as_it_did() {
    let (rig, service) = (Rig::with_registry(1), Service::start().await);
    service.does(|_| Does::Says(BUSY.to_owned()));
    let node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..3);
    rig.came(&service, 1).await;
    rig.passes(2 * SECOND).await;
    assert_eq!(rig.stands(DOWN).await, None, "it may be over in a moment");
    rig.passes(10 * SECOND).await;
    let stands = rig.stands(DOWN).await.unwrap();
    assert_eq!((&stands["step"], &stands["node"]), (&1.into(), &"a".into()), "{stands}");
    node.dies().await;

    let node = rig.start("a", vec![crm(&service)]);
    rig.passes(SECOND).await;
    let view = node.view();
    assert_eq!(view.state, Condition::Down);
    assert!(view.for_ms >= 5000, "{view:?}");
    assert!(view.next_ms.unwrap() > 500_000, "{view:?}");
    rig.passes(300 * SECOND).await;
    assert_eq!(service.seen().len(), 1, "nothing was tried anew");

    service.does(|_| Does::Status(200));
    node.services.wake(CRM).await.unwrap();
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    rig.passes(2 * SECOND).await;
    assert_eq!(rig.stands(DOWN).await, None, "it is over");
}

/// The moment of the next attempt has passed while nobody was there: one probe, and not all lanes.
#[tokio::test]
async fn what_was_to_be_tried_meanwhile_is_tried_by_one_probe() {
    let (rig, service) = (Rig::with_registry(8), Service::start().await);
    service.does(|_| Does::Cuts);
    let node = rig.start("a", vec![crm(&service)]);
    for partition in 0..8 {
        rig.says(partition, 0..2);
    }
    rig.until("the waits to have grown", || {
        let tries = service.seen().len();
        if tries >= 8 { Ok(()) } else { Err(tries) }
    })
    .await;
    rig.passes(SECOND).await;
    let step = rig.stands(DOWN).await.unwrap()["step"].clone();
    assert!(step.as_u64().unwrap() >= 4, "{step}");
    service.does(|_| Does::Stalls(""));
    node.dies().await;

    let before = service.seen().len();
    let node = rig.start("a", vec![crm(&service)]);
    rig.came(&service, before + 1).await;
    rig.passes(SECOND).await;
    assert_eq!(service.seen().len(), before + 1, "one, until that is answered");
    assert_eq!(node.view().in_flight, 1);
}

#[tokio::test]
async fn what_an_operator_stops_is_no_outage_afterwards() {
    let (rig, service) = (Rig::with_registry(1), Service::start().await);
    service.does(|_| Does::Says(BUSY.to_owned()));
    let node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..3);
    rig.came(&service, 1).await;
    rig.passes(10 * SECOND).await;
    assert!(rig.stands(DOWN).await.is_some());
    node.services.pause(CRM).await.unwrap();
    rig.passes(2 * SECOND).await;
    assert_eq!(rig.stands(DOWN).await, None);
    node.dies().await;
    let node = rig.start("a", vec![crm(&service)]);
    rig.passes(2 * SECOND).await;
    assert_eq!(node.view().state, Condition::Stopped);
    service.does(|_| Does::Status(200));
    node.services.resume(CRM).await.unwrap();
    rig.arrives(&service, &said).await;
}
