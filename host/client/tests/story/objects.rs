//! Objects through nodes that fail in the middle.

use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Error, NewObject, Objects};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{Act, Node, hasty, hasty_at, key, problem};

const DATA: &str = "0123456789";

fn new(data: &[u8]) -> NewObject<'_> {
    NewObject { collection: "1001", key: "a b/c", data, md5: "md5==", meta: &[], part: None }
}

fn stored() -> Act {
    let body = r#"{"version": "7", "size": 10, "md5": "ff", "adler32": "0000000a"}"#;
    Act::Say(201, body.to_owned())
}

/// The head of an answer with an object, from `at` on, and as much of it as `until`.
fn given(at: usize, until: usize) -> String {
    let (status, length) = (if at == 0 { 200 } else { 206 }, DATA.len() - at);
    let data = &DATA[at..until];
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\ncarillon-version: 7\r\netag: \"ff\"\r\n\
         carillon-adler32: 0000000a\r\n\r\n{data}"
    )
}

#[tokio::test]
async fn a_put_goes_to_the_next_node_under_the_same_key() {
    let failures: [fn() -> Act; 2] = [|| Act::HangUp, || problem(503, "no-quorum", true)];
    for failure in failures {
        let (bad, good) = (Node::start(move |_| failure()).await, Node::start(|_| stored()).await);
        let client = hasty(&[&bad, &good]);
        let mut sent = Vec::new();
        let done =
            client.put_object(&new(DATA.as_bytes()), |bytes| sent.push(bytes)).await.unwrap();
        assert_eq!((done.version.as_str(), done.size), ("7", 10));
        let (first, second) = (bad.heard(), good.heard());
        assert_eq!(key(&first[0]), key(&second[0]));
        assert!(
            second[0].starts_with("PUT /v1/archive/1001/a%20b/c HTTP/1.1\r\n"),
            "{}",
            second[0]
        );
        assert!(second[0].contains("\r\ncontent-md5: md5==\r\n"), "{}", second[0]);
        assert!(second[0].ends_with(DATA));
        assert_eq!((sent.iter().filter(|bytes| **bytes == 0).count(), sent.last()), (2, Some(&10)));
    }
}

#[tokio::test]
async fn a_refusal_is_heard_before_everything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut some = [0; 1000];
        stream.read_exact(&mut some).await.unwrap();
        let body = r#"{"status": 404, "code": "unknown-collection", "detail": "d"}"#;
        let answer = format!("HTTP/1.1 404 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        // It reads no more, and does not close either.
        stream
    };
    let (data, mut gone) = (vec![7; 64 << 20], 0);
    let (client, new) = (hasty_at([url]), new(&data));
    let (_stream, refused) = tokio::join!(answering, client.put_object(&new, |bytes| gone = bytes));
    let refused = refused.unwrap_err();
    assert_eq!(refused.problem().map(|problem| problem.code.as_str()), Some("unknown-collection"));
    assert!(gone < 64 << 20, "{gone} bytes were sent to somebody who had said no");
}

#[tokio::test]
async fn a_read_goes_on_at_the_next_node_where_the_last_one_broke() {
    let bad = Node::start(|_| Act::Cut(given(0, 4))).await;
    let good = Node::start(|request| {
        let ranged = request.contains("\r\nrange: bytes=4-\r\n");
        if ranged { Act::Raw(given(4, 10)) } else { Act::HangUp }
    })
    .await;
    let client = hasty(&[&bad, &good]);
    let mut reading = client.read_object("1001", "k", None).await.unwrap();
    assert_eq!((reading.version(), reading.size(), reading.md5()), ("7", 10, Some("ff")));
    let mut data = Vec::new();
    while let Some(piece) = reading.next().await.unwrap() {
        data.extend_from_slice(&piece);
    }
    assert_eq!(data, DATA.as_bytes());
    let heard = good.heard();
    let asked = heard.last().unwrap();
    assert!(asked.starts_with("GET /v1/archive/1001/k?version=7 HTTP/1.1\r\n"), "{asked}");
}

#[tokio::test]
async fn what_somebody_has_already_is_not_read_again() {
    let node = Node::start(|request| match request.contains("range: bytes=6-") {
        true => Act::Raw(given(6, 10)),
        false => Act::Raw(given(0, 10)),
    })
    .await;
    let mut reading = hasty(&[&node]).read_object("1001", "k", None).await.unwrap();
    reading.skip(6);
    assert_eq!(reading.next().await.unwrap().as_deref(), Some(&b"6789"[..]));
    assert_eq!(reading.next().await.unwrap(), None);
}

#[tokio::test]
async fn other_bytes_than_before_are_no_rest_of_it() {
    let times = AtomicUsize::new(0);
    let node = Node::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Act::Cut(given(0, 4)),
        _ => Act::Raw(given(0, 10)),
    })
    .await;
    let mut reading = hasty(&[&node]).read_object("1001", "k", None).await.unwrap();
    assert_eq!(reading.next().await.unwrap().as_deref(), Some(&b"0123"[..]));
    let error = reading.next().await.unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn a_listing_is_asked_for_as_it_is_meant() {
    let node =
        Node::start(|_| Act::Say(200, r#"{"entries": [], "truncated": false}"#.to_owned())).await;
    let wanted = Objects {
        prefix: "a/b".to_owned(),
        marker: Some("a/b c".to_owned()),
        limit: Some(7),
        versions: true,
        version_marker: Some("9".to_owned()),
    };
    let page = hasty(&[&node]).objects("1001", &wanted).await.unwrap();
    assert!(page.entries.is_empty() && !page.truncated);
    let heard = node.heard();
    let path =
        "/v1/archive/1001?versions=true&prefix=a%2Fb&marker=a%2Fb%20c&version_marker=9&limit=7";
    assert!(heard[0].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{}", heard[0]);
}
