//! Golden bytes of the dialects: a version that was released is never written otherwise.

use std::sync::Arc;

use model::{Attrs, Body, ChatToken, Cursor, Message, MessageId, Reference, Route, Stamp};

use super::{VERSION, ping, render};
use crate::{Dialect, Event, Names, TransactionId};

fn event(number: u8, kind: &str, body: Body) -> Event {
    let stamp = Stamp {
        plugin: "moderation".to_owned(),
        version: "1.0.0".to_owned(),
        verdict: "pass".to_owned(),
    };
    Event {
        chat: ChatToken([0xab; 16]),
        cursor: Cursor { epoch: 2, seq: u64::from(number) },
        message: Arc::new(Message {
            id: MessageId([number; 16]),
            sender: "alice".to_owned(),
            kind: kind.to_owned(),
            route: if number == 1 { Route::Everyone } else { Route::Only(vec!["bob".to_owned()]) },
            body,
            archive: None,
            attrs: Attrs::from([
                ("b".to_owned(), "2".to_owned()),
                ("a".to_owned(), "1".to_owned()),
            ]),
            time_ms: 1_700_000_000_000,
            sent_ms: (number == 1).then_some(1_699_999_999_999),
            stamps: if number == 1 { vec![stamp] } else { Vec::new() },
        }),
    }
}

fn events() -> Vec<Event> {
    let json = |text: &str| Body::Json(text.to_owned());
    vec![
        event(1, "text", Body::Text("say \"hi\" / \u{1f514}\n".to_owned())),
        event(
            2,
            "chat.status",
            json("{ \"status\": \"started\",\"n\":123456789012345678901234567890}"),
        ),
        event(3, "mood", json("[1, 2.50]")),
        event(4, "photo", Body::Bytes { media_type: "image/png".to_owned(), bytes: vec![0, 255] }),
        event(5, "note", Body::Text("a".to_owned())),
        event(6, "text", json("null")),
        event(7, "broken", json("{")),
    ]
}

fn id() -> TransactionId {
    TransactionId { cluster: 0xc0ffee, partition: 17, epoch: 2, seq: 300, index: 0 }
}

fn names() -> Names {
    Names { cluster: "example.org".to_owned() }
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap_or_default()
}

#[test]
fn matrix_is_written_as_ever() {
    let rendered = render(Dialect::Matrix, 1, &id(), &events(), &names()).unwrap();
    assert_eq!(rendered.method, "PUT");
    assert_eq!(rendered.path, format!("/_matrix/app/v1/transactions/{}", id()));
    assert_eq!(text(&rendered.body), include_str!("golden/matrix_1.json").trim_end());
}

#[test]
fn webhook_is_written_as_ever() {
    let rendered = render(Dialect::Webhook, 1, &id(), &events(), &names()).unwrap();
    assert_eq!((rendered.method, rendered.path.as_str()), ("POST", ""));
    assert_eq!(text(&rendered.body), include_str!("golden/webhook_1.json").trim_end());
}

/// The events that refer to something in the archive, each as a dialect writes it.
fn referring(dialect: Dialect) -> Vec<serde_json::Value> {
    let json = Body::Json("{\"a\":1}".to_owned());
    let said = [("text", Body::Text("look".to_owned())), ("mood", json)];
    let mut events: Vec<Event> =
        said.into_iter().map(|(kind, body)| event(1, kind, body)).collect();
    for event in &mut events {
        let (collection, key) = ("attachments".to_owned(), "t/bell.jpg".to_owned());
        let archive = Some(Arc::new(Reference { collection, key, version: u64::MAX }));
        event.message = Arc::new(Message { archive, ..Message::clone(&event.message) });
    }
    let rendered = render(dialect, 1, &id(), &events, &names()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
    value["events"].as_array().unwrap().clone()
}

#[test]
fn what_a_message_refers_to_is_told_as_clients_see_it() {
    let archive = serde_json::json!({
        "collection": "attachments", "key": "t/bell.jpg", "version": "18446744073709551615",
    });
    for event in referring(Dialect::Webhook) {
        assert_eq!(event["data"]["archive"], archive);
    }
    let [text, mood] = &referring(Dialect::Matrix)[..] else { panic!("two") };
    let content = serde_json::json!({
        "msgtype": "m.text", "body": "look", "carillon.archive": archive,
    });
    assert_eq!((&text["type"], &text["content"]), (&"m.room.message".into(), &content));
    let content = serde_json::json!({"json": {"a": 1}, "archive": archive});
    assert_eq!((&mood["type"], &mood["content"]), (&"carillon.mood".into(), &content));
}

#[test]
fn what_is_written_is_json_that_others_read() {
    for dialect in [Dialect::Matrix, Dialect::Webhook] {
        let rendered = render(dialect, VERSION, &id(), &events(), &names()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(value["events"].as_array().map(Vec::len), Some(events().len()));
    }
}

#[test]
fn a_hash_is_of_what_is_said_and_not_of_the_id() {
    let hash = |dialect, seq, events: &[Event]| {
        let id = TransactionId { seq, ..id() };
        render(dialect, 1, &id, events, &names()).unwrap().hash
    };
    let first = hash(Dialect::Matrix, 1, &events());
    assert_eq!(first, hash(Dialect::Matrix, 2, &events()));
    assert_ne!(first, hash(Dialect::Matrix, 1, &events()[1..]));
    assert_ne!(hash(Dialect::Matrix, 1, &[]), hash(Dialect::Webhook, 1, &[]));
}

#[test]
fn a_version_that_nobody_here_knows_is_not_written() {
    for version in [0, VERSION + 1, u8::MAX] {
        assert_eq!(render(Dialect::Matrix, version, &id(), &events(), &names()), None);
    }
}

#[test]
fn a_ping_is_the_specification_s_or_a_transaction_without_events() {
    let matrix = ping(Dialect::Matrix, &id());
    assert_eq!((matrix.method, matrix.path.as_str()), ("POST", "/_matrix/app/v1/ping"));
    assert_eq!(text(&matrix.body), format!("{{\"transaction_id\":\"{}\"}}", id()));
    let webhook = ping(Dialect::Webhook, &id());
    assert_eq!((webhook.method, webhook.path.as_str()), ("POST", ""));
    assert_eq!(text(&webhook.body), "{\"events\":[]}");
}
