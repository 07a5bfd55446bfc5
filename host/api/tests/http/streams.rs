//! Messages as they come: server-sent events.

use std::sync::Arc;

use chat::{Code, People, Person, Pulse, PulseAt, Refusal, Request};
use model::{ChatStatus, Cursor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bounds::hasty;
use crate::support::{Edge, PATIENCE, TOKEN, edge, edge_with};

/// A client that follows.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    /// Follows the chat; `more` are lines of the head with their ends.
    async fn open(edge: &Edge, query: &str, more: &str) -> Self {
        let mut socket = TcpStream::connect(edge.address).await.unwrap();
        let head = format!("GET /v1/chats/{TOKEN}/events{query} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// Reads until `part` is there; everything since the last time.
    async fn until(&mut self, part: &str) -> String {
        let reading = async {
            while !self.text.contains(part) {
                let mut bytes = [0; 4096];
                let count = self.socket.read(&mut bytes).await.unwrap();
                assert!(count > 0, "the stream ended after {:?}", self.text);
                self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            }
        };
        runtime::timeout(PATIENCE, reading).await.expect("it comes");
        let end = self.text.find(part).unwrap() + part.len();
        self.text.drain(..end).collect()
    }

    /// Reads to the end.
    async fn end(mut self) -> String {
        let mut rest = self.text.into_bytes();
        let reading = self.socket.read_to_end(&mut rest);
        runtime::timeout(PATIENCE, reading).await.expect("it ends").unwrap();
        String::from_utf8(rest).unwrap()
    }
}

/// What was read of the chat, beside the first look.
fn reads(edge: &Edge) -> Vec<chat::Read> {
    let asked = edge.pretender.asked().into_iter();
    asked
        .filter_map(
            |(request, _)| if let Request::Read(read) = request { Some(read) } else { None },
        )
        .collect()
}

#[tokio::test]
async fn a_stream_begins_with_what_is_there_and_goes_on_with_what_comes() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "?as=bob", "").await;
    let head = stream.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
    let first = stream.until("\"stamps\":[]}\n\n").await;
    assert!(first.contains("retry: 1000\n\n"), "{first}");
    assert!(first.contains("id: 1-1\ndata: {\"id\":\"0101") && first.contains("hello"), "{first}");
    for text in ["alpha", "beta"] {
        edge.pretender.say(text);
        let more = stream.until("\"stamps\":[]}\n\n").await;
        assert!(more.contains(&format!("\"text\":\"{text}\"")), "{more}");
    }
    let reads = reads(&edge);
    assert!(reads.iter().all(|read| read.reader.as_deref() == Some("bob")));
    assert_eq!((reads[0].after, reads[0].wait_ms), (None, 0));
    assert_eq!(reads[1].after.map(|after| after.seq), Some(1));
    assert!(reads[1].wait_ms > 0);
}

#[tokio::test]
async fn whoever_comes_back_goes_on_after_the_last_id() {
    let edge = edge().await;
    for text in ["alpha", "beta"] {
        edge.pretender.say(text);
    }
    for (query, more) in [("?after=1-2", ""), ("?after=1-1", "last-event-id: 1-2\r\n")] {
        let mut stream = Stream::open(&edge, query, more).await;
        stream.until("\r\n\r\n").await;
        let events = stream.until("\"stamps\":[]}\n\n").await;
        assert!(events.contains("beta") && !events.contains("alpha"), "{events}");
    }
}

#[tokio::test]
async fn what_is_wrong_at_the_beginning_is_an_answer_like_any_other() {
    let edge = edge().await;
    for (query, more, detail) in [
        ("?after=x", "", "after"),
        ("", "last-event-id: x\r\n", "Last-Event-ID"),
        ("?limit=5", "", "limit"),
        ("?as=%ff", "", "as"),
    ] {
        let head = format!("GET /v1/chats/{TOKEN}/events{query} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
        let answer = edge.raw(head).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid-request"));
        assert!(answer.detail().contains(detail), "{}", answer.detail());
    }
    edge.pretender.refuse_next(Refusal::new(Code::UnknownChat, "no chat has this token"));
    let answer = edge.get(&format!("/v1/chats/{TOKEN}/events")).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "unknown-chat"));
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_says_why_and_ends() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "", "").await;
    stream.until("\"stamps\":[]}\n\n").await;
    edge.pretender.refuse_next(Refusal::new(Code::UnknownChat, "it was forgotten"));
    // The question that waits already is answered; the next one is refused.
    edge.pretender.say("alpha");
    stream.until("\"stamps\":[]}\n\n").await;
    let rest = stream.until("\r\n0\r\n\r\n").await;
    assert!(
        rest.contains("event: problem\ndata: {\"type\":\"urn:carillon:problem:unknown-chat\""),
        "{rest}"
    );
}

