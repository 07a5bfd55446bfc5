//! What changes between a decision and what comes of it: a pause, a take-over, an entry that is gone.

use std::sync::Arc;
use std::time::Duration;

use model::{Attrs, ChatToken, Outcall};
use outbox::{Call, Condition, Point};

use crate::gate::Gate;
use crate::outside::SECOND;
use crate::rig::{CRM, Rig, crm};
use crate::service::{Does, Service};

/// T-I5, at the attempt: what was decided by a leader is not sent by a node that is none.
#[tokio::test]
async fn what_a_deposed_node_was_about_to_send_is_not_sent_by_it() {
    let (rig, service, (gate, hook)) =
        (Rig::new(1), Service::start().await, Gate::at(Point::Sending));
    let _old = rig.start_hooked("a", vec![crm(&service)], hook);
    let said = rig.says(0, 0..3);
    gate.is_reached(&rig, 1).await;
    rig.ledger.take_over(0, "b", true);
    gate.opens();
    rig.passes(SECOND).await;
    assert_eq!(service.seen().len(), 0, "it leads no more");
    let _new = rig.start("b", vec![crm(&service)]);
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
}

/// T-I8, at the attempt: what was decided before a pause is not sent after it.
#[tokio::test]
async fn what_was_about_to_be_sent_when_a_service_was_paused_waits() {
    let (rig, service, (gate, hook)) =
        (Rig::new(1), Service::start().await, Gate::at(Point::Sending));
    let node = rig.start_hooked("a", vec![crm(&service)], hook);
    let said = rig.says(0, 0..3);
    gate.is_reached(&rig, 1).await;
    node.services.pause(CRM).await.unwrap();
    gate.opens();
    rig.passes(SECOND).await;
    assert_eq!(service.seen().len(), 0, "it is paused");
    node.services.resume(CRM).await.unwrap();
    rig.arrives(&service, &said).await;
}

fn call(chat: u8, service: &str, queued_ms: u64) -> Call {
    let outcall = Outcall {
        plugin: "p".to_owned(),
        service: service.to_owned(),
        path: "/".to_owned(),
        headers: Attrs::new(),
        body: Vec::new(),
        correlation: "c".to_owned(),
        queued_ms,
    };
    Call { chat: ChatToken([chat; 16]), number: 7, outcall: Arc::new(outcall) }
}

#[tokio::test]
async fn a_plugin_s_call_to_a_service_that_is_paused_ends_when_it_is_too_old() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let node = rig.start("a", vec![crm(&service)]);
    node.services.pause(CRM).await.unwrap();
    rig.ledger.calls(0, call(1, CRM, 0));
    rig.ledger.calls(0, call(2, CRM, runtime::wall_ms()));
    rig.until("a reply", || if rig.ledger.replies().is_empty() { Err(()) } else { Ok(()) }).await;
    rig.passes(SECOND).await;
    let replies = rig.ledger.replies();
    let told: Vec<_> = replies.iter().map(|it| (it.chat.0[0], it.status, it.attempts)).collect();
    assert_eq!((told, service.seen().len()), (vec![(1, 0, 0)], 0), "the other one may still wait");
}

#[tokio::test]
async fn a_plugin_s_call_to_a_service_that_no_file_has_ends_when_it_is_too_old() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let _node = rig.start("a", vec![crm(&service)]);
    rig.ledger.calls(0, call(1, "nobody", 0));
    rig.ledger.calls(0, call(2, "nobody", runtime::wall_ms()));
    rig.passes(12 * SECOND).await;
    let told: Vec<_> = rig.ledger.replies().iter().map(|it| (it.chat.0[0], it.status)).collect();
    assert_eq!(told, [(1, 0)], "the other one may still be made");
}

/// P16: what is lost is not called done.
#[tokio::test]
async fn events_that_are_not_in_the_log_any_more_are_given_up_and_the_others_arrive() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Status(503));
    let node = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..4);
    rig.came(&service, 1).await;
    rig.says(0, 4..5);
    rig.until("all to be owed", || {
        let pending = node.view().pending;
        if pending == 5 { Ok(()) } else { Err(pending) }
    })
    .await;
    let front = rig.ledger.front(0, CRM).unwrap();
    assert!(front.part.events.len() > 1, "{front:?}");
    let lost = front.part.events[0];
    rig.ledger.loses(0, lost.seq);
    service.does(|_| Does::Status(200));
    said.remove(0);
    said.push("0-4".to_owned());
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    let lane = rig.ledger.lane(0, CRM).unwrap();
    assert_eq!((lane.done, lane.abandoned), (4, 1));
    let letters = node.services.letters_everywhere(CRM).await.unwrap();
    assert_eq!(letters.all[0].abandoned, 1, "and it is told");
    assert!(!letters.more && letters.silent.is_empty());
}

/// What all lanes hold in memory at once has a bound, however many go on at the same time.
#[tokio::test]
async fn no_more_lanes_are_cut_at_once_than_memory_is_meant_for() {
    let (rig, service) = (Rig::new(64), Service::start().await);
    let node = rig.start("a", vec![crm(&service)]);
    node.services.pause(CRM).await.unwrap();
    for partition in 0..64 {
        rig.says(partition, 0..1);
    }
    rig.passes(SECOND).await;
    rig.ledger.reads_wait();
    node.services.resume(CRM).await.unwrap();
    // One probe, and then all of them.
    for _round in 0..20 {
        rig.acts().await;
        rig.ledger.read_one();
        rig.passes(Duration::from_millis(100)).await;
        if rig.ledger.reading() >= 32 {
            break;
        }
    }
    rig.passes(SECOND).await;
    let reading = rig.ledger.reading();
    assert!(
        (32..=32 + 16).contains(&reading),
        "{reading}: beside them as many are read as are sent at once"
    );
    rig.ledger.reads_go_on();
    rig.until("everything to arrive", || {
        let taken = service.taken().len();
        if taken == 64 { Ok(()) } else { Err(taken) }
    })
    .await;
    assert_eq!(node.view().state, Condition::Up);
}
