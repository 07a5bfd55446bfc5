//! Schedules that a design like ours is known to get wrong, as far as they need a whole outbox; those of an engine alone
//! are in `host/transaction/tests/world`. `docs/transactions.md` lists them all.

use std::time::Duration;

use model::{Dialect, EventPlace, OutboxChange, Part};
use outbox::{Condition, ServiceConfig};
use transaction::{Cause, VERSION};

use crate::outside::SECOND;
use crate::rig::{CRM, Rig, crm, described};
use crate::service::{Does, Service};

/// Where a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// What freezes the transaction is appended and not committed.
    Frozen,
    /// The service has it and has not answered.
    Sent,
    /// The service has answered, and the log does not know it.
    Answered,
    /// What says so is appended and not committed.
    Settling,
}

/// T-S1, of the whole outbox. A node dies between two steps and another goes on, or it comes back itself.
#[tokio::test]
async fn a_death_between_two_steps_loses_nothing_and_gives_no_second_id() {
    for moment in [Moment::Frozen, Moment::Sent, Moment::Answered, Moment::Settling] {
        for (next, keeps) in [("a", true), ("b", true), ("a", false), ("b", false)] {
            let (rig, service) = (Rig::new(1), Service::start().await);
            let node = rig.start("a", vec![crm(&service)]);
            // It is described, and nothing waits.
            let mut said = rig.says(0, 0..1);
            rig.arrives(&service, &said).await;
            rig.is_settled(0).await;
            reaches(&rig, &service, moment, &mut said).await;
            node.dies().await;
            rig.ledger.take_over(0, next, keeps);
            rig.ledger.hold(false);
            service.does(|_| Does::Status(200));
            let _next = rig.start(next, vec![crm(&service)]);
            said.extend(rig.says(0, 2..3));
            rig.arrives(&service, &said).await;
            rig.is_settled(0).await;
            let seen = service.seen().into_iter().filter(|seen| seen.texts.contains(&said[1]));
            let mut paths: Vec<_> = seen.map(|seen| seen.path).collect();
            let settled = moment == Moment::Settling && keeps;
            let again = matches!(moment, Moment::Sent | Moment::Answered | Moment::Settling);
            assert_eq!(
                paths.len(),
                1 + usize::from(again && !settled),
                "{moment:?} {next} {keeps}"
            );
            paths.dedup();
            assert_eq!(paths.len(), 1, "{moment:?} {next} {keeps}");
        }
    }
}

/// Says one more, and brings the node to this moment of it.
async fn reaches(rig: &Rig, service: &Service, moment: Moment, said: &mut Vec<String>) {
    if moment == Moment::Sent {
        service.does(|_| Does::Stalls(""));
    }
    rig.ledger.hold(moment == Moment::Frozen);
    said.extend(rig.says(0, 1..2));
    if moment == Moment::Frozen {
        rig.until("a cut", || if rig.ledger.is_waiting(0) { Ok(()) } else { Err(()) }).await;
        assert_eq!(service.seen().len(), 1, "nothing is sent before");
        return;
    }
    rig.came(service, 2).await;
    rig.ledger.hold(moment == Moment::Settling);
    if moment == Moment::Settling {
        rig.until("its end", || if rig.ledger.is_waiting(0) { Ok(()) } else { Err(()) }).await;
    }
}

/// T-S2, over HTTP. A node is deposed with an attempt under way, which is answered as the next one's is.
#[tokio::test]
async fn what_two_leaders_send_at_once_has_one_id_and_one_content() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Late(10 * SECOND));
    let old = rig.start("a", vec![crm(&service)]);
    let new = rig.start("b", vec![crm(&service)]);
    let mut said = rig.says(0, 0..3);
    rig.came(&service, 1).await;
    rig.passes(SECOND).await;
    rig.ledger.take_over(0, "b", true);
    rig.came(&service, 2).await;
    let seen = service.seen();
    assert_eq!((&seen[0].path, &seen[0].body), (&seen[1].path, &seen[1].body));
    said.extend(rig.says(0, 3..6));
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    assert_eq!((old.view().partitions, new.view().done), (0, 6), "each counts once");
}

