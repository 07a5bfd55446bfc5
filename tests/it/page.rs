//! The chat page: its reader alone in Node, with the network as a table and the time moved, and all of it in a browser on
//! a cluster whose node takes its leave.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Browser, Cluster, Http, Window, without};
use tokio::process::Command;

/// Moved time costs none: what takes longer stands still.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many stories `tests/page/reading.mjs` has: one that is not told would not be missed.
const STORIES: usize = 19;

/// `tests/page/reading.mjs` tells each story that fails by its name.
#[tokio::test]
async fn the_page_reads_by_socket_events_or_poll_whichever_gets_through() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = TempDir::new().expect("a folder");
    let web = here.join("../host/api/src/web");
    for file in std::fs::read_dir(web).expect("the page's files") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name");
        std::fs::copy(&file, folder.path().join(name)).expect("copied");
    }
    std::fs::write(folder.path().join("package.json"), r#"{"type":"module"}"#).expect("written");
    let told = Command::new("node")
        .arg(here.join("page/reading.mjs"))
        .arg(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let told = match runtime::timeout(PATIENCE, told).await.expect("it ends") {
        Ok(told) => told,
        Err(why) => {
            return without("node", &format!("the page's reader was not tried: node: {why}"));
        }
    };
    let out = String::from_utf8_lossy(&told.stdout);
    let complaints = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{out}{complaints}");
    assert_eq!(out.lines().filter(|line| line.starts_with("ok: ")).count(), STORIES, "{out}");
}

/// Somebody before the page.
struct Person {
    window: Window,
}

impl Person {
    async fn enter(browser: &mut Browser, http: &Http, token: &str, name: &str) -> Self {
        let window = browser.open(http, &format!("/?chat={token}&as={name}")).await;
        let person = Self { window };
        person.sees(browser, "#state", &json!("connected")).await;
        person
    }

    /// Until what an element says is this.
    async fn sees(&self, browser: &mut Browser, element: &str, wanted: &Value) {
        let text = format!("document.querySelector('{element}')?.textContent ?? null");
        browser.until(&self.window, &text, wanted).await;
    }

    /// Until the messages are these.
    async fn hears(&self, browser: &mut Browser, wanted: &[&str]) {
        let texts =
            "[...document.querySelectorAll('#messages .text')].map((one) => one.textContent)";
        browser.until(&self.window, texts, &json!(wanted)).await;
    }

    /// Until somebody of the list of people stands like this.
    async fn finds(&self, browser: &mut Browser, name: &str, how: &str) {
        let stands = format!(
            "[...document.querySelectorAll('#people li')].find((one) => one.textContent.startsWith('{name}'))?.className"
        );
        browser.until(&self.window, &stands, &json!(how)).await;
    }

    async fn types(&self, browser: &mut Browser, text: &str) {
        let typed = format!(
            "const text = document.querySelector('#text'); text.value = '{text}'; \
             text.dispatchEvent(new Event('input')); 0"
        );
        browser.run(&self.window, &format!("{{ {typed} }}")).await;
    }

    async fn sends(&self, browser: &mut Browser) {
        let enter = "document.querySelector('#compose').requestSubmit(), 0";
        browser.run(&self.window, enter).await;
    }

    async fn leaves(&self, browser: &mut Browser) {
        browser.run(&self.window, "document.querySelector('#leave').click(), 0").await;
    }
}

/// Two people in a browser, each at a node of their own: who is there, who types, who is gone; and a node that takes
/// its leave and comes back, over which nothing is lost or shown twice.
#[tokio::test]
async fn the_page_shows_people_typing_and_who_is_gone_and_outlives_its_node() {
    let Some(mut browser) = Browser::start() else { return };
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let alice = Person::enter(&mut browser, cluster.http(0), &token, "alice").await;
    let bob = Person::enter(&mut browser, cluster.http(1), &token, "bob").await;
    alice.finds(&mut browser, "bob", "here").await;
    bob.types(&mut browser, "hello").await;
    alice.sees(&mut browser, "#typing", &json!("bob types …")).await;
    bob.sends(&mut browser).await;
    alice.hears(&mut browser, &["hello"]).await;
    alice.sees(&mut browser, "#typing", &json!("")).await;
    bob.sees(&mut browser, "#messages .seen", &json!("read by alice")).await;

    // The same place again, as behind a name that stays.
    let url = cluster.http(0).url();
    let place = url.trim_start_matches("http://").parse().expect("an address");
    cluster.config(0).http.listen = place;
    assert_eq!(cluster.stop(0).await, Vec::<String>::new());
    alice.sees(&mut browser, "#state", &json!("connecting again")).await;
    bob.types(&mut browser, "still here").await;
    bob.sends(&mut browser).await;
    bob.hears(&mut browser, &["hello", "still here"]).await;
    cluster.restart(0).await;
    alice.sees(&mut browser, "#state", &json!("connected")).await;
    alice.hears(&mut browser, &["hello", "still here"]).await;

    bob.leaves(&mut browser).await;
    alice.finds(&mut browser, "bob", "gone").await;
}
