//! How soon Twilio has its answer: signed requests to `voice` on three nodes in this process, over loopback.
//!
//! ```text
//! SECONDS=10 cargo run --release -p tests --example telephones
//! ```
//!
//! Each request is the beginning of a call: its signature is checked, the plugin is asked, what is known of the call is kept
//! with the chat, and the answer is there once a quorum has it on the disk. Then the same requests again, as Twilio repeats them:
//! answered from what was remembered. What signs is done before, and the answer's bytes are read as they come; callers have one
//! connection each, to a node that leads their chat or not.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::path::Path;
use std::time::Duration;

use client::{Connection, Target};
use node::config::{Config, Span};
use serde_json::json;
use tests::figures::Took;
use tests::twilio::Signer;
use tests::{Cluster, shipped};
use tokio::task::JoinSet;

const URL: &str = "https://chat.example.com";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Calls that begin in one chat: few, as in a conversation, so that what is kept of them stays small.
const CALLS: usize = 8;
/// Who calls at once when it is about many.
const CALLERS: usize = 32;
/// Calls that are signed for one caller and one second.
const SIGNED: usize = 500;

/// A call that begins, as it goes over the wire.
#[derive(Clone, Debug)]
struct Call(Vec<u8>);

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor.expect("an executor").block_on(run());
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn run() {
    let seconds = Duration::from_secs(number("SECONDS", 10) as u64);
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = telephones(folder.path()).await;
    println!(
        "three nodes in this process, shipped handlers, signed POST to voice, commit quorum 2"
    );
    for callers in [1, CALLERS] {
        let most = SIGNED * usize::try_from(seconds.as_secs()).expect("seconds") / callers.min(4);
        let mut all = Vec::new();
        for caller in 0..callers {
            let target: Target = cluster.http(caller % 3).url().parse().expect("an address");
            let calls = calls(&cluster, &target, caller, most).await;
            all.push((target, calls));
        }
        let mut calling = JoinSet::new();
        for (target, calls) in all {
            calling.spawn(async move { call(&target, &calls, seconds).await });
        }
        let (mut first, mut again) = (Took::default(), Took::default());
        for (one, other) in calling.join_all().await {
            first.merge(one);
            again.merge(other);
        }
        for (what, took) in [("calls begin", first), ("the same again", again)] {
            println!(
                "{callers:>3} at once, {what:<16} {:>8} answers, p50 {:>8.2} ms, p99 {:>8.2} ms, slowest {:>8.2} ms",
                took.count(),
                took.percentile_ms(50),
                took.percentile_ms(99),
                took.percentile_ms(100)
            );
        }
    }
}

async fn telephones(folder: &Path) -> Cluster {
    let file = folder.join("twilio");
    std::fs::write(&file, TOKEN).expect("written");
    Cluster::start_with(3, |config: &mut Config| {
        shipped(config);
        config.twilio.public_url = URL.to_owned();
        config.twilio.auth_token_file.clone_from(&file);
        config.twilio.deadline = Span(Duration::from_secs(8));
    })
    .await
}

/// Calls that begin, signed, in chats of their own.
async fn calls(cluster: &Cluster, target: &Target, caller: usize, most: usize) -> Vec<Call> {
    let mut signer = Signer::by_itself();
    let (mut calls, mut token) = (Vec::new(), String::new());
    for number in 0..most {
        if number % CALLS == 0 {
            let body = json!({"max_participants": 8, "max_duration_s": 600});
            let created = cluster.http(caller % 3).post("/v1/chats", &body).await.expect(201);
            token = created["token"].as_str().expect("a token").to_owned();
        }
        let path = format!("/v1/twilio/voice?chat_token={token}");
        let sid = format!("CA{caller:08x}{number:024x}");
        let from = format!("+49170{number:07}");
        let form = [("CallSid", sid.as_str()), ("From", from.as_str()), ("CallStatus", "ringing")];
        let signature = signer.sign(TOKEN, &format!("{URL}{path}"), &form).await;
        let body = Signer::encoded(&form);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nx-twilio-signature: {signature}\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            target.authority(),
            body.len()
        );
        calls.push(Call(request.into_bytes()));
    }
    calls
}

/// One caller after the other over one connection; then the same again.
async fn call(target: &Target, calls: &[Call], seconds: Duration) -> (Took, Took) {
    let mut connection = Connection::open(target).await.expect("a connection");
    let mut took = [Took::default(), Took::default()];
    let end = runtime::now() + seconds;
    let mut made = 0;
    for Call(request) in calls.iter().take_while(|_| runtime::now() < end) {
        took[0].add(answered(&mut connection, request).await);
        made += 1;
    }
    for Call(request) in calls.iter().take(made) {
        took[1].add(answered(&mut connection, request).await);
    }
    let [first, again] = took;
    (first, again)
}

async fn answered(connection: &mut Connection, request: &[u8]) -> Duration {
    let began = runtime::now();
    let answer = connection.exchange(request).await.expect("an answer");
    let took = began.elapsed();
    let text = String::from_utf8_lossy(answer.body);
    assert!(answer.status == 200 && text.contains("<Conference"), "{} {text}", answer.status);
    took
}
