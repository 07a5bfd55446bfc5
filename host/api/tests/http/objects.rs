//! The archive's surface: what goes in and what comes out, of somebody who keeps objects in memory.

use archive::{Code, Delete, List, Md5, Name, Versioning};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::shelf::{Asked, VERSION};
use crate::support::{Answer, Edge, TOKEN, edge, request};

pub(crate) const KEY: &str = "/v1/archive/1001/aaa/bbb/ccc";

pub(crate) fn name() -> Name {
    Name { collection: "1001".parse().unwrap(), key: "aaa/bbb/ccc".parse().unwrap() }
}

/// So many bytes, no two neighbours alike.
pub(crate) fn data(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A request with any body, of any headers.
pub(crate) async fn ask(
    edge: &Edge,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    edge.raw([head.as_bytes(), body].concat()).await
}

/// A request that brings nothing.
pub(crate) async fn bare(edge: &Edge, method: &str, path: &str, headers: &str) -> Answer {
    edge.raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await
}

#[tokio::test]
async fn a_collection_is_made_once_and_the_same_again() {
    let edge = edge().await;
    let make = async |body: &str| edge.with("PUT", "/v1/archive/1001", body).await;
    let made = make(r#"{"versioning": true}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["versioning"], true);
    let collection = name().collection;
    assert_eq!(edge.shelf.last(), Asked::Create(collection.clone(), Versioning::Versioned));
    edge.shelf.replay_from_now();
    assert_eq!(make(r#"{"versioning": false}"#).await.status, 200);
    assert_eq!(edge.shelf.last(), Asked::Create(collection, Versioning::Unversioned));
    edge.shelf.refuse_next(Code::CollectionExists);
    let refused = make(r#"{"versioning": false}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "collection-exists"));
    edge.shelf.forget();
    for body in ["{}", r#"{"versioning": 1}"#, r#"{"versioning": true, "x": 1}"#, "[true]", ""] {
        assert_eq!(make(body).await.code(), "invalid-request", "{body}");
    }
    let long = "c".repeat(65);
    for bad in [".a", "a%2Fb", "%ff", "a b", &long] {
        let path = format!("/v1/archive/{}", bad.replace(' ', "%20"));
        let refused = edge.with("PUT", &path, r#"{"versioning": true}"#).await;
        assert_eq!(refused.code(), "invalid-request", "{bad}");
    }
    assert_eq!(edge.shelf.asked(), []);
}

#[tokio::test]
async fn an_object_goes_in_and_comes_out_with_all_that_is_told_of_it() {
    let edge = edge().await;
    let data = data(200_000);
    let md5 = Md5::of(&data);
    let headers = format!(
        "content-md5: {}\r\ncarillon-meta-colour: blue\r\ncontent-type: image/png\r\nidempotency-key: k\r\n",
        STANDARD.encode(md5.0)
    );
    let stored = ask(&edge, "PUT", KEY, &headers, &data).await;
    assert_eq!(stored.status, 201, "{stored:?}");
    let body = stored.json();
    assert_eq!(body["version"], VERSION.to_string(), "as text: others' numbers are not so long");
    assert_eq!((body["size"].as_u64(), &body["md5"]), (Some(200_000), &md5.to_string().into()));
    assert_eq!(body["adler32"].as_str().map(str::len), Some(8));
    let Asked::Put(put) = edge.shelf.last() else { panic!("no put") };
    assert_eq!((put.name, put.size, put.md5), (name(), 200_000, Some(md5)));
    assert_eq!((put.repeat.as_deref(), put.part), (Some("k"), None));

    let read = edge.get(KEY).await;
    assert_eq!(read.status, 200);
    assert!(read.body == data);
    let etag = format!("\"{md5}\"");
    for (header, value) in [
        ("etag", etag.as_str()),
        ("content-length", "200000"),
        ("accept-ranges", "bytes"),
        ("carillon-version", "9007199254740993"),
        ("carillon-created-ms", "1700000000000"),
        ("carillon-meta-colour", "blue"),
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(read.header(header), Some(value), "{header}");
    }
    assert_eq!(read.header("content-md5"), Some(STANDARD.encode(md5.0).as_str()));
    // Looking tells the same, and reads nothing.
    edge.shelf.forget();
    let head = head(&edge, KEY).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ncontent-length: 200000\r\n"), "{head}");
    assert!(head.contains(&etag), "{head}");
    assert_eq!(edge.shelf.asked(), [Asked::Find(name(), None)]);
    let version = edge.get(&format!("{KEY}?version={VERSION}")).await;
    assert_eq!(version.status, 200);
    assert!(edge.shelf.asked().contains(&Asked::Find(name(), Some(VERSION))));
}

/// What comes as an answer that has no body.
async fn head(edge: &Edge, path: &str) -> String {
    use tokio::io::AsyncReadExt;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn no_bytes_are_an_object_too() {
    let edge = edge().await;
    assert_eq!(ask(&edge, "PUT", KEY, "", b"").await.status, 201);
    let read = edge.get(KEY).await;
    assert_eq!((read.status, read.body.len()), (200, 0));
    assert_eq!(read.header("etag"), Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
    assert_eq!(bare(&edge, "GET", KEY, "range: bytes=0-\r\n").await.status, 416);
}

#[tokio::test]
async fn a_range_is_given_alone() {
    let edge = edge().await;
    let data = data(5000);
    edge.shelf.keep("aaa/bbb/ccc", &data);
    let ranged = async |range: &str| bare(&edge, "GET", KEY, &format!("range: {range}\r\n")).await;
    for (range, from, until) in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-1999", 10, 2000),
        ("bytes=4000-", 4000, 5000),
        ("bytes=-7", 4993, 5000),
        ("bytes=4999-100000", 4999, 5000),
    ] {
        let answer = ranged(range).await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == data[from..until], "{range}");
        let said = format!("bytes {from}-{}/5000", until - 1);
        assert_eq!(answer.header("content-range"), Some(said.as_str()), "{range}");
        assert_eq!(answer.header("content-md5"), None, "that is of other bytes");
        let bytes = from as u64..until as u64;
        assert_eq!(edge.shelf.last(), Asked::Read(bytes), "no more is read than is given");
    }
    for (range, status) in [("bytes=5000-", 416), ("bytes=-0", 416)] {
        let answer = ranged(range).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "range-not-satisfiable"));
        assert_eq!(answer.header("content-range"), Some("bytes */5000"));
    }
    for range in ["bytes=5-4", "bytes=0-1,3-4", "lines=0-1", "x"] {
        let answer = ranged(range).await;
        assert_eq!((answer.status, answer.body.len()), (200, 5000), "{range}");
    }
    let etag = format!("\"{}\"", Md5::of(&data));
    for (tag, status) in [(etag.as_str(), 206), ("\"other\"", 200)] {
        let headers = format!("range: bytes=0-9\r\nif-range: {tag}\r\n");
        assert_eq!(bare(&edge, "GET", KEY, &headers).await.status, status, "{tag}");
    }
}

#[tokio::test]
async fn who_has_it_already_is_given_nothing() {
    let edge = edge().await;
    let data = data(5000);
    edge.shelf.keep("aaa/bbb/ccc", &data);
    let etag = format!("\"{}\"", Md5::of(&data));
    for (list, status) in
        [(etag.clone(), 304), (format!("\"x\", W/{etag}"), 304), ("\"x\"".to_owned(), 200)]
    {
        edge.shelf.forget();
        let answer = bare(&edge, "GET", KEY, &format!("if-none-match: {list}\r\n")).await;
        assert_eq!((answer.status, answer.header("etag")), (status, Some(etag.as_str())), "{list}");
        assert_eq!(edge.shelf.asked().len(), if status == 304 { 1 } else { 2 });
    }
}

#[tokio::test]
async fn an_archive_of_parts_has_a_tag_of_its_own() {
    let edge = edge().await;
    let data = data(5000);
    edge.shelf.keep("aaa/bbb/ccc", &data);
    edge.shelf.be_conjoined();
    let read = edge.get(KEY).await;
    let both = [Md5::of(&data[..2500]).0, Md5::of(&data[2500..]).0].concat();
    let etag = format!("\"{}-2\"", Md5::of(&both));
    assert_eq!(read.header("etag"), Some(etag.as_str()));
    assert_eq!(read.header("content-md5"), None);
    assert!(read.body == data);
}

#[tokio::test]
async fn parts_are_started_brought_finished_and_given_up() {
    let edge = edge().await;
    let started =
        bare(&edge, "POST", &format!("{KEY}?action=start"), "idempotency-key: s\r\n").await;
    assert_eq!(
        (started.status, started.json()["version"].as_str()),
        (200, Some("9007199254740993"))
    );
    assert_eq!(edge.shelf.last(), Asked::Start(name(), Some("s".to_owned())));
    let path = format!("{KEY}?conjoined={VERSION}&part=7");
    let part = ask(&edge, "PUT", &path, "", b"part").await;
    assert_eq!(part.status, 201, "{part:?}");
    let Asked::Put(put) = edge.shelf.last() else { panic!("no put") };
    assert_eq!(put.part, Some((VERSION, 7)));
    edge.shelf.replay_from_now();
    let again = ask(&edge, "PUT", &path, "", b"part").await;
    assert_eq!((again.status, again.header("idempotent-replay")), (200, Some("true")));
    assert_eq!(again.json(), part.json(), "the first answer");
    for (action, asked) in
        [("finish", Asked::Finish(name(), VERSION)), ("abort", Asked::Abort(name(), VERSION))]
    {
        let path = format!("{KEY}?action={action}&conjoined={VERSION}");
        let done = bare(&edge, "POST", &path, "").await;
        assert_eq!((done.status, done.json()["version"].as_str()), (200, Some("9007199254740993")));
        assert_eq!(edge.shelf.last(), asked);
    }
}

#[tokio::test]
async fn a_delete_tells_its_own_version() {
    let edge = edge().await;
    for (query, headers, version, repeat) in [
        (String::new(), "", None, None),
        (format!("?version={VERSION}"), "idempotency-key: d\r\n", Some(VERSION), Some("d")),
    ] {
        let deleted = bare(&edge, "DELETE", &format!("{KEY}{query}"), headers).await;
        assert_eq!(
            (deleted.status, &deleted.json()["version"]),
            (200, &VERSION.to_string().into())
        );
        let repeat = repeat.map(str::to_owned);
        assert_eq!(edge.shelf.last(), Asked::Delete(Delete { name: name(), version, repeat }));
    }
}

#[tokio::test]
async fn a_listing_is_asked_for_and_told() {
    let edge = edge().await;
    edge.shelf.keep("a", &data(5));
    let listed = edge.get("/v1/archive/1001").await;
    assert_eq!(listed.status, 200);
    let body = listed.json();
    assert_eq!(body["truncated"], true);
    assert_eq!(
        (&body["next_marker"], &body["next_version_marker"]),
        (&"next".into(), &VERSION.to_string().into())
    );
    let entry = &body["entries"][0];
    assert_eq!((&entry["key"], &entry["size"]), (&"a".into(), &5.into()));
    assert_eq!(
        (&entry["version"], &entry["meta"]),
        (&VERSION.to_string().into(), &serde_json::json!({}))
    );
    assert_eq!(entry["md5"], Md5::of(&data(5)).to_string());
    assert_eq!(entry["created_ms"], 1_700_000_000_000_u64);
    let list = List {
        collection: name().collection,
        prefix: String::new(),
        marker: None,
        limit: 1000,
        versions: false,
        version_marker: None,
    };
    assert_eq!(edge.shelf.last(), Asked::List(list.clone()));
    let query =
        format!("prefix=a%2Fb&marker=a%2Fb%20c&limit=7&versions=true&version_marker={VERSION}");
    assert_eq!(edge.get(&format!("/v1/archive/1001?{query}")).await.status, 200);
    let wanted = List {
        prefix: "a/b".to_owned(),
        marker: Some("a/b c".parse().unwrap()),
        limit: 7,
        versions: true,
        version_marker: Some(VERSION),
        ..list
    };
    assert_eq!(edge.shelf.last(), Asked::List(wanted));
    edge.shelf.forget();
    // No key begins so.
    let long = format!("prefix={}", "p".repeat(1025));
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=",
        "versions=1",
        "version_marker=x",
        "prefx=a",
        "marker=a/../b",
        "limit=1&limit=2",
        "prefix=%ff",
        "prefix=a%c3",
        long.as_str(),
    ] {
        let refused = edge.get(&format!("/v1/archive/1001?{bad}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"), "{bad}");
    }
    assert_eq!(edge.shelf.asked(), []);
}

#[tokio::test]
async fn an_object_of_a_chat_says_where_the_chat_is() {
    let edge = edge().await;
    edge.pretender.set_led_elsewhere("n3");
    let path = format!("/v1/archive/attachments/{TOKEN}/photo");
    let stored = ask(&edge, "PUT", &path, "", b"data").await;
    assert_eq!(stored.header("carillon-primary"), Some("n3"));
    let plain = ask(&edge, "PUT", KEY, "", b"data").await;
    assert_eq!(plain.header("carillon-primary"), None);
    let made = request("PUT", "/v1/archive/1001", "", r#"{"versioning": true}"#);
    assert_eq!(edge.raw(made).await.status, 201);
}
