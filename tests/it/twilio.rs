//! A caller talks to a cluster of three: what Twilio sends is signed by Twilio's own library, where it can be installed,
//! and a node dies in the middle of the call.

use std::time::Duration;

use node::config::{Config, Span};
use serde_json::{Value, json};
use tests::twilio::Signer;
use tests::{Answer, Cluster, Http, shipped};

const URL: &str = "https://chat.example.com";
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const FALLBACK: &str = "<Response><Say>later</Say></Response>";

/// Three nodes with the shipped handlers, that Twilio may ask.
async fn telephones(folder: &std::path::Path) -> Cluster {
    let file = folder.join("twilio");
    std::fs::write(&file, TOKEN).expect("it is written");
    Cluster::start_with(3, |config: &mut Config| {
        shipped(config);
        answering(config, &file);
    })
    .await
}

/// Twilio may ask, and signs with what is in `file`.
pub(crate) fn answering(config: &mut Config, file: &std::path::Path) {
    config.twilio.public_url = URL.to_owned();
    config.twilio.auth_token_file = file.to_owned();
    FALLBACK.clone_into(&mut config.twilio.fallback_twiml);
    // Long enough for others to take over on a busy machine.
    config.twilio.deadline = Span(Duration::from_secs(14));
}

/// Twilio, as far as it asks.
pub(crate) struct Twilio {
    signer: Signer,
    token: &'static str,
}

impl Twilio {
    /// Twilio, who signs with `token`.
    pub(crate) async fn with(token: &'static str) -> Self {
        Self { signer: Signer::start().await, token }
    }

    pub(crate) async fn post(
        &mut self,
        http: &Http,
        target: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        let signature = self.signer.sign(self.token, &format!("{URL}{target}"), form).await;
        let body = Signer::encoded(form);
        let headers = [
            ("X-Twilio-Signature", signature.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
        ];
        let asked = http.ask_bytes("POST", target, &headers, body.as_bytes()).await;
        asked.unwrap_or_else(|error| panic!("{target}: {error}"))
    }
}

pub(crate) fn xml(answer: Answer) -> String {
    let text = answer.expect(200);
    text.as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
}

async fn chat(http: &Http, body: &Value) -> String {
    http.post("/v1/chats", body).await.expect(201)["token"].as_str().expect("a token").to_owned()
}

/// What is known of the calls of a chat.
async fn calls(http: &Http, token: &str) -> Value {
    let shown = tests::eventually("the chat", async || {
        http.ask("GET", &format!("/v1/chats/{token}"), &[], None).await?.only(200)
    });
    let data = shown.await.body["attrs"]["twilio_data"].clone();
    serde_json::from_str(data.as_str().expect("there is some")).expect("it is JSON")
}

#[tokio::test]
async fn a_call_goes_on_when_the_node_that_leads_its_chat_dies() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = telephones(folder.path()).await;
    let mut twilio = Twilio::with(TOKEN).await;
    let token = chat(cluster.http(0), &json!({"max_participants": 1, "max_duration_s": 60})).await;
    let primary = cluster.primary(&token).await;
    let other = (primary + 1) % 3;

    let begin = format!("/v1/twilio/voice?chat_token={token}&user_id=bob");
    let form =
        [("CallSid", "CA1"), ("From", "+491701"), ("To", "+4930"), ("CallStatus", "ringing")];
    let first = xml(twilio.post(cluster.http(other), &begin, &form).await);
    let action = format!("voice/end?chat_token={token}&amp;user_id=bob");
    assert_eq!(
        first,
        format!(
            "<Response><Record action=\"{action}\" maxLength=\"420\" timeout=\"30\"/></Response>"
        )
    );
    assert_eq!(
        calls(cluster.http(other), &token).await["users"]["bob"]["calls"]["CA1"]["call_sid"],
        "CA1"
    );

    cluster.kill(primary).await;
    // Twilio asks again, another node, and is told the same; then the call ends.
    assert_eq!(xml(twilio.post(cluster.http(other), &begin, &form).await), first);
    let end = format!("/v1/twilio/voice/end?chat_token={token}&user_id=bob");
    let form = [("CallSid", "CA1"), ("RecordingUrl", "https://r/1"), ("RecordingDuration", "9")];
    let last = (other + 1) % 3;
    let door = if last == primary { other } else { last };
    assert_eq!(
        xml(twilio.post(cluster.http(door), &end, &form).await),
        "<Response><Say>Thank you.</Say><Hangup/></Response>"
    );
    let bob = calls(cluster.http(other), &token).await["users"]["bob"]["calls"].clone();
    assert_eq!(
        (&bob["CA1"]["recording_url"], bob.as_object().map(serde_json::Map::len)),
        (&json!("https://r/1"), Some(1))
    );

