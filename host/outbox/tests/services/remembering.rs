//! What outlives the process that found a service down, or a lane failing by itself.

use outbox::{Condition, ServiceConfig};
use transaction::Retry;

use crate::outside::SECOND;
use crate::rig::{CRM, Node, Rig, crm};
use crate::service::{Does, Seen, Service};

/// Nothing is sent for ten minutes.
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after: 600\r\n\r\n";

const DOWN: &str = "services/crm/down";

/// What another node says that found the service up.
const IS_UP: &[u8] = b"T\x03\x00\x03crm\x03";

/// A node that has found the service down for ten seconds, and has said so.
async fn finds_down(rig: &Rig, service: &Service, config: ServiceConfig) -> (Node, Vec<String>) {
    service.does(|_| Does::Says(BUSY.to_owned()));
    let node = rig.start("a", vec![config]);
    let said = rig.says(0, 0..3);
    rig.came(service, 1).await;
    rig.passes(10 * SECOND).await;
    assert!(rig.stands(DOWN).await.is_some(), "it is noted");
    (node, said)
}

/// A node that hears that the service is there before it can read anything.
async fn is_woken_at_once(rig: &Rig, service: &Service) -> Node {
    let node = rig.start("a", vec![crm(service)]);
    node.cuts(true);
    node.services.news_of(&service.url()).await;
    node.cuts(false);
    rig.passes(3 * SECOND).await;
    node
}

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

#[tokio::test]
async fn what_is_woken_before_it_was_read_what_was_is_no_outage_once_it_is_up() {
    let (rig, service) = (Rig::with_registry(1), Service::start().await);
    let (node, said) = finds_down(&rig, &service, crm(&service)).await;
    node.dies().await;
    service.does(|_| Does::Status(200));
    let node = is_woken_at_once(&rig, &service).await;
    assert_eq!(service.taken(), said, "it is tried at once");
    rig.is_settled(0).await;
    rig.passes(2 * SECOND).await;
    assert_eq!((node.view().state, rig.stands(DOWN).await), (Condition::Up, None));
}

#[tokio::test]
async fn what_is_woken_before_it_was_read_what_was_is_tried_once_and_down_since_then() {
    let (rig, service) = (Rig::with_registry(8), Service::start().await);
    let (node, _said) = finds_down(&rig, &service, crm(&service)).await;
    (1..8).for_each(|partition| _ = rig.says(partition, 0..2));
    node.dies().await;
    let before = service.seen().len();
    let node = is_woken_at_once(&rig, &service).await;
    assert_eq!(service.seen().len(), before + 1, "one probe, and not all lanes");
    let view = node.view();
    assert_eq!(view.state, Condition::Down);
    assert!(view.for_ms >= 5000, "{view:?}");
}

#[tokio::test]
async fn another_address_or_another_secret_does_not_wait_for_the_end_of_an_outage() {
    for moves in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "old").unwrap();
        let rig = Rig::with_registry(1);
        let (old, new) = (Service::start().await, Service::start().await);
        let of =
            |service: &Service| ServiceConfig { secret_file: Some(file.clone()), ..crm(service) };
        let (node, said) = finds_down(&rig, &old, of(&old)).await;
        node.dies().await;
        let mended = if moves { &new } else { &old };
        if !moves {
            std::fs::write(&file, "new").unwrap();
        }
        mended.does(|_| Does::Status(200));
        let node = rig.start("a", vec![of(mended)]);
        rig.passes(5 * SECOND).await;
        assert_eq!(mended.taken(), said, "another address: {moves}");
        assert_eq!((node.view().state, rig.stands(DOWN).await), (Condition::Up, None));
    }
}

