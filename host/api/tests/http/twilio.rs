//! Requests of Twilio: what is let in, what is refused before anybody is asked, and that a caller always hears
//! something.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{Auth, Config, Twilio, TwilioConfig};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chat::{Code, Refusal, Request, Telephone};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::support::{Answer, Edge, TOKEN, edge, edge_of};

const URL: &str = "https://chat.example.com";
const NEW: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "fedcba9876543210fedcba9876543210";
const FALLBACK: &str = "<Response><Say>later</Say></Response>";
const HELLO: &[u8] = b"<Response><Say>hello</Say></Response>";

/// An edge that Twilio may ask, during a change of its token.
async fn open_edge() -> Edge {
    edge_within(Duration::from_secs(8)).await
}

async fn edge_within(deadline: Duration) -> Edge {
    let folder = tempfile::tempdir().unwrap();
    let auth_tokens = folder.path().join("twilio");
    std::fs::write(&auth_tokens, format!("{NEW}\n{OLD}\n")).unwrap();
    let channels = [("voice", "voice"), ("sms", "texts"), ("status", "voice")];
    let channels = channels.map(|(channel, plugin)| (channel.to_owned(), plugin.to_owned()));
    let config = TwilioConfig {
        public_url: URL.to_owned(),
        auth_tokens,
        deadline,
        fallback: FALLBACK.to_owned(),
        channels: BTreeMap::from(channels),
    };
    let twilio = Twilio::open(config).unwrap();
    edge_of(Config::default(), Auth::open(), twilio).await
}

/// What Twilio would sign, written down once more: the address, then the fields by name and value.
fn sign(token: &str, address: &str, form: &[(&str, &str)]) -> String {
    let mut fields = form.to_vec();
    fields.sort_unstable();
    fields.dedup();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(address.as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

fn encoded(form: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        let bytes = text.bytes().map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        });
        bytes.collect()
    };
    let pairs = form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A form of Twilio, with this signature; `headers` are lines with their ends.
