//! Other people's programs as services, unchanged and from where everybody has them: mautrix, which most bridges between
//! Matrix and other networks stand on, and the verifier of Standard Webhooks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use node::config::ServiceConfig;
use serde_json::{Value, json};
use tests::python::{Python, environment};
use tests::{Cluster, Http, Receiver, eventually, skipped};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::services::{adds, webhook};
use crate::three::Three;

/// In the versions that were tried.
const MAUTRIX: &str = "mautrix==0.21.1";
const VERIFIER: &str = "standardwebhooks==1.1.0";

const PROGRAM: &str = include_str!("mautrix_service.py");

/// Asks the verifier.
const BELIEVES: &str = "
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

def believes(key, body, headers):
    try:
        Webhook(key).verify(body, headers)
        return True
    except WebhookVerificationError:
        return False
";

/// So much is said ahead of what was heard, so that somebody always speaks when somebody dies.
const AHEAD: usize = 40;

/// A service made with mautrix, as a process.
struct Mautrix {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Mautrix {
    /// Starts it on a port; 0 for any.
    async fn start(python: &Path, folder: &Path, port: u16) -> Self {
        let program = folder.join("service.py");
        std::fs::write(&program, PROGRAM).expect("it is written");
        let mut child = Command::new(python)
            .arg(&program)
            .arg(port.to_string())
            .arg(notes(folder))
            // It keeps what it knows of rooms where it is.
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let out = child.stdout.take().expect("an output");
        let line = BufReader::new(out).lines().next_line().await.expect("it can be read");
        let port = line.and_then(|line| line.parse().ok()).expect("it says its port");
        Self { child, port, folder: folder.to_owned() }
    }

    /// `kill -9`, and it is there again where it was.
    async fn killed_and_back(mut self, python: &Path) -> Self {
        self.child.kill().await.expect("it is killed");
        Self::start(python, &self.folder, self.port).await
    }
}

fn notes(folder: &Path) -> PathBuf {
    folder.join("notes")
}

/// The texts that mautrix handed to its handlers, each when it was first; and how many events there were. What is repeated
/// is the same event.
fn heard(folder: &Path) -> (Vec<String>, usize) {
    let notes = std::fs::read_to_string(notes(folder)).unwrap_or_default();
    let mut known: Vec<Value> = Vec::new();
    // The last line may be written at this moment.
    let whole = notes.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let event: Value = serde_json::from_str(line).expect("one event a line");
        match known.iter().find(|it| it[0] == event[0]) {
            Some(before) => assert_eq!(*before, event, "one event, one content"),
            None => known.push(event),
        }
    }
    let texts = known.iter().filter(|event| event[3] == "m.room.message");
    let texts = texts.map(|event| event[4].as_str().unwrap_or_default().to_owned()).collect();
    (texts, known.len())
}

async fn until_heard(folder: &Path, count: usize) -> Vec<String> {
    eventually("what mautrix hears", async || {
        let (texts, _) = heard(folder);
        if texts.len() >= count { Ok(texts) } else { Err(texts) }
    })
    .await
}

/// Says texts, to nodes that stay.
async fn says(doors: &[Http], token: &str, texts: &[String], folder: &Path) {
    for (number, text) in texts.iter().enumerate() {
        until_heard(folder, number.saturating_sub(AHEAD)).await;
        doors[number % doors.len()].send_surely(token, "alice", text, text).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mautrix_hears_every_message_in_order_through_kills_of_the_primary_and_of_itself() {
    let python = match environment(MAUTRIX).await {
        Ok(python) => python,
        Err(why) => return skipped(&format!("a service made with {MAUTRIX}. {why}")),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "hs-token\n").expect("it is written");
    let mut service = Mautrix::start(&python, folder.path(), 0).await;
    let lines = format!(
        "[services.crm]\nurl = \"http://127.0.0.1:{}\"\ndialect = \"matrix\"\ntoken_file = \"{}\"\n\
         allow_private = [\"127.0.0.0/8\"]\nretry = {{ first = \"100ms\", cap = \"500ms\" }}\n\
         batch = {{ events = 5 }}\nfrom = \"start\"\n",
        service.port,
        token_file.display()
    );
    let Some(mut three) = Three::start_with(&lines).await else { return };
    let token = three.http(0).create().await;
    let (victim, _) = three.primary(0, &token).await;
    let doors = [1, 2].map(|next| three.http((victim + next) % 3).clone()).to_vec();
    let said: Vec<String> = (0..200).map(|number| format!("text-{number}")).collect();
    let accidents = async {
        until_heard(folder.path(), 10).await;
        service = service.killed_and_back(&python).await;
        let texts = until_heard(folder.path(), 40).await;
        three.take(victim).kill().await;
        service = service.killed_and_back(&python).await;
        until_heard(folder.path(), texts.len() + 20).await;
        three.restart(victim).await;
        service.killed_and_back(&python).await
    };
    let ((), _service) = tokio::join!(says(&doors, &token, &said, folder.path()), accidents);
    let texts = until_heard(folder.path(), said.len()).await;
    assert_eq!(texts, said, "all of it, in order");
    eventually("every event of the chat", async || {
        let all = three.http((victim + 1) % 3).all(&token).await.len();
        let (_, events) = heard(folder.path());
        if events == all { Ok(()) } else { Err((events, all)) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_of_standard_webhooks_believes_what_we_sign_and_nothing_else() {
    let files = vec![("believes.py".to_owned(), BELIEVES.to_owned())];
    let mut python = match Python::with(VERIFIER, files).await {
        Ok(python) => python,
        Err(why) => return skipped(&format!("{VERIFIER} as a verifier. {why}")),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let keys = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ];
    let service =
        ServiceConfig { from: node::config::From::Start, ..webhook(&receiver, folder.path()) };
    std::fs::write(&service.secret_file, keys.join("\n")).expect("both keys are written");
    let cluster = Cluster::start_with(1, adds(&service)).await;
    let token = cluster.http(0).create().await;
    let text = "say \"grüße\" / \u{1f514} \\ \n";
    cluster.http(0).send_surely(&token, "alice", "k", text).await;
    let received = eventually("the event", async || {
        let received = receiver.received();
        let with = |it: &tests::Received| it.events().iter().any(|it| it["data"]["text"] == text);
        received.iter().find(|it| with(it)).cloned().ok_or(received.len())
    })
    .await;
    let headers: BTreeMap<&str, &str> =
        received.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = String::from_utf8(received.body.clone()).expect("text");
    let forged = body.replace("alice", "mallet");
    let mut other = headers.clone();
    other.insert("webhook-id", "another");
    let mut later = headers.clone();
    let time: u64 = headers["webhook-timestamp"].parse().expect("a time");
    let time = (time + 1).to_string();
    later.insert("webhook-timestamp", &time);
    let stranger = "whsec_BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    python.run("from believes import believes").await;
    for (key, body, headers, believed) in [
        (keys[0], &body, &headers, "True"),
        (keys[1], &body, &headers, "True"),
        (stranger, &body, &headers, "False"),
        (keys[0], &forged, &headers, "False"),
        (keys[0], &body, &other, "False"),
        (keys[0], &body, &later, "False"),
    ] {
        let [key, body] = [key, body].map(|text| Value::from(text).to_string());
        let asked = format!("print(believes({key}, {body}, {}))", json!(headers));
        assert_eq!(python.run(&asked).await, [believed], "{asked}");
    }
}