/// Nothing waits here any more, so that nobody finds out here that it is up; what this node has written is of an outage
/// all the same that is over.
#[tokio::test]
async fn what_another_node_finds_up_is_no_outage_of_this_one_either() {
    let (rig, service) = (Rig::with_registry(1), Service::start().await);
    let (node, _said) = finds_down(&rig, &service, crm(&service)).await;
    rig.ledger.take_over(0, "b", true);
    rig.passes(SECOND).await;
    assert!(node.services.answer(IS_UP).await.is_some(), "it is a question of this version");
    assert_eq!(node.view().state, Condition::Up);
    rig.passes(2 * SECOND).await;
    assert_eq!(rig.stands(DOWN).await, None);
}

/// No leader lives for as long as an event is tried that is answered with 500; all of them together do.
#[tokio::test]
async fn an_event_that_is_never_taken_is_put_aside_though_no_leader_lasts() {
    const LIFE: u32 = 60;
    let (rig, service) = (Rig::with_registry(2), Service::start().await);
    service.does(|seen| {
        let ill = seen.texts.iter().any(|text| text.starts_with("0-"));
        Does::Status(if ill { 500 } else { 200 })
    });
    let give_up = 10 * LIFE * SECOND;
    let retry = Retry { give_up, cap: 30 * SECOND, ..Retry::default() };
    let failing = "services/crm/failing/0";
    rig.says(0, 0..1);
    let (mut said, mut before) = (0, (0, 0));
    for life in 0..30 {
        let name = if life % 2 == 0 { "a" } else { "b" };
        (0..2).for_each(|partition| rig.ledger.take_over(partition, name, true));
        let node = rig.start(name, vec![ServiceConfig { retry, ..crm(&service) }]);
        for _often in 0..LIFE / 4 {
            rig.says(1, said..said + 1);
            said += 1;
            rig.passes(4 * SECOND).await;
        }
        if rig.ledger.lane(0, CRM).unwrap().parked > 0 {
            assert!(life >= 9, "not before it has failed for so long: {life}");
            rig.passes(2 * SECOND).await;
            assert_eq!(rig.stands(failing).await, None, "it is over");
            assert!(service.taken().iter().all(|text| text.starts_with("1-")));
            return service.checks(&rig.ledger);
        }
        node.dies().await;
        let stands = rig.stands(failing).await.unwrap();
        let now = (stands["lasted_ms"].as_u64().unwrap(), stands["step"].as_u64().unwrap());
        assert!(
            now.0 >= before.0 + 25_000 && now.1 > before.1,
            "{life}: {stands} after {before:?}"
        );
        before = now;
    }
    panic!("it is tried for ever: {before:?}");
}

/// It was taken under the next leader at once; what stands of it says nothing of what fails there later.
#[tokio::test]
async fn what_stands_of_a_transaction_that_is_over_says_nothing_of_the_next_one() {
    let (rig, service) = (Rig::with_registry(2), Service::start().await);
    let fails = |seen: &Seen| {
        let ill = seen.texts.iter().any(|text| text.starts_with("0-"));
        Does::Status(if ill { 500 } else { 200 })
    };
    let retry = Retry { give_up: 60 * SECOND, ..Retry::default() };
    let config = || vec![ServiceConfig { retry, ..crm(&service) }];
    let failing = "services/crm/failing/0";
    let alive = async |said: std::ops::Range<usize>| {
        for number in said {
            rig.says(1, number..number + 1);
            rig.passes(4 * SECOND).await;
        }
    };
    service.does(fails);
    let node = rig.start("a", config());
    rig.says(0, 0..1);
    alive(0..10).await;
    node.dies().await;
    let first = rig.stands(failing).await.unwrap();
    service.does(|_| Does::Status(200));
    let node = rig.start("a", config());
    rig.is_settled(0).await;
    service.does(fails);
    rig.says(0, 1..2);
    alive(10..18).await;
    assert_eq!(node.view().parked, 0, "it has failed for half a minute");
    let second = rig.stands(failing).await.unwrap();
    assert_ne!(first["seq"], second["seq"]);
    assert!(second["lasted_ms"].as_u64().unwrap() < 40_000, "{second}");
    service.does(|_| Does::Status(200));
    rig.is_settled(0).await;
    rig.passes(2 * SECOND).await;
    assert_eq!(rig.stands(failing).await, None);
}
