//! A stream as server-sent events.
//!
//! `id:` is the cursor, so a client that comes back with `Last-Event-ID` goes on where it was. A cursor
//! that moved over messages that are not for this reader goes out alone: an event of an id and no data is
//! shown to nobody, and is remembered.
//!
//! What is not written (who types, has read, is there) are events with a name and without an id: they move no
//! cursor.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use chat::{Page, Pulse};
use futures_util::stream;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::follow::{First, Follower, Heard};
use super::meters::{Ended, Open};
use crate::connected::Connected;
use crate::problem::Problem;
use crate::shape::{GapShape, MessageShape, PeopleShape, ReadShape, TypingShape};

/// The media type.
pub(crate) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// After how long a client comes back, in milliseconds, if the stream breaks.
const RETRY_MS: u32 = 1000;

/// A stream on its way.
struct Events {
    follower: Follower,
    connected: Connected,
    request_id: String,
    open: Open,
    /// Nothing comes any more.
    over: bool,
}

/// What a client is sent, beginning with what is there already.
pub(crate) fn events(
    follower: Follower,
    first: &First,
    connected: Connected,
    request_id: String,
) -> Body {
    let mut begin = BytesMut::new();
    begin.put_slice(format!("retry: {RETRY_MS}\n\n").as_bytes());
    page_text(&first.page, &mut begin);
    if let Some(pulse) = &first.pulse {
        pulse_text(pulse, &mut begin);
    }
    let open = Open::new("sse", request_id.clone());
    let events = Events { follower, connected, request_id, open, over: false };
    let rest = stream::unfold((Some(begin.freeze()), events), |(ready, mut events)| async move {
        if let Some(text) = ready {
            return Some((Ok::<Bytes, std::convert::Infallible>(text), (None, events)));
        }
        let text = events.next().await?;
        Some((Ok(text), (None, events)))
    });
    Body::from_stream(rest)
}

impl Events {
    /// More text; `None` after the last.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let heard = tokio::select! {
            biased;
            () = self.connected.draining().stopped() => {
                self.end(Ended::Draining);
                return Some(Bytes::from_static(b"event: drain\ndata: {}\n\n"));
            }
            heard = self.follower.next() => heard,
        };
        let mut text = BytesMut::new();
        match heard {
            Heard::More { page, pulse } => {
                if let Some(page) = page {
                    page_text(&page, &mut text);
                }
                if let Some(pulse) = pulse {
                    pulse_text(&pulse, &mut text);
                }
            }
            Heard::Quiet => text.put_slice(b": nothing new\n\n"),
            Heard::Refused(problem) => {
                self.end(Ended::Refused);
                problem_text(&problem, &self.request_id, &mut text);
            }
        }
        Some(text.freeze())
    }

    fn end(&mut self, why: Ended) {
        self.over = true;
        self.open.ends(why);
    }
}

impl Drop for Events {
    /// HTTP's machinery drops what it cannot write, and says nothing.
    fn drop(&mut self) {
        if !self.over && self.connected.stalled().is_so() {
            self.end(Ended::Slow);
        }
    }
}

/// The events of a page. That there is a gap before it goes first; its cursor goes last, if no message shown stands there.
fn page_text(page: &Page, text: &mut BytesMut) {
    if let Some(after) = page.gap {
        text.put_slice(format!("id: {after}\n").as_bytes());
        named("gap", &GapShape::new(after), text);
    }
    let mut last = None;
    for stored in &page.messages {
        last = Some(stored.cursor);
        text.put_slice(format!("id: {}\n", stored.cursor).as_bytes());
        data(&MessageShape::new(&stored.message, stored.cursor), text);
    }
    if last != Some(page.cursor) {
        text.put_slice(format!("id: {}\n\n", page.cursor).as_bytes());
    }
}

/// The events of what is not written: each the whole of its part, as it is now.
fn pulse_text(pulse: &Pulse, text: &mut BytesMut) {
    if let Some(typing) = &pulse.typing {
        named("typing", &TypingShape { typing }, text);
    }
    if let Some(read) = &pulse.read {
        named("read", &ReadShape::new(read), text);
    }
    if let Some(people) = &pulse.people {
        named("presence", &PeopleShape::new(people), text);
    }
}

fn named(name: &str, shape: &impl Serialize, text: &mut BytesMut) {
    text.put_slice(format!("event: {name}\n").as_bytes());
    data(shape, text);
}

