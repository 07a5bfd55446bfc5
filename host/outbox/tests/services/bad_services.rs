//! What services do that they should not, and that their events arrive all the same: each once and in order, as far as
//! they are taken; one id with one content; nothing sooner than was asked for.

use std::time::Duration;

use outbox::Condition;
use transaction::SenderConfig;

use crate::outside::{Door, Fickle, SECOND};
use crate::rig::{CRM, Rig, crm};
use crate::service::{Does, OK, Service};

#[tokio::test]
async fn a_service_that_answers_500_for_a_minute_has_everything_after_it() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|seen| Does::Status(if seen.at < 60 * SECOND { 500 } else { 200 }));
    let node = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..5);
    rig.came(&service, 1).await;
    said.extend(rig.says(0, 5..150));
    rig.passes(30 * SECOND).await;
    assert_ne!(node.view().state, Condition::Up);
    rig.arrives(&service, &said).await;
    let seen = service.seen();
    let (tried, taken): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| !seen.took);
    assert!(tried.iter().all(|it| it.path == tried[0].path), "while it is down nothing is cut");
    assert!((3..60).contains(&tried.len()), "tried {} times in a minute", tried.len());
    assert_eq!(taken.len(), 1 + (said.len() - tried[0].texts.len()).div_ceil(100));
    assert!(taken[0].at < 60 * SECOND + 31 * SECOND, "no later than the longest wait");
}

#[tokio::test]
async fn a_service_that_crashes_after_its_answer_gets_the_rest_when_it_is_back() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let node = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..1);
    rig.arrives(&service, &said).await;
    service.dies().await;
    said.extend(rig.says(0, 1..20));
    rig.until("it to be down", || match node.view().state {
        Condition::Down => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(node.view().next_ms.is_some(), "somebody can see when it is tried again");
    rig.passes(20 * SECOND).await;
    service.returns().await;
    rig.arrives(&service, &said).await;
    assert_eq!(node.view().state, Condition::Up);
    let first = service.seen().iter().filter(|seen| seen.texts.contains(&said[0])).count();
    assert_eq!(first, 1, "what was answered is not sent again");
}

#[tokio::test]
async fn a_service_that_hangs_before_or_in_its_headers_sees_the_same_again() {
    for says in ["", "HTTP/1.1 200 OK\r\ncontent-le"] {
        let (rig, service) = (Rig::new(1), Service::start().await);
        let mut first = true;
        service.does(move |_| match std::mem::take(&mut first) {
            true => Does::Stalls(says),
            false => Does::Status(200),
        });
        let _node = rig.start("a", vec![crm(&service)]);
        let said = rig.says(0, 0..3);
        rig.arrives(&service, &said).await;
        let seen = service.seen();
        assert_eq!((&seen[0].path, &seen[0].body), (&seen[1].path, &seen[1].body));
        assert!(seen[1].at >= seen[0].at + 20 * SECOND, "{:?}", seen[1].at);
    }
}

#[tokio::test]
async fn a_service_that_hangs_or_dribbles_after_its_headers_has_taken_it() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n";
    for does in [Does::Stalls(head), Does::Dribbles(head, "{\"failed\": [1]}"), Does::Floods] {
        let (rig, service) = (Rig::new(1), Service::start().await);
        let said_so = does.clone();
        service.does(move |_| said_so.clone());
        let _node = rig.start("a", vec![crm(&service)]);
        let mut said = rig.says(0, 0..3);
        rig.arrives(&service, &said).await;
        said.extend(rig.says(0, 3..5));
        rig.arrives(&service, &said).await;
        rig.is_settled(0).await;
        let seen = service.seen();
        let paths: Vec<_> = seen.iter().map(|seen| &seen.path).collect();
        assert!(paths.windows(2).all(|two| two[0] != two[1]), "{does:?}: nothing comes again");
        let last = &seen[seen.len() - 1];
        assert!(last.at < 15 * SECOND, "five seconds each at most, not {:?}", last.at);
    }
}

#[tokio::test]
async fn a_service_that_dribbles_its_headers_is_tried_again_with_the_same() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let mut first = true;
    service.does(move |_| match std::mem::take(&mut first) {
        true => Does::Dribbles("", OK),
        false => Does::Status(200),
    });
    let _node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..3);
    rig.arrives(&service, &said).await;
    let seen = service.seen();
    assert_eq!((seen.len(), &seen[0].body), (2, &seen[1].body));
}

#[tokio::test]
async fn a_service_that_cuts_half_of_its_connections_loses_nothing() {
    let (rig, service) = (Rig::new(2), Service::start().await);
    let mut count = 0;
    service.does(move |_| {
        count += 1;
        if count % 2 == 1 { Does::Cuts } else { Does::Status(200) }
    });
    let _node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..40);
    rig.arrives(&service, &said).await;
}

#[tokio::test]
async fn a_service_that_takes_no_more_than_three_at_once_gets_no_more() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    service.does(|seen| Does::Status(if seen.texts.len() > 3 { 413 } else { 200 }));
    let said = rig.says(0, 0..50);
    let node = rig.start("a", vec![crm(&service)]);
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    assert_eq!(node.view().parked, 0, "none of them is poison");
    assert!(service.seen().iter().filter(|seen| seen.took).all(|seen| seen.texts.len() <= 3));
}