/// T-S3, of a build. The log holds a transaction that a newer build of us wrote, as this one cannot.
#[tokio::test]
async fn what_this_build_cannot_write_goes_under_another_id() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Status(503));
    let node = rig.start("a", vec![crm(&service)]);
    rig.until("it to be described", || match rig.ledger.lane(0, CRM) {
        Some(lane) if !lane.is_ripe() => Ok(()),
        other => Err(other),
    })
    .await;
    node.dies().await;
    let said = rig.says(0, 0..1);
    let from = rig.ledger.lane(0, CRM).unwrap().scan;
    let event = EventPlace { seq: from.0, index: 0, epoch: 1, number: from.0 };
    let (dialect, render) = (Dialect::Matrix, VERSION + 1);
    let part = Part { dialect, render, events: vec![event], hash: [7; 32], rounds: 0 };
    let (service_name, upto) = (CRM.to_owned(), (from.0 + 1, 0));
    rig.ledger.put_outbox(0, OutboxChange::Cut { service: service_name, part, from, upto });
    let frozen = rig.ledger.front(0, CRM).unwrap();
    service.does(|_| Does::Status(200));
    let _node = rig.start("a", vec![crm(&service)]);
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    let ours = format!("-{:x}-{:x}-{:x}", frozen.id.epoch, frozen.id.seq, frozen.id.index);
    assert!(service.seen().iter().all(|seen| !seen.path.ends_with(&ours)), "not under that one");
}

/// T-S3, of a service. A partition is led by a node that does not know the service; what is said there meanwhile is owed.
#[tokio::test]
async fn what_is_said_under_a_leader_without_the_service_is_owed_all_the_same() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let _knows = rig.start("a", vec![crm(&service)]);
    let _knows_not = rig.start("b", Vec::new());
    let mut said = rig.says(0, 0..2);
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    rig.ledger.take_over(0, "b", true);
    said.extend(rig.says(0, 2..5));
    rig.passes(60 * SECOND).await;
    assert_eq!(rig.ledger.lane(0, CRM).unwrap().pending(), 3);
    rig.ledger.take_over(0, "a", true);
    rig.arrives(&service, &said).await;
}

/// T-S5, of the whole outbox. A message is redacted between two attempts.
#[tokio::test]
async fn what_is_redacted_between_two_attempts_goes_under_another_id() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Status(503));
    let _node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..1);
    rig.came(&service, 1).await;
    let place = rig.ledger.front(0, CRM).unwrap().part.events[0];
    rig.ledger.redact(0, place.seq);
    service.does(|_| Does::Status(200));
    rig.is_settled(0).await;
    let seen = service.seen();
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    assert_eq!((&first.texts, &last.texts), (&said, &vec![String::new()]));
    assert_ne!(first.path, last.path);
    let shown = seen.iter().filter(|seen| seen.texts == said).all(|seen| seen.path == first.path);
    assert!(shown);
    service.checks(&rig.ledger);
}

/// T-S6, of one that is answered with 500. Its lane waits, and nothing else.
#[tokio::test]
async fn an_event_that_is_answered_with_500_stops_its_own_lane_only() {
    let (rig, service) = (Rig::new(4), Service::start().await);
    service.does(|seen| {
        let ill = seen.texts.iter().any(|text| text.starts_with("2-"));
        Does::Status(if ill { 500 } else { 200 })
    });
    let node = rig.start("a", vec![crm(&service)]);
    for number in 0..20 {
        for partition in 0..4 {
            rig.says(partition, number..number + 1);
        }
        rig.passes(SECOND / 4).await;
    }
    for partition in [0, 1, 3] {
        rig.is_settled(partition).await;
    }
    assert_eq!((service.taken().len(), node.view().pending), (60, 20));
    assert_eq!(node.view().parked, 0, "that is no refusal");
    service.does(|_| Does::Status(200));
    rig.is_settled(2).await;
    let ours: Vec<_> = service.taken().into_iter().filter(|it| it.starts_with("2-")).collect();
    assert_eq!(ours, (0..20).map(|number| format!("2-{number}")).collect::<Vec<_>>());
}

/// T-S6, of all of it. A service that refuses everything is stopped, and not emptied into what is put aside.
#[tokio::test]
async fn a_service_that_refuses_everything_is_stopped_and_says_why() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Status(400));
    rig.says(0, 0..100);
    let node = rig.start("a", vec![crm(&service)]);
    rig.until("it to be stopped", || match node.view().cause {
        Some(Cause::RefusesAll) => Ok(()),
        other => Err(other),
    })
    .await;
    rig.passes(300 * SECOND).await;
    let count = service.seen().len();
    rig.passes(300 * SECOND).await;
    assert_eq!(service.seen().len(), count, "T-I8: nothing is sent while it is stopped");
    assert_eq!((node.view().parked, node.view().pending), (20, 80));
    service.does(|_| Does::Status(200));
    node.services.resume(CRM).await.unwrap();
    rig.is_settled(0).await;
    assert_eq!((node.view().parked, node.view().done), (20, 80));
}