    // The status of the call comes when the chat is over, to the node that was dead.
    cluster.restart(primary).await;
    cluster.led().await;
    cluster.http(other).post(&format!("/v1/chats/{token}/end"), &json!({})).await.expect(200);
    let status = format!("/v1/twilio/status?chat_token={token}");
    let form = [("CallSid", "CA1"), ("CallStatus", "completed"), ("CallDuration", "61")];
    let answer = xml(twilio.post(cluster.http(primary), &status, &form).await);
    assert_eq!(answer, "<Response></Response>");
    let call = calls(cluster.http(primary), &token).await["users"]["bob"]["calls"]["CA1"].clone();
    assert_eq!((&call["status"], &call["duration_s"]), (&json!("completed"), &json!(61)));
}

#[tokio::test]
async fn who_texts_talks_with_who_is_in_the_chat_and_a_repeat_says_nothing_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = telephones(folder.path()).await;
    let mut twilio = Twilio::with(TOKEN).await;
    let token = chat(cluster.http(0), &json!({})).await;
    let sms = format!("/v1/twilio/sms?chat_token={token}");
    let first = [("MessageSid", "SM1"), ("From", "+49 170"), ("Body", "grüße & co? a+b=c")];
    for node in [0, 1, 2, 0] {
        let answer = xml(twilio.post(cluster.http(node), &sms, &first).await);
        assert_eq!(answer, "<Response></Response>");
    }
    cluster.http(1).send(&token, "alice", "k", "hello <you>").await.expect(201);
    let second = [("MessageSid", "SM2"), ("From", "+49 170"), ("Body", "who is that")];
    let answer = xml(twilio.post(cluster.http(2), &sms, &second).await);
    assert_eq!(answer, "<Response><Message>alice: hello &lt;you&gt;</Message></Response>");
    let messages = cluster.http(0).all(&token).await;
    assert_eq!(tests::texts(&messages), ["grüße & co? a+b=c", "hello <you>", "who is that"]);
    assert_eq!(messages[0]["attrs"]["from"], "+49 170");

    // Two fields of one name, and what a forger makes of a request that was seen.
    let doubled = [("Body", "two"), ("MessageSid", "SM3"), ("From", "+49 170"), ("Body", "one")];
    assert_eq!(twilio.post(cluster.http(0), &sms, &doubled).await.status, 200);
    let signature = twilio.signer.sign(TOKEN, &format!("{URL}{sms}"), &second).await;
    let headers = [
        ("X-Twilio-Signature", signature.as_str()),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("I-Twilio-Idempotency-Token", "made-up"),
    ];
    let shifted = [("MessageSid", "SM2"), ("From", "+49 170"), ("Bod", "ywho is that")];
    for (form, status) in [(&second, 200), (&shifted, 403)] {
        let body = Signer::encoded(form);
        let asked = cluster.http(1).ask_bytes("POST", &sms, &headers, body.as_bytes()).await;
        assert_eq!(asked.expect("an answer").status, status, "{form:?}");
    }
    assert_eq!(cluster.http(0).all(&token).await.len(), 4, "nothing was said twice");
}

#[tokio::test]
async fn a_new_token_counts_without_a_restart_and_a_forged_request_reaches_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = telephones(folder.path()).await;
    let mut twilio = Twilio::with(OTHER).await;
    let token = chat(cluster.http(0), &json!({})).await;
    let voice = format!("/v1/twilio/voice?chat_token={token}");
    let call = [("CallSid", "CA1"), ("From", "+49")];
    let forged = twilio.post(cluster.http(0), &voice, &call).await;
    assert_eq!((forged.status, forged.code()), (403, "forbidden"));
    let shown = cluster.http(0).get(&format!("/v1/chats/{token}")).await.expect(200);
    assert_eq!(shown["attrs"], json!({}), "nobody was asked");
    std::fs::write(folder.path().join("twilio"), format!("{OTHER}\n{TOKEN}\n")).expect("written");
    tests::eventually("the new token counts", async || {
        let answer = twilio.post(cluster.http(0), &voice, &call).await;
        answer.only(200).map(drop)
    })
    .await;
    // The path is signed, and nobody is there.
    for (path, code) in [
        (format!("/v1/twilio/fax?chat_token={token}"), "not-found"),
        (format!("/v1/twilio/voice?chat_token={TOKEN}"), "unknown-chat"),
    ] {
        let refused = twilio.post(cluster.http(0), &path, &call).await;
        assert_eq!((refused.status, refused.code()), (404, code));
    }
    // voice has nothing at this path: the caller hears the operator's words.
    let menu = format!("/v1/twilio/voice/menu?chat_token={token}");
    assert_eq!(xml(twilio.post(cluster.http(0), &menu, &call).await), FALLBACK);
    let errors = cluster.admin(0).get("/admin/v1/plugins/voice/errors").await.expect(200);
    let told = errors.to_string();
    let primary = cluster.primary(&token).await;
    let there = cluster.admin(primary).get("/admin/v1/plugins/voice/errors").await.expect(200);
    assert!(primary != 0 || told.contains("unknown-path"), "{told}");
    assert!(there.to_string().contains("unknown-path"), "{there}");
}
