//! A whole conversation: two people and a telephone talk over three nodes, the one that leads dies in the middle, the chat
//! ends and is kept.

use serde_json::{Value, json};
use tests::carillon::run;
use tests::{Cluster, Events, Http, eventually};
use tokio::sync::Notify;

use crate::keeping::{archived, end, json_lines, kept_for, versions};
use crate::twilio::{TOKEN, Twilio, answering, xml};

/// How much each of them says.
const SAID: usize = 20;
/// How often the telephone texts.
const TEXTED: usize = 4;
/// What comes first: that the chat is started.
const BEGUN: usize = 1;

const PHONE: &str = "+491701234";

/// Somebody says all they have to say, and tells when they are in the middle; then they wait for `go_on`, if there is one.
async fn talk(
    http: &Http,
    token: &str,
    name: &str,
    middle: &Notify,
    go_on: Option<&Notify>,
) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    for index in 0..SAID {
        let key = format!("{name}-{index}");
        acknowledged.push(http.send_surely(token, name, &key, &key).await["id"].clone());
        if index == SAID / 2 {
            middle.notify_one();
            if let Some(go_on) = go_on {
                go_on.notified().await;
            }
        }
    }
    acknowledged
}

/// The telephone texts, each text as often as Twilio has to ask until it is said.
async fn text(phone: &mut Twilio, http: &Http, token: &str) {
    let address = format!("/v1/twilio/sms?chat_token={token}");
    for index in 0..TEXTED {
        let (sid, body) = (format!("SM{index}"), format!("text {index}"));
        let form = [("MessageSid", &*sid), ("From", PHONE), ("Body", &*body)];
        eventually("the text to be said", async || {
            xml(phone.post(http, &address, &form).await);
            let said = tests::texts(&http.try_all(token).await?);
            if said.contains(&body) { Ok(()) } else { Err(said.join(", ")) }
        })
        .await;
    }
}

/// The telephone calls and meets the others; Twilio tells of the recording at the address that it was given.
async fn call(phone: &mut Twilio, http: &Http, token: &str) {
    let begin = format!("/v1/twilio/voice?chat_token={token}&user_id=carol");
    let twiml = xml(phone.post(http, &begin, &[("CallSid", "CA1"), ("From", PHONE)]).await);
    assert!(twiml.contains(&format!(">{token}</Conference>")), "{twiml}");
    let (_, rest) = twiml.split_once("recordingStatusCallback=\"").expect("it wants to be told");
    let (address, _) = rest.split_once('"').expect("an end");
    let address = format!("/v1/twilio/{}", address.replace("&amp;", "&"));
    let recorded = [
        ("ConferenceSid", "CF1"),
        ("RecordingSid", "RE1"),
        ("RecordingStatus", "completed"),
        ("RecordingUrl", "https://r/1"),
        ("RecordingDuration", "61"),
    ];
    assert_eq!(xml(phone.post(http, &address, &recorded).await), "<Response></Response>");
}

/// What those who follow the chat have seen, when they have seen all of it.
async fn follow(mut follower: Events) -> Vec<Value> {
    let mut seen = Vec::new();
    while seen.len() < BEGUN + SAID + SAID + TEXTED {
        seen.push(follower.next().await);
    }
    seen
}

/// The ids of what `sender` said.
fn ids(messages: &[Value], sender: &str) -> Vec<Value> {
    let own = |message: &&Value| message["sender"] == sender && message["kind"] == "text";
    messages.iter().filter(own).map(|message| message["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_and_a_telephone_talk_while_a_node_dies_and_the_chat_is_archived_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("twilio");
    std::fs::write(&file, TOKEN).expect("it is written");
    let mut cluster = Cluster::start_with(3, |config| {
        kept_for("1s")(config);
        answering(config, &file);
    })
    .await;
    let mut phone = Twilio::with(TOKEN).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let others = (0..3).filter(|index| *index != primary);
    let left: Vec<Http> = others.map(|index| cluster.http(index).clone()).collect();
    for name in ["alice", "bob"] {
        let path = format!("/v1/chats/{token}/members/{name}");
        let joined = left[0].ask("PUT", &path, &[], Some(&json!({}))).await;
        joined.expect("an answer").expect(200);
    }
    let start = json!({"sender": "alice", "kind": "chat.status", "json": {"status": "started"}});
    left[1].send_with(&token, "", "start", &start).await.expect("an answer").expect(201);
    call(&mut phone, &left[0], &token).await;

    let follower = Events::new(left.clone(), &token, "bob");
    let (middle, dead, nobody) = (Notify::new(), Notify::new(), Notify::new());
    let dies = async {
        middle.notified().await;
        cluster.kill(primary).await;
        dead.notify_one();
    };
    let (alice, bob, seen, (), ()) = tokio::join!(
        talk(&left[0], &token, "alice", &middle, Some(&dead)),
        talk(&left[1], &token, "bob", &nobody, None),
        follow(follower),
        text(&mut phone, &left[1], &token),
        dies,
    );
    end(&left[0], &token).await;
    archived(&left[1], &token).await;

    cluster.restart(primary).await;
    cluster.led().await;
    for index in 0..3 {
        let gone = eventually("the chat to be forgotten", async || {
            let path = format!("/v1/chats/{token}");
            cluster.http(index).ask("GET", &path, &[], None).await?.only(404)
        });
        assert_eq!(gone.await.body["archive"]["key"], json!(token), "node {index}");
    }
    assert_eq!(versions(cluster.node(primary).archive(), &token).await, 1, "archived once");
    let export = run(&["chat", "export", &token, "--url", &cluster.http(primary).url()]).await;
    assert_eq!(export.code, Some(0), "{export:?}");
    let lines = json_lines(&export.out);
    let (head, messages) = lines.split_first().expect("a first line");
    assert_eq!(messages, seen, "what was followed, in its order, and nothing else");
    assert_eq!((ids(messages, "alice"), ids(messages, "bob")), (alice, bob));
    let texts = tests::texts(messages);
    let texted: Vec<&String> = texts.iter().filter(|text| text.starts_with("text ")).collect();
    assert_eq!(texted, ["text 0", "text 1", "text 2", "text 3"], "each once");
    assert_eq!((&head["status"], &head["participants"][1]["id"]), (&json!("ended"), &json!("bob")));
    let calls: Value = serde_json::from_str(head["attrs"]["twilio_data"].as_str().expect("calls"))
        .expect("it is JSON");
    assert_eq!(calls["users"]["carol"]["calls"]["CA1"]["call_sid"], "CA1");
    assert_eq!(calls["conferences"]["CF1"]["recording_url"], "https://r/1");
}
