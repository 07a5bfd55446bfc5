//! Who is let in where a node wants tokens, and that everybody else learns nothing.

use std::time::Duration;

use api::auth::add_to_key_set;
use api::{Auth, JwtConfig, KeySetError, openapi};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chat::Request;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use crate::support::{Answer, Edge, PATIENCE, SERVICE, TOKEN, edge, request};
use crate::tokens::{Guarded, OTHER, Signer, claims, message, now_s};

/// Where a collection is.
const COLLECTION: &str = "/v1/archive/{collection}";

/// What a refusal looks like to whoever gets it, but for the name of the request.
fn shape(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut problem = answer.json();
    problem["request_id"] = Value::Null;
    (answer.status, answer.names(), problem)
}

async fn show(edge: &Edge, token: &str) -> Answer {
    with_headers(edge, &format!("authorization: Bearer {token}\r\n")).await
}

async fn with_headers(edge: &Edge, headers: &str) -> Answer {
    edge.raw(format!("GET /v1/chats/{TOKEN} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await
}

/// A well-formed request to an endpoint of the document, about `chat`, with `headers`.
async fn ask(edge: &Edge, method: &str, path: &str, chat: &str, headers: &str) -> Answer {
    let (path, body) = filled(method, path, chat);
    let method = method.to_uppercase();
    let headers = format!("idempotency-key: k\r\n{headers}");
    match body {
        None => edge.raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await,
        Some(body) => edge.raw(request(&method, &path, &headers, body)).await,
    }
}

/// A path of the document with everything filled in, and the body of a request to it.
fn filled(method: &str, path: &str, chat: &str) -> (String, Option<&'static str>) {
    let archive = path.starts_with("/v1/archive/");
    let mut filled = path.to_owned();
    for (name, value) in [
        ("{token}", chat),
        ("/messages/{id}", "/messages/01010101010101010101010101010101"),
        ("{id}", "alice"),
        ("{file}", "chat.js"),
        ("{name}", SERVICE),
        ("{collection}", "attachments"),
        ("{key}", &format!("{chat}/k")),
    ] {
        filled = filled.replace(name, value);
    }
    match method {
        "get" if path == COLLECTION => filled.push_str(&format!("?prefix={chat}")),
        "post" if archive => filled.push_str("?action=start"),
        _ => {}
    }
    let body = match method {
        "get" | "delete" => None,
        "post" if archive => None,
        "put" if archive => Some(r#"{"versioning": false}"#),
        _ if path.ends_with("/messages") => Some(r#"{"text": "hi"}"#),
        _ if path.ends_with("/read") => Some(r#"{"upto": "1-1"}"#),
        _ => Some("{}"),
    };
    (filled, body)
}

/// Every endpoint that the document names: method, path, and the scope it takes.
fn endpoints() -> Vec<(String, String, Option<String>)> {
    let document: Value = serde_json::from_slice(&openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let endpoints = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(|(method, operation)| {
            let scope = operation["security"][0]["token"][0].as_str().map(str::to_owned);
            (method.clone(), path.clone(), scope)
        })
    });
    endpoints.collect()
}

#[tokio::test]
async fn every_endpoint_wants_its_scope_and_its_chat_and_the_public_ones_are_these() {
    let guarded = Guarded::start().await;
    let (edge, ed) = (&guarded.edge, &guarded.ed);
    let bearer = |change: Value| format!("authorization: Bearer {}\r\n", ed.token(change));
    let mut public = Vec::new();
    edge.shelf.keep(&format!("{TOKEN}/k"), &"data".into());
    // An answer to HEAD has no body to compare: who may look is told apart below.
    for (method, path, scope) in endpoints().into_iter().filter(|(method, ..)| method != "head") {
        let name = format!("{method} {path}");
        let Some(scope) = scope else {
            assert_ne!(ask(edge, &method, &path, TOKEN, "").await.status, 401, "{name}");
            public.push(path);
            continue;
        };
        let refused = ask(edge, &method, &path, TOKEN, "").await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthenticated"), "{name}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"), "{name}");
        let others: Vec<&str> =
            ["send", "read", "admin", "service"].into_iter().filter(|one| *one != scope).collect();
        let wrong_scope = bearer(json!({"scope": others.join(" "), "chats": "*"}));
        let no_scope = ask(edge, &method, &path, TOKEN, &wrong_scope).await;
        assert_eq!((no_scope.status, no_scope.code().as_str()), (403, "forbidden"), "{name}");
        let all = path == "/v1/chats" || (path == COLLECTION && method == "put");
        if all || path.contains("{token}") || path.starts_with(COLLECTION) {
            let wrong_chat = bearer(json!({"scope": scope, "chats": [OTHER]}));
            let no_chat = ask(edge, &method, &path, TOKEN, &wrong_chat).await;
            assert_eq!(shape(&no_chat), shape(&no_scope), "{name}");
        }
        let nothing = edge.pretender.asked().is_empty() && edge.shelf.asked().is_empty();
        assert!(nothing, "{name}: it was asked all the same");
        let chats = if all { json!("*") } else { json!([TOKEN]) };
        let good = bearer(json!({"scope": scope, "chats": chats}));
        let answer = ask(edge, &method, &path, TOKEN, &good).await;
        assert!((200..300).contains(&answer.status), "{name}: {answer:?}");
        edge.pretender.forget();
        edge.shelf.forget();
    }
    public.sort();
    public.dedup();
    // Twilio shows a signature instead of a token, and a client says who asks over the socket.
    let special = ["/v1/twilio/{path}", "/v1/ws"];
    let expected =
        [["/", "/healthz", "/openapi.json", "/page/{file}", "/readyz"].as_slice(), &special];
    let expected = expected.concat();
    assert_eq!(public, expected, "whoever adds one says here that anybody may ask it");
}

#[tokio::test]
async fn no_forged_stale_or_foreign_token_gets_in_and_none_is_told_why() {
    let guarded = Guarded::start().await;
    let (ed, ec) = (&guarded.ed, &guarded.ec);
    let none = json!({"alg": "none", "kid": ed.key.kid()});
    let good = ed.token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let public = ed.key.public();
    let public = URL_SAFE_NO_PAD.decode(public["x"].as_str().unwrap()).unwrap();
    // The public key is public: as a secret, it would let everybody in.
    let confused = |secret: &[u8]| {
        let header = json!({"alg": "HS256", "kid": ed.key.kid()});
        let message = message(&header, &claims(json!({})));
        let secret = EncodingKey::from_secret(secret);
        let signature = crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let with = |name: &str, value: Value| {
        let mut header = ed.header();
        header[name] = value;
        ed.sign(&header, &claims(json!({})))
    };
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[10] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    let mallory = message(&ed.header(), &claims(json!({"sub": "mallory"})));
    let hour = 3600;
    for (what, token) in [
        ("no algorithm", format!("{}.", message(&none, &claims(json!({}))))),
        ("no algorithm, signed", format!("{}.{signature}", message(&none, &claims(json!({}))))),
        ("no signature", format!("{signed}.")),
        ("the public key as a secret", confused(&public)),
        ("the public key's text as a secret", confused(ed.key.public().to_string().as_bytes())),
        ("another algorithm", with("alg", json!("ES256"))),
        ("another case", with("alg", json!("eddsa"))),
        ("the name of another key", with("kid", json!(ec.key.kid()))),
        ("an unknown key", with("kid", json!("nobody"))),
        ("a path for a key", with("kid", json!("../../etc/passwd"))),
        ("no key", with("kid", Value::Null)),
        ("a key of its own", with("jwk", ed.key.public())),
        ("a place for its key", with("jku", json!("http://127.0.0.1:1/jwks.json"))),
        ("a demand", with("crit", json!(["exp"]))),
        ("another type", with("typ", json!("secevent+jwt"))),
        ("a key that nobody knows", Signer::ed().token(json!({}))),
        ("a changed signature", format!("{signed}.{flipped}")),
        ("changed claims", format!("{mallory}.{signature}")),
        ("ended", ed.token(json!({"exp": now_s() - 31}))),
        ("not begun", ed.token(json!({"nbf": now_s() + 40}))),
        ("from the future", ed.token(json!({"iat": now_s() + 40}))),
        ("too long a life", ed.token(json!({"exp": now_s() + hour + 40}))),
        ("too long a life from its issue", ed.token(json!({"iat": now_s() - hour}))),
        ("no end", ed.token(json!({"exp": null}))),
        ("another audience", ed.token(json!({"aud": "other"}))),
        ("another issuer", ed.token(json!({"iss": "them"}))),
        ("no issuer", ed.token(json!({"iss": null}))),
        ("nobody", ed.token(json!({"sub": null}))),
        ("too large", ed.token(json!({"more": "x".repeat(9000)}))),
        ("too many chats", ed.token(json!({"chats": vec![OTHER; 129]}))),
        ("four parts", format!("{good}.{signature}")),
        ("nothing", String::new()),
        ("no token", "hello".to_owned()),
    ] {
        let refused = show(&guarded.edge, &token).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthenticated"), "{what}");
        let plain = with_headers(&guarded.edge, "").await;
        assert_eq!(shape(&refused), shape(&plain), "{what}");
    }
    assert!(guarded.edge.pretender.asked().is_empty());
    for signer in [ed, ec] {
        assert_eq!(show(&guarded.edge, &signer.token(json!({}))).await.status, 200);
    }
}

#[tokio::test]
async fn a_token_comes_in_one_header_and_in_no_other_way() {
    let guarded = Guarded::start().await;
    let good = guarded.ed.token(json!({}));
    let header = |scheme: &str| format!("authorization: {scheme} {good}\r\n");
    for headers in [
        format!("{}{}", header("Bearer"), header("Bearer")),
        format!("authorization: Basic eA==\r\n{}", header("Bearer")),
        header("Basic"),
        header("Bearer "),
        format!("authorization: {good}\r\n"),
        "authorization: Bearer\r\n".to_owned(),
        format!("cookie: token={good}\r\n"),
    ] {
        assert_eq!(with_headers(&guarded.edge, &headers).await.status, 401, "{headers}");
    }
    let path = format!("/v1/chats/{TOKEN}?access_token={good}");
    assert_eq!(guarded.edge.get(&path).await.status, 401);
    assert!(guarded.edge.pretender.asked().is_empty());
    assert_eq!(with_headers(&guarded.edge, &header("bearer")).await.status, 200);
}

#[tokio::test]
async fn a_chat_that_is_not_ones_own_looks_the_same_whether_it_exists_or_not() {
    let guarded = Guarded::start().await;
    let (edge, ed) = (&guarded.edge, &guarded.ed);
    let token = ed.token(json!({}));
    let get = async |path: &str| {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
        edge.raw(head).await
    };
    let exists = get(&format!("/v1/chats/{OTHER}")).await;
    // The chats are not asked, so they cannot give away what there is: not in words, not in time.
    edge.pretender
        .refuse_next(chat::Refusal::new(chat::Code::UnknownChat, "no chat has this token"));
    let does_not = get(&format!("/v1/chats/{OTHER}")).await;
    let cannot = get("/v1/chats/nothing").await;
    assert_eq!(exists.status, 403);
    assert_eq!(shape(&exists), shape(&does_not));
    assert_eq!(shape(&exists), shape(&cannot));
    assert!(edge.pretender.asked().is_empty());
    // With a grant for it, what is not there is not there.
    assert_eq!(get(&format!("/v1/chats/{TOKEN}")).await.code(), "unknown-chat");
    let all = ed.token(json!({"chats": "*"}));
    let head =
        format!("GET /v1/chats/nothing HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {all}\r\n\r\n");
    assert_eq!(edge.raw(head).await.code(), "unknown-chat");
}

/// Places to wait are shared out by that.
#[tokio::test]
async fn who_asks_is_who_the_token_names_over_however_many_connections() {
    let guarded = Guarded::start().await;
    let (edge, ed) = (&guarded.edge, &guarded.ed);
    let caller = async |who: &str| {
        let bearer = ed.token(json!({"sub": who}));
        let path = format!("/v1/chats/{TOKEN}/messages");
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {bearer}\r\n\r\n");
        assert_eq!(edge.raw(head).await.status, 200);
        edge.pretender.last().1.caller
    };
    let (alice, again, bob) = (caller("alice").await, caller("alice").await, caller("bob").await);
    assert!(alice == again && alice != bob && alice != 0 && bob != 0, "{alice} {again} {bob}");
}

#[tokio::test]
async fn the_token_says_who_sends_reads_and_joins() {
    let guarded = Guarded::start().await;
    let (edge, ed) = (&guarded.edge, &guarded.ed);
    let bearer = |change: Value| format!("authorization: Bearer {}\r\n", ed.token(change));
    let alice = bearer(json!({}));
    let messages = format!("/v1/chats/{TOKEN}/messages");
    let keyed = format!("idempotency-key: k\r\n{alice}");
    let sent = edge.raw(request("POST", &messages, &keyed, r#"{"text": "hi"}"#)).await;
    assert_eq!((sent.status, &sent.json()["message"]["sender"]), (201, &json!("alice")));
    for sender in ["alice", "bob", "system"] {
        let body = json!({"sender": sender, "text": "hi"}).to_string();
        let refused = edge.raw(request("POST", &messages, &keyed, body)).await;
        assert_eq!((refused.status, refused.detail().contains("sender")), (400, true), "{sender}");
    }

    let get =
        async |path: &str| edge.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{alice}\r\n")).await;
    assert_eq!(get(&messages).await.status, 200);
    let Request::Read(read) = edge.pretender.last().0 else { panic!("no read") };
    assert_eq!(read.reader.as_deref(), Some("alice"));
    assert_eq!(get(&format!("{messages}?as=bob")).await.status, 400);

    let message = format!("{messages}/{}", "01".repeat(16));
    for (who, any) in [(&alice, false), (&bearer(json!({"scope": "send admin"})), true)] {
        assert_eq!(edge.raw(request("DELETE", &message, who, "{}")).await.status, 200);
        let Request::Redact(redact) = edge.pretender.last().0 else {
            panic!("nothing is taken back")
        };
        assert_eq!((redact.by.as_deref(), redact.any), (Some("alice"), any));
    }
    assert_eq!(
        edge.raw(request("DELETE", &message, &alice, r#"{"sender": "bob"}"#)).await.status,
        400
    );

    let end = format!("/v1/chats/{TOKEN}/end");
    assert_eq!(edge.raw(request("POST", &end, &alice, "{}")).await.status, 200);
    assert!(
        matches!(edge.pretender.last().0, Request::End { sender: Some(who), .. } if who == "alice")
    );
    assert_eq!(edge.raw(request("POST", &end, &alice, r#"{"sender": "bob"}"#)).await.status, 400);

    let (own, other) = ["alice", "bob"].map(|id| format!("/v1/chats/{TOKEN}/members/{id}")).into();
    assert_eq!(edge.raw(request("PUT", &own, &alice, "{}")).await.status, 200);
    assert_eq!(edge.raw(request("PUT", &other, &alice, "{}")).await.status, 403);
    assert_eq!(edge.raw(request("DELETE", &other, &alice, "")).await.status, 403);
    let admin = bearer(json!({"scope": "send admin"}));
    assert_eq!(edge.raw(request("PUT", &other, &admin, "{}")).await.status, 200);
}

#[tokio::test]
async fn a_key_that_is_new_is_known_and_one_that_is_gone_is_not() {
    let guarded = Guarded::start().await;
    let (edge, old, new) = (&guarded.edge, &guarded.ed, Signer::ed());
    let token = old.token(json!({}));
    assert_eq!(show(edge, &token).await.status, 200);
    assert_eq!(show(edge, &token).await.status, 200, "from memory");

    // The file breaks, and goes: nothing changes.
    for step in [Some("{"), None] {
        match step {
            Some(text) => std::fs::write(guarded.key_set(), text).unwrap(),
            None => std::fs::remove_file(guarded.key_set()).unwrap(),
        }
        // An unknown key makes the node look at the file again.
        look_again(edge, &new).await;
        assert_eq!(show(edge, &token).await.status, 200, "{step:?}");
    }

    std::fs::write(guarded.key_set(), add_to_key_set(None, &new.key).unwrap()).unwrap();
    let begun = runtime::now();
    while show(edge, &new.token(json!({}))).await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the new key is never known");
        runtime::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(show(edge, &token).await.status, 401, "what it signed is not remembered");
    assert_eq!(show(edge, &old.token(json!({"sub": "b"}))).await.status, 401);

    std::fs::write(guarded.key_set(), r#"{"keys": []}"#).unwrap();
    let begun = runtime::now();
    while show(edge, &new.token(json!({}))).await.status != 401 {
        assert!(begun.elapsed() < PATIENCE, "no key is still a key");
        // Nothing makes the node look at once: it does so by itself.
        runtime::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the node has looked at its keys once more.
async fn look_again(edge: &Edge, unknown: &Signer) {
    let failed = async || {
        let path = "carillon_auth_key_set_reads_total{result=\"failed\"} ";
        let text = api_metrics(edge).await;
        let line = text.lines().find_map(|line| line.strip_prefix(path)).map(str::to_owned);
        line.and_then(|count| count.parse::<u64>().ok()).unwrap_or_default()
    };
    let (before, begun) = (failed().await, runtime::now());
    while failed().await == before {
        assert!(begun.elapsed() < PATIENCE, "the file is never looked at");
        assert_eq!(show(edge, &unknown.token(json!({}))).await.status, 401);
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

/// What is counted, as an edge without tokens shows it: the counters are the process's.
async fn api_metrics(_edge: &Edge) -> String {
    let open = edge().await;
    String::from_utf8(open.get("/metrics").await.body).unwrap()
}

#[tokio::test]
async fn refusals_are_counted_by_reason_and_no_token_is_ever_shown() {
    let guarded = Guarded::start().await;
    let planted = guarded.ed.token(json!({"sub": "planted-subject", "aud": "other"}));
    let refused = show(&guarded.edge, &planted).await;
    let told = format!("{refused:?}");
    let metrics = api_metrics(&guarded.edge).await;
    assert!(metrics.contains("carillon_auth_refusals_total{reason=\"audience\"}"), "{metrics}");
    for secret in [planted.as_str(), "planted-subject"] {
        assert!(!told.contains(secret) && !metrics.contains(secret), "{secret}");
    }
    assert!(!format!("{:?}", guarded.ed.key).contains(&planted));
}

#[tokio::test]
async fn a_key_set_that_cannot_be_used_is_said_so_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let config = || JwtConfig {
        key_set: path.clone(),
        audience: "carillon".to_owned(),
        issuer: String::new(),
    };
    assert!(matches!(Auth::jwt(&config()), Err(KeySetError::File { .. })));
    std::fs::write(&path, "{\"keys\": []}").unwrap();
    assert!(matches!(Auth::jwt(&config()), Err(KeySetError::Empty)));
    std::fs::write(&path, "keys").unwrap();
    assert!(matches!(Auth::jwt(&config()), Err(KeySetError::NotASet(_))));
    std::fs::write(&path, add_to_key_set(None, &Signer::ed().key).unwrap()).unwrap();
    assert_eq!(Auth::look(&path).unwrap(), 1);
}

#[tokio::test]
async fn where_authentication_is_open_a_token_is_passed_over() {
    let edge = edge().await;
    assert_eq!(show(&edge, "whatever").await.status, 200);
}

/// What is of no chat takes a token for all of them, and a chat's objects one for the chat; whoever has not
/// learns nothing of what there is.
#[tokio::test]
async fn an_object_is_for_those_who_have_its_chat() {
    let guarded = Guarded::start().await;
    let (edge, ed) = (&guarded.edge, &guarded.ed);
    let bearer = |chats: Value| {
        let token = ed.token(json!({"scope": "send read", "chats": chats}));
        format!("authorization: Bearer {token}\r\n")
    };
    let (one, all) = (bearer(json!([TOKEN])), bearer(json!("*")));
    let of_chat = format!("{TOKEN}/k");
    edge.shelf.keep(&of_chat, &"data".into());
    let status = async |method: &str, path: &str, headers: &str| {
        let lines = format!("{headers}connection: close\r\n");
        let request = format!("{method} /v1/archive/{path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n");
        status_of(edge, &request).await
    };
    for method in ["GET", "HEAD", "DELETE"] {
        for collection in ["attachments", "chats", "recordings", "%61ttachments"] {
            let path = format!("{collection}/{of_chat}");
            assert_eq!(status(method, &path, "").await, 401, "{method} {path}");
            assert_eq!(status(method, &path, &one).await, 200, "{method} {path}");
            assert_eq!(status(method, &path, &all).await, 200, "{method} {path}");
        }
        edge.shelf.forget();
        for path in [
            format!("attachments/{OTHER}/k"),
            format!("attachments/x/{TOKEN}"),
            format!("attachments/{TOKEN}x/k"),
            format!("1001/{of_chat}"),
            format!("attachments/a/../{of_chat}"),
            "attachments/%ff".to_owned(),
        ] {
            assert_eq!(status(method, &path, &one).await, 403, "{method} {path}");
        }
        assert_eq!(edge.shelf.asked(), []);
    }
    for (query, headers, expected) in [
        (format!("?prefix={TOKEN}"), &one, 200),
        (format!("?prefix={TOKEN}/a"), &one, 200),
        (format!("?prefix={OTHER}"), &one, 403),
        (format!("?prefix={TOKEN}&prefix={OTHER}"), &one, 403),
        (format!("?prefix={OTHER}&prefix={TOKEN}"), &one, 403),
        (format!("?prefix={}", &TOKEN[..31]), &one, 403),
        (String::new(), &one, 403),
        (String::new(), &all, 200),
    ] {
        let path = format!("attachments{query}");
        assert_eq!(status("GET", &path, headers).await, expected, "{path}");
    }
    assert_eq!(status("GET", &format!("1001?prefix={TOKEN}"), &one).await, 403);
}

/// The number of an answer whose body nobody waits for.
async fn status_of(edge: &Edge, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = runtime::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
}