/// The end, and why.
fn problem_text(problem: &Problem, request_id: &str, text: &mut BytesMut) {
    text.put_slice(b"event: problem\ndata: ");
    text.put_slice(&problem.body(request_id));
    text.put_slice(b"\n\n");
}

/// JSON in one line. What a client sent as JSON goes out as it came in, also over several lines; but in
/// JSON a line break stands between values only, where a space means the same.
fn data(shape: &impl Serialize, text: &mut BytesMut) {
    text.put_slice(b"data: ");
    // A message that cannot be written is shown as one without fields; nothing we store is like that.
    let mut json = serde_json::to_vec(shape).unwrap_or_else(|_unwritable| b"{}".to_vec());
    json.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    text.put_slice(&json);
    text.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BytesMut;
    use chat::{Page, People, Pulse, PulseAt, Stored};
    use model::{Attrs, Body, ChatStatus, Cursor, Message, MessageId, Route};

    use super::{page_text, pulse_text};

    fn stored(seq: u64, body: Body) -> Stored {
        let message = Message {
            id: MessageId([1; 16]),
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body,
            archive: None,
            attrs: Attrs::new(),
            time_ms: 5,
            sent_ms: None,
            stamps: vec![],
        };
        Stored { cursor: Cursor { epoch: 1, seq }, message: Arc::new(message) }
    }

    fn text(messages: Vec<Stored>, seq: u64) -> String {
        shown(messages, seq, None)
    }

    fn shown(messages: Vec<Stored>, seq: u64, gap: Option<Cursor>) -> String {
        let cursor = Cursor { epoch: 1, seq };
        let mut text = BytesMut::new();
        let page = Page { messages, cursor, head: cursor, more: false, gap, pulse: None };
        page_text(&page, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn a_message_is_one_event_of_one_line_with_its_cursor() {
        let lines = "{\"a\":\n1,\r\n\"b\": \"\\n\"}".to_owned();
        for body in [Body::Text("one\ntwo\r\n\rthree".to_owned()), Body::Json(lines)] {
            let text = text(vec![stored(3, body)], 3);
            let event: Vec<&str> = text.split('\n').collect();
            assert_eq!(event.len(), 4, "{text:?}");
            assert_eq!((event[0], event[2], event[3]), ("id: 1-3", "", ""), "{text:?}");
            assert!(event[1].starts_with("data: {\"id\":\"0101"), "{text:?}");
            assert!(!text.contains('\r'), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_written_is_told_by_name_and_moves_no_cursor() {
        let pulse = Pulse {
            at: PulseAt { epoch: 1, count: 3 },
            typing: Some(vec!["alice".to_owned()]),
            read: Some([("bob".to_owned(), Cursor { epoch: 1, seq: 2 })].into()),
            people: Some(Arc::new(People {
                status: ChatStatus::Started,
                participants: Vec::new(),
            })),
        };
        let mut text = BytesMut::new();
        pulse_text(&pulse, &mut text);
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert_eq!(
            text,
            "event: typing\ndata: {\"typing\":[\"alice\"]}\n\n\
             event: read\ndata: {\"read\":{\"bob\":\"1-2\"}}\n\n\
             event: presence\ndata: {\"status\":\"started\",\"participants\":[]}\n\n"
        );
    }

    #[test]
    fn what_is_not_shown_is_passed_by_an_id_alone() {
        assert_eq!(text(vec![], 9), "id: 1-9\n\n");
        let text = text(vec![stored(8, Body::Text("a".to_owned()))], 9);
        assert!(text.starts_with("id: 1-8\ndata: ") && text.ends_with("\n\nid: 1-9\n\n"));
    }

    #[test]
    fn a_gap_goes_before_what_takes_the_place_of_what_was_withdrawn() {
        let gap = Some(Cursor { epoch: 1, seq: 7 });
        let said = vec![stored(8, Body::Text("a".to_owned()))];
        let text = shown(said, 8, gap);
        let first = "id: 1-7\nevent: gap\ndata: {\"after\":\"1-7\"}\n\nid: 1-8\ndata: {";
        assert!(text.starts_with(first), "{text}");
        assert_eq!(
            shown(vec![], 7, gap),
            "id: 1-7\nevent: gap\ndata: {\"after\":\"1-7\"}\n\nid: 1-7\n\n"
        );
    }
}