#[tokio::test]
async fn a_service_that_never_takes_one_event_gets_all_the_others() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let poisoned = |seen: &crate::service::Seen| seen.texts.iter().any(|text| text == "0-7");
    service.does(move |seen| Does::Status(if poisoned(seen) { 400 } else { 200 }));
    let mut said = rig.says(0, 0..30);
    let node = rig.start("a", vec![crm(&service)]);
    said.retain(|text| text != "0-7");
    rig.arrives(&service, &said).await;
    rig.is_settled(0).await;
    let view = node.view();
    assert_eq!((view.parked, view.done, view.state), (1, 29, Condition::Up));
    let refused: Vec<_> = service.seen().into_iter().filter(|seen| !seen.took).collect();
    assert_eq!(refused.last().map(|seen| seen.texts.len()), Some(1), "it was tried alone");
    assert!(refused.len() <= 6, "halved, not one by one: {}", refused.len());
}

#[tokio::test]
async fn a_service_is_not_tried_before_it_asked_to_be() {
    let seconds = "retry-after: 120\r\n";
    let date =
        "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:51:37 GMT\r\n";
    for asks in [seconds, date] {
        let (rig, service) = (Rig::new(1), Service::start().await);
        let busy = format!("HTTP/1.1 503 Busy\r\n{asks}content-length: 0\r\n\r\n");
        let mut first = true;
        service.does(move |_| match std::mem::take(&mut first) {
            true => Does::Says(busy.clone()),
            false => Does::Status(200),
        });
        let node = rig.start("a", vec![crm(&service)]);
        let said = rig.says(0, 0..3);
        rig.came(&service, 1).await;
        rig.passes(110 * SECOND).await;
        assert_eq!((service.seen().len(), node.view().state), (1, Condition::Down), "{asks}");
        rig.arrives(&service, &said).await;
        let waited = service.seen()[1].at.saturating_sub(service.seen()[0].at);
        assert!((120 * SECOND..125 * SECOND).contains(&waited), "{asks}: {waited:?}");
    }
}

#[tokio::test]
async fn a_service_that_refuses_every_second_request_gets_each_twice_and_in_order() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let mut count = 0;
    service.does(move |_| {
        count += 1;
        Does::Status(if count % 2 == 1 { 503 } else { 200 })
    });
    let mut config = crm(&service);
    config.batch.events = 4;
    let said = rig.says(0, 0..40);
    let _node = rig.start("a", vec![config]);
    rig.arrives(&service, &said).await;
    let seen = service.seen();
    assert_eq!(seen.len(), 20);
    assert!(seen.chunks(2).all(|two| two[0].path == two[1].path && two[0].body == two[1].body));
}

#[tokio::test]
async fn a_service_that_answers_too_late_sees_the_same_id_again_and_nothing_before_it() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let mut late = 2;
    service.does(move |_| {
        late -= i32::from(late > 0);
        if late > 0 { Does::Late(Duration::from_secs(25)) } else { Does::Status(200) }
    });
    let _node = rig.start("a", vec![crm(&service)]);
    let mut said = rig.says(0, 0..1);
    rig.came(&service, 1).await;
    said.extend(rig.says(0, 1..4));
    rig.arrives(&service, &said).await;
    let seen = service.seen();
    assert_eq!((&seen[0].path, &seen[0].body), (&seen[1].path, &seen[1].body));
    assert_eq!(seen[2].texts, said[1..]);
    assert!(seen[1].at < seen[0].at + 25 * SECOND, "it came again before it was answered");
}

#[tokio::test]
async fn a_service_that_points_elsewhere_is_waited_for_and_nobody_goes_there() {
    let (rig, service, elsewhere) = (Rig::new(1), Service::start().await, Door::open().await);
    let place = format!("http://{}/latest/meta-data/", elsewhere.address);
    let moved = move |status| {
        format!("HTTP/1.1 {status} Moved\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n")
    };
    let mut statuses = vec![301, 302, 307, 308];
    service.does(move |_| match statuses.pop() {
        Some(status) => Does::Says(moved(status)),
        None => Does::Status(200),
    });
    let node = rig.start("a", vec![crm(&service)]);
    let said = rig.says(0, 0..3);
    rig.arrives(&service, &said).await;
    assert_eq!((service.seen().len(), node.view().parked), (5, 0));
    assert!(elsewhere.is_untouched().await);
}

#[tokio::test]
async fn a_service_whose_name_comes_to_mean_a_private_address_waits_until_it_does_not() {
    let (rig, service) = (Rig::new(1), Service::start().await);
    let closes = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    service.does(move |_| Does::Says(closes.to_owned()));
    let port = service.url().rsplit(':').next().map(str::to_owned).unwrap();
    let inside = Door::at(&format!("127.0.0.2:{port}")).await;
    let resolver = Fickle::new(&[
        &["127.0.0.1"],
        &["127.0.0.2"],
        &["169.254.169.254"],
        &["::ffff:127.0.0.2"],
        &["127.0.0.1"],
    ]);
    let mut config = crm(&service);
    config.url = format!("http://crm.example:{port}");
    config.allow_private = vec!["127.0.0.1/32".parse().unwrap()];
    let sends = SenderConfig { resolver, ..SenderConfig::default() };
    let node = rig.start_with("a", vec![config], sends);
    let mut said = rig.says(0, 0..1);
    rig.arrives(&service, &said).await;
    said.extend(rig.says(0, 1..2));
    rig.until("it to be down", || match node.view().state {
        Condition::Down => Ok(()),
        other => Err(other),
    })
    .await;
    rig.arrives(&service, &said).await;
    assert_eq!(service.seen().len(), 2);
    let attempts = node.services.attempts_everywhere(CRM).await.unwrap();
    let failed = attempts.all.iter().filter(|(_, it)| it.status.is_none()).count();
    assert_eq!((attempts.all.len(), failed), (5, 3), "and somebody can see why");
    assert!(inside.is_untouched().await);
}