/// T-S8. A hundred services hang, each with its attempts under way, and one is healthy: it gets what is said at once.
#[tokio::test]
async fn a_healthy_service_waits_for_none_of_a_hundred_that_hang() {
    let (rig, hanging, healthy) = (Rig::new(4), Service::start().await, Service::start().await);
    hanging.does(|_| Does::Stalls(""));
    let mut configs: Vec<ServiceConfig> =
        (0..100).map(|number| described(&format!("s{number}"), &hanging.url())).collect();
    configs.push(crm(&healthy));
    let node = rig.start("a", configs);
    for partition in 0..4 {
        rig.says(partition, 0..5);
    }
    rig.came(&hanging, 100).await;
    rig.passes(SECOND).await;
    let count = healthy.taken().len();
    assert_eq!(count, 20);
    let said = rig.says(3, 5..8);
    let began = healthy.seen().len();
    rig.acts().await;
    let new: Vec<_> = healthy.seen().split_off(began).into_iter().flat_map(|it| it.texts).collect();
    assert_eq!(new, said, "without that time passed");
    let in_flight: u64 = node.services.list().iter().map(|view| view.in_flight).sum();
    assert!(in_flight <= 256 + 101, "T-I11: {in_flight}");
}

/// T-S14, of the whole outbox. What was put aside is wanted again, by many at once.
#[tokio::test]
async fn what_was_put_aside_is_sent_again_once_under_its_id() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|seen| Does::Status(if seen.texts == ["0-0"] { 422 } else { 200 }));
    let node = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..1);
    rig.until("it to be put aside", || match node.view().parked {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    let letters = node.services.letters_everywhere(CRM).await.unwrap();
    assert_eq!((letters.all.len(), letters.all[0].status), (1, Some(422)));
    let refused = service.seen()[0].clone();
    service.does(|_| Does::Status(200));
    let wanted = || node.services.replay_everywhere(CRM, None);
    let (one, other) = tokio::join!(wanted(), wanted());
    assert!(one.unwrap().all + other.unwrap().all >= 1);
    said.extend(rig.says(0, 1..2));
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    let again = &service.seen()[1];
    assert_eq!((&again.path, &again.body), (&refused.path, &refused.body));
    assert_eq!((service.seen().len(), node.view().parked), (3, 0));
}

/// T-S16. A node stops while its attempts hang: it does not wait for them, and the next one sends the same again.
#[tokio::test]
async fn a_node_that_stops_while_a_service_hangs_leaves_it_to_the_next() {
    let (rig, service) = (Rig::new(2), Service::start().await);
    service.does(|_| Does::Stalls(""));
    let old = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..3);
    rig.came(&service, 1).await;
    tokio::select! { biased;
        () = old.dies() => {}
        () = rig.acts() => panic!("it waits for what hangs"),
    }
    rig.ledger.take_over(0, "b", true);
    rig.ledger.take_over(1, "b", true);
    service.does(|_| Does::Status(200));
    let _new = rig.start("b", vec![crm(&service)]);
    said.extend(rig.says(0, 3..4));
    rig.arrives(&service, &said).await;
    let seen = service.seen();
    assert_eq!((&seen[0].path, &seen[0].body), (&seen[1].path, &seen[1].body));
}

/// T-I9. A secret is another one from the next attempt on, and the old one is not shown again.
#[tokio::test]
async fn a_secret_that_changed_counts_from_the_next_attempt_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|seen| {
        let new = seen.token.as_deref() == Some("Bearer new");
        Does::Status(if new { 200 } else { 401 })
    });
    let config = ServiceConfig { secret_file: Some(file.clone()), ..crm(&service) };
    let _node = rig.start("a", vec![config]);
    let said = rig.says(0, 0..2);
    rig.came(&service, 1).await;
    std::fs::write(&file, "new\n").unwrap();
    let count = service.seen().len();
    rig.arrives(&service, &said).await;
    let tokens: Vec<_> = service.seen().into_iter().map(|seen| seen.token.unwrap()).collect();
    assert!(tokens[..count].iter().all(|token| token == "Bearer old"), "{tokens:?}");
    assert!(tokens[count..].iter().all(|token| token == "Bearer new"), "{tokens:?}");
}

/// T-S10, of a ping. A service that waits for hours says that it is there, to a node.
#[tokio::test]
async fn a_service_that_says_it_is_there_is_sent_everything_at_once() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|_| Does::Cuts);
    let mut config = crm(&service);
    (config.retry.first, config.retry.cap) = (Duration::from_secs(7200), Duration::from_secs(7200));
    let node = rig.start("a", vec![config]);
    let said = rig.says(0, 0..3);
    rig.until("it to be down", || match node.view().state {
        Condition::Down => Ok(()),
        other => Err(other),
    })
    .await;
    service.does(|_| Does::Status(200));
    let woken = node.services.ping(CRM).await.unwrap();
    assert!(woken);
    let count = service.seen().len();
    rig.acts().await;
    assert_eq!(service.seen().len(), count + 1, "without that time passed");
    rig.arrives(&service, &said).await;
}