fn posted(target: &str, form: &[(&str, &str)], signature: &str, headers: &str) -> Vec<u8> {
    let body = encoded(form);
    format!(
        "POST {target} HTTP/1.1\r\nhost: 10.0.0.1:7081\r\nx-twilio-signature: {signature}\r\n{headers}\
         content-type: application/x-www-form-urlencoded; charset=UTF-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn voice() -> String {
    format!("/v1/twilio/voice?chat_token={TOKEN}")
}

const CALL: [(&str, &str); 3] = [("CallSid", "CA1"), ("From", "+49 170 1"), ("To", "+49 30 1")];

/// Posts a form to a path, signed with the newer token.
async fn post(edge: &Edge, target: &str, form: &[(&str, &str)]) -> Answer {
    let signature = sign(NEW, &format!("{URL}{target}"), form);
    edge.raw(posted(target, form, &signature, "")).await
}

/// What the chats were asked, as far as that was by Twilio.
fn telephones(edge: &Edge) -> Vec<Telephone> {
    let asked = edge.pretender.asked().into_iter();
    let telephone = |(request, _)| match request {
        Request::Twilio(telephone) => Some(*telephone),
        _ => None,
    };
    asked.filter_map(telephone).collect()
}

/// What the chats were asked last.
fn telephone(edge: &Edge) -> Telephone {
    telephones(edge).pop().expect("Twilio asked something")
}

fn texts(params: &[(String, String)]) -> Vec<(&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn a_signed_form_is_answered_with_xml_and_asked_about_its_chat() {
    let edge = open_edge().await;
    let target = format!("/v1/twilio/voice/menu/1?chat_token={TOKEN}&user_id=bob");
    let signature = sign(NEW, &format!("{URL}{target}"), &CALL);
    let repeat = "i-twilio-idempotency-token: r1\r\n";
    let answer = edge.raw(posted(&target, &CALL, &signature, repeat)).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/xml")));
    assert_eq!(answer.body, HELLO);
    let telephone = telephone(&edge);
    assert_eq!((telephone.token.to_string().as_str(), telephone.plugin.as_str()), (TOKEN, "voice"));
    let request = telephone.request;
    assert_eq!((request.channel.as_str(), request.path.as_str()), ("voice", "menu/1"));
    assert_eq!(request.sid, "CA1");
    assert_eq!((request.caller.as_str(), request.callee.as_str()), ("+49 170 1", "+49 30 1"));
    assert_eq!(request.idempotency.as_deref(), Some("r1"));
    let all = [CALL.as_slice(), &[("user_id", "bob")]].concat();
    assert_eq!(texts(&request.params), all);
}

#[tokio::test]
async fn a_query_is_signed_as_a_part_of_the_address() {
    let edge = open_edge().await;
    let target =
        format!("/v1/twilio/sms?chat_token={TOKEN}&MessageSid=SM1&Body=hi%20there&From=%2B49");
    let signature = sign(NEW, &format!("{URL}{target}"), &[]);
    let get = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: a\r\nx-twilio-signature: {signature}\r\n\r\n")
    };
    assert_eq!(edge.raw(get(&target)).await.body, HELLO);
    let Telephone { plugin, request, .. } = telephone(&edge);
    assert_eq!((plugin.as_str(), request.sid.as_str()), ("texts", "SM1"));
    assert_eq!(texts(&request.params)[1], ("Body", "hi there"));
    edge.pretender.forget();
    let other = edge.raw(get(&target.replace("hi%20there", "hi%20ther"))).await;
    assert_eq!((other.status, other.code().as_str()), (403, "forbidden"));
    // The same text, written otherwise, is not what was signed.
    let other = edge.raw(get(&target.replace("%20", "+"))).await;
    assert_eq!(other.status, 403);
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn json_is_signed_by_its_hash() {
    let edge = open_edge().await;
    let body = r#"{"CallSid": "CA1", "Digits": 7}"#;
    let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
    let target = format!("/v1/twilio/status?chat_token={TOKEN}&bodySHA256={hash}");
    let signature = sign(NEW, &format!("{URL}{target}"), &[]);
    let with = |target: &str, media_type: &str, body: &str, signature: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\nx-twilio-signature: {signature}\r\ncontent-type: {media_type}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "application/json";
    assert_eq!(edge.raw(with(&target, json, body, &signature)).await.body, HELLO);
    let request = telephone(&edge).request;
    assert_eq!(texts(&request.params), [("CallSid", "CA1"), ("Digits", "7")]);
    edge.pretender.forget();
    // Another body, no body, or the body as if it were a form: the hash was signed with it.
    for (media_type, body) in [
        (json, r#"{"CallSid": "CA2"}"#),
        (json, ""),
        ("application/x-www-form-urlencoded", "CallSid=CA2"),
        ("application/x-www-form-urlencoded", ""),
    ] {
        let refused = edge.raw(with(&target, media_type, body, &signature)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{body}");
    }
    // Without the hash nothing that was signed covers it.
    let bare = format!("/v1/twilio/status?chat_token={TOKEN}");
    let signature = sign(NEW, &format!("{URL}{bare}"), &[]);
    assert_eq!(edge.raw(with(&bare, json, body, &signature)).await.status, 403);
    let hash: String = Sha256::digest("[]").iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bare}&bodySHA256={hash}");
    let signature = sign(NEW, &format!("{URL}{list}"), &[]);
    let refused = edge.raw(with(&list, json, "[]", &signature)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "invalid-request"));
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn what_twilio_did_not_sign_for_here_is_refused_before_anybody_is_asked() {
    let edge = open_edge().await;
    let target = voice();
    let address = format!("{URL}{target}");
    let good = sign(NEW, &address, &CALL);
    let forms = [
        ("", "no signature"),
        ("AAAA", "no HMAC"),
        (&*sign("another token, of somebody else", &address, &CALL), "another account's"),
        (&*sign(NEW, &format!("https://evil.example{target}"), &CALL), "another host"),
        (&*sign(NEW, &format!("http://chat.example.com{target}"), &CALL), "another scheme"),
        (&*sign(NEW, &format!("http://10.0.0.1:7081{target}"), &CALL), "what Host says"),
        (&*sign(NEW, &format!("{URL}/v1/twilio/sms?chat_token={TOKEN}"), &CALL), "another path"),
        (&*sign(NEW, &address, &CALL[..2]), "fewer fields"),
        (&*sign(NEW, &address, &[]), "no fields"),
    ];
    for (signature, why) in forms {
        let refused = edge.raw(posted(&target, &CALL, signature, "")).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{why}");
    }
    let two = format!("x-twilio-signature: {good}\r\n");
    assert_eq!(edge.raw(posted(&target, &CALL, &good, &two)).await.status, 403, "two of them");
    let none = edge.with("POST", &target, "").await;
    assert_eq!(none.status, 403, "nothing at all");
    assert!(edge.pretender.asked().is_empty());
    assert_eq!(edge.raw(posted(&target, &CALL, &good, "")).await.status, 200);
}

#[tokio::test]
async fn two_tokens_count_while_one_is_changed_and_a_port_may_be_signed() {
    let edge = open_edge().await;
    let target = voice();
    for (token, url) in [(NEW, URL), (OLD, URL), (NEW, "https://chat.example.com:443")] {
        let signature = sign(token, &format!("{url}{target}"), &CALL);
        assert_eq!(edge.raw(posted(&target, &CALL, &signature, "")).await.status, 200, "{url}");
    }
    let keys: Vec<String> = telephones(&edge).into_iter().map(|one| one.key).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "the same request: {keys:?}");
}

#[tokio::test]
async fn a_field_that_is_sent_twice_is_what_was_signed_and_the_same_request() {
    let edge = open_edge().await;
    let target = voice();
    let form = [("b", "2"), ("a", "1"), ("b", "1"), ("b", "2")];
    assert_eq!(post(&edge, &target, &form).await.status, 200);
    let first = telephone(&edge);
    assert_eq!(texts(&first.request.params), [("a", "1"), ("b", "1"), ("b", "2")]);
    let turned = [("b", "1"), ("b", "2"), ("b", "1"), ("a", "1")];
    assert_eq!(post(&edge, &target, &turned).await.status, 200);
    assert_eq!(telephone(&edge), first);
    // One value less is another request, and another signature.
    let signature = sign(NEW, &format!("{URL}{target}"), &form);
    let fewer = edge.raw(posted(&target, &form[..2], &signature, "")).await;
    assert_eq!(fewer.status, 403);
}

#[tokio::test]
async fn twilios_own_key_is_not_signed_and_makes_no_other_request() {
    let edge = open_edge().await;
    let target = voice();
    let signature = sign(NEW, &format!("{URL}{target}"), &CALL);
    let mut keys = Vec::new();
    for token in ["r1", "r2"] {
        let header = format!("i-twilio-idempotency-token: {token}\r\n");
        assert_eq!(edge.raw(posted(&target, &CALL, &signature, &header)).await.status, 200);
        keys.push(telephone(&edge).key);
    }
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn nobody_answers_where_nothing_is_configured() {
    let off = edge().await;
    let signature = sign(NEW, &format!("{URL}{}", voice()), &CALL);
    let answer = off.raw(posted(&voice(), &CALL, &signature, "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "not-found"));
    let edge = open_edge().await;
    for (target, code) in [
        (format!("/v1/twilio/fax?chat_token={TOKEN}"), "not-found"),
        (format!("/v1/twilio/Voice?chat_token={TOKEN}"), "not-found"),
        (format!("/v1/twilio/voice/%ff?chat_token={TOKEN}"), "not-found"),
        ("/v1/twilio/voice".to_owned(), "unknown-chat"),
        ("/v1/twilio/voice?chat_token=".to_owned(), "unknown-chat"),
        (format!("/v1/twilio/voice?chat_token={}", &TOKEN[1..]), "unknown-chat"),
        (format!("/v1/twilio/voice?chat_token={TOKEN}&chat_token={TOKEN}"), "unknown-chat"),
    ] {
        let refused = post(&edge, &target, &CALL).await;
        assert_eq!((refused.status, refused.code().as_str()), (404, code), "{target}");
    }
    assert!(edge.pretender.asked().is_empty());
    edge.pretender.refuse_next(Refusal::new(Code::UnknownChat, "no"));
    let refused = post(&edge, &voice(), &CALL).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "unknown-chat"));
}

#[tokio::test]
async fn what_is_larger_than_anything_twilio_sends_is_refused() {
    let edge = open_edge().await;
    let long = "x".repeat(1 << 20);
    let refused = post(&edge, &voice(), &[("Body", &long)]).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too-large"));
    let names: Vec<String> = (0..257).map(|number| format!("f{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let refused = post(&edge, &voice(), &many).await;
    assert_eq!((refused.status, refused.code().as_str()), (413, "too-large"));
    assert_eq!(post(&edge, &voice(), &many[1..]).await.status, 200);
    edge.pretender.forget();
    let target = voice();
    let signature = sign(NEW, &format!("{URL}{target}"), &[]);
    let text = format!(
        "POST {target} HTTP/1.1\r\nhost: a\r\nx-twilio-signature: {signature}\r\ncontent-type: text/xml\r\n\
         content-length: 4\r\n\r\n<a/>"
    );
    assert_eq!(edge.raw(text).await.code(), "unsupported-media-type");
    assert_eq!(edge.bare("PUT", &target).await.code(), "method-not-allowed");
    assert!(edge.pretender.asked().is_empty());
}

#[tokio::test]
async fn a_caller_hears_the_operators_words_when_nobody_can_answer() {
    let edge = open_edge().await;
    for code in
        [Code::PluginFailed, Code::NoQuorum, Code::NotReady, Code::Overloaded, Code::StorageFull]
    {
        edge.pretender.refuse_next(Refusal::new(code, "no"));
        let answer = post(&edge, &voice(), &CALL).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, FALLBACK.as_bytes()), "{code:?}");
        assert_eq!(answer.header("content-type"), Some("application/xml"));
    }
    // What is no call has nobody who listens.
    edge.pretender.refuse_next(Refusal::new(Code::PluginFailed, "no"));
    let target = format!("/v1/twilio/sms?chat_token={TOKEN}");
    let answer = post(&edge, &target, &[("MessageSid", "SM1")]).await;
    assert_eq!(answer.body, b"<Response></Response>");
    // The same signature over other words is not Twilio's.
    edge.pretender.refuse_next(Refusal::new(Code::IdempotencyConflict, "no"));
    assert_eq!(post(&edge, &voice(), &CALL).await.code(), "forbidden");
}

#[tokio::test]
async fn a_caller_hears_the_operators_words_in_time() {
    let edge = edge_within(Duration::from_millis(50)).await;
    edge.pretender.be_silent();
    let answer = post(&edge, &voice(), &CALL).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, FALLBACK.as_bytes()));
}