#[tokio::test]
async fn a_stream_outlives_a_node_that_does_not_lead_for_a_moment() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "", "").await;
    stream.until("\"stamps\":[]}\n\n").await;
    for _ in 0..2 {
        edge.pretender.refuse_next(Refusal::new(Code::NotReady, "nobody leads this chat"));
    }
    edge.pretender.say("alpha");
    stream.until("alpha").await;
    edge.pretender.say("beta");
    stream.until("beta").await;
}

#[tokio::test]
async fn a_node_that_stops_takes_its_leave() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "", "").await;
    stream.until("\"stamps\":[]}\n\n").await;
    let drained = edge.serving.drain(PATIENCE);
    let (drained, rest) = tokio::join!(drained, stream.end());
    assert_eq!(drained, api::Drained::Done);
    assert!(rest.contains("event: drain\ndata: {}\n\n"), "{rest}");
}

#[tokio::test]
async fn nobody_reads_on_for_a_client_that_is_gone() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "", "").await;
    stream.until("\"stamps\":[]}\n\n").await;
    drop(stream);
    let waiting = async {
        while edge.pretender.waiting() > 0 {
            tokio::task::yield_now().await;
        }
    };
    runtime::timeout(PATIENCE, waiting).await.expect("nobody waits any more");
}

#[tokio::test]
async fn a_stream_that_is_never_read_ends_and_is_counted_as_slow() {
    let edge = edge_with(hasty()).await;
    let series = "carillon_streams_ended_total{sort=\"sse\",why=\"slow\"}";
    let before = edge.counted(series).await;
    // More than the buffers of two sockets hold.
    edge.pretender.answer_with_pages_of(400);
    let _never_read = Stream::open(&edge, "", "").await;
    edge.counts_more(series, before).await;
    assert_eq!(edge.pretender.waiting(), 0);
    assert_eq!(edge.serving.drain(PATIENCE).await, api::Drained::Done);
}

/// Everything that is told and not written.
pub(crate) fn pulse(count: u64) -> Pulse {
    Pulse {
        at: PulseAt { epoch: 1, count },
        typing: Some(vec!["alice".to_owned()]),
        read: Some([("alice".to_owned(), Cursor { epoch: 1, seq: 1 })].into()),
        people: Some(Arc::new(People {
            status: ChatStatus::Started,
            participants: vec![Person {
                id: "alice".to_owned(),
                role: "guest".to_owned(),
                status: "unavailable".to_owned(),
                heard_ms: 7,
                ordinal: 1,
            }],
        })),
    }
}

#[tokio::test]
async fn what_is_not_written_comes_by_name_without_an_id() {
    let edge = edge().await;
    let mut stream = Stream::open(&edge, "?as=bob", "").await;
    stream.until("\"stamps\":[]}\n\n").await;
    edge.pretender.tell(pulse(1));
    let told = stream.until("\"ordinal\":1}]}\n\n").await;
    for event in [
        "event: typing\ndata: {\"typing\":[\"alice\"]}\n\n",
        "event: read\ndata: {\"read\":{\"alice\":\"1-1\"}}\n\n",
        "event: presence\ndata: {\"status\":\"started\",\"participants\":[{\"id\":\"alice\",\"role\":\"guest\",\
         \"status\":\"unavailable\",\"heard_ms\":7,\"ordinal\":1}]}\n\n",
    ] {
        assert!(told.contains(event), "{told}");
    }
    assert!(!told.contains("id: "), "it moves no cursor: {told}");
    edge.pretender.say("alpha");
    let more = stream.until("\"stamps\":[]}\n\n").await;
    assert!(more.contains("id: 1-2\n") && !more.contains("event: "), "told once: {more}");
    let last = reads(&edge).pop().unwrap();
    assert_eq!(last.pulse, Some(PulseAt { epoch: 1, count: 1 }));
}

#[tokio::test]
async fn a_stream_says_that_what_was_seen_was_withdrawn_before_it_goes_on() {
    let edge = edge().await;
    for (query, more) in [("?after=0-5", ""), ("", "last-event-id: 0-5\r\n")] {
        let mut stream = Stream::open(&edge, query, more).await;
        let first = stream.until("\"stamps\":[]}\n\n").await;
        let gap = "id: 0-0\nevent: gap\ndata: {\"after\":\"0-0\"}\n\nid: 1-1\ndata: {";
        assert!(first.contains(gap), "{first}");
        edge.pretender.say("alpha");
        let more = stream.until("alpha").await;
        assert!(!more.contains("gap"), "{more}");
    }
}

/// Who is there is what the chat shows; a stream says what changes.
#[tokio::test]
async fn a_stream_begins_with_who_types_and_not_with_who_is_there() {
    let edge = edge().await;
    edge.pretender.tell(Pulse { read: Some([].into()), ..pulse(1) });
    let mut stream = Stream::open(&edge, "", "").await;
    let first = stream.until("event: typing\ndata: {\"typing\":[\"alice\"]}\n\n").await;
    assert!(!first.contains("event: presence") && !first.contains("event: read"), "{first}");
    edge.pretender.say("alpha");
    let more = stream.until("\"stamps\":[]}\n\n").await;
    assert!(!more.contains("event: "), "{more}");
}
