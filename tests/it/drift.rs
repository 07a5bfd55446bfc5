//! A version of a moderation with a subtle bug, from the first try to the explanation, through the command; and
//! one that breaks on every message, but not on what it is asked before.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tests::carillon::{Carillon, run, single};
use tests::guests::Guest;
use tests::versions::version;
use tests::{Http, eventually};

/// A moderation that rejects what holds the word `ass`: the right one as a word of its own, the one with the bug
/// anywhere. What a guest is told stands in its memory from 4096 on, so it looks there.
fn moderation(only_whole_words: bool, name: &str) -> Vec<u8> {
    let bounded = i32::from(only_whole_words);
    let guest = Guest::doing(&format!(
        "(if (call $holds (i32.const {bounded}))
           (then
             (i32.store (i32.const 68) (i32.const 3))
             (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 4))
             (i32.store (i32.const 80) (i32.const 1028)) (i32.store (i32.const 84) (i32.const 8))))"
    ))
    .with_module(
        "(data (i32.const 1024) \"rudemind it!\")
         (func $letter (param $at i32) (result i32)
           (i32.lt_u (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)) (i32.const 26)))
         (func $holds (param $bounded i32) (result i32) (local $at i32)
           (local.set $at (i32.const 4096))
           (loop $on
             (if (i32.and
                   (i32.eq (i32.load16_u (local.get $at)) (i32.const 0x7361))
                   (i32.eq (i32.load8_u (i32.add (local.get $at) (i32.const 2))) (i32.const 0x73)))
               (then
                 (if (i32.eqz (i32.and (local.get $bounded) (i32.or
                       (call $letter (i32.sub (local.get $at) (i32.const 1)))
                       (call $letter (i32.add (local.get $at) (i32.const 3))))))
                   (then (return (i32.const 1))))))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br_if $on (i32.lt_u (local.get $at) (global.get $next))))
           (i32.const 0))",
    );
    version(&guest, name)
}

fn write(folder: &Path, name: &str, component: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, component).unwrap_or_else(|error| panic!("{error}"));
    path.display().to_string()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// People who talk all the time, and what was refused.
struct Talk {
    ends: Arc<AtomicBool>,
    refused: Arc<Mutex<Vec<String>>>,
    said: Arc<Mutex<usize>>,
    talking: tokio::task::JoinHandle<()>,
}

impl Talk {
    async fn begin(http: Http) -> Self {
        let token = http.create().await;
        let ends = Arc::new(AtomicBool::new(false));
        let (refused, said) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<usize>>::default());
        let talking = tokio::spawn({
            let (ends, refused, said) =
                (Arc::clone(&ends), Arc::clone(&refused), Arc::clone(&said));
            async move {
                let mut number = 0;
                while !ends.load(Ordering::Relaxed) {
                    for text in ["first class", "hello there", "you ass", "good morning"] {
                        number += 1;
                        let answer = http.send(&token, "alice", &format!("k{number}"), text).await;
                        match answer.status {
                            201 => {}
                            422 if text == "first class" => {
                                locked(&refused).push(answer.text("message"));
                            }
                            422 => {}
                            other => panic!("{other}: {}", answer.body),
                        }
                        *locked(&said) += 1;
                    }
                }
            }
        });
        Self { ends, refused, said, talking }
    }

    async fn has_said(&self, more: usize) {
        let until = *locked(&self.said) + more;
        eventually("enough to be said", async || {
            let said = *locked(&self.said);
            if said >= until { Ok(()) } else { Err(format!("{said} of {until}")) }
        })
        .await;
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.talking.await.unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn live(admin: &Http) -> Value {
    let told = admin.get("/admin/v1/plugins").await.expect(200);
    told["plugins"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtle_bug_is_refused_by_the_shadow_rolled_back_by_the_guard_and_explained() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    // A busy machine is no difference between two versions.
    let guard = "[plugin_host]\nceiling = { deadline = \"30s\" }\n[plugins.words.limits]\n\
                 deadline = \"20s\"\n[plugins.words.guard]\nmax_shift = 0.1\ncalls = 30\n";
    let node = Carillon::start(&["node", "--config", &single(folder.path(), guard)]).await;
    let url = node.operators().await;
    let admin = Http::new(&url);
    let ask = async |args: &[&str]| run(&[args, &["--admin", &url]].concat()).await;
    let good = write(folder.path(), "good.wasm", &moderation(true, "1.0"));
    let same = write(folder.path(), "same.wasm", &moderation(true, "1.1"));
    let bad = write(folder.path(), "bad.wasm", &moderation(false, "2.0"));
    let first = ask(&["plugin", "swap", "words", &good, "--shadow", "5s"]).await;
    assert_eq!(first.code, Some(1), "there is nothing to compare it with: {first:?}");
    assert!(first.err.contains("no version of words is live"), "{first:?}");
    assert_eq!(ask(&["plugin", "swap", "words", &good, "--wait"]).await.code, Some(0));

    let talk = Talk::begin(node.nodes[0].clone()).await;
    let shadow = ["--shadow", "5s", "--calls", "8", "--wait"];
    let passed = ask(&[&["plugin", "swap", "words", &same][..], &shadow].concat()).await;
    assert_eq!(passed.code, Some(0), "{passed:?}");
    assert!(
        passed.out.contains("0 decided otherwise") && passed.out.contains("words 1.1"),
        "{passed:?}"
    );
    assert!(locked(&talk.refused).is_empty(), "the right one knows words");

    // The guard wants to know it too.
    talk.has_said(40).await;

    // The one with the bug decides otherwise, and is told with what it would have refused.
    let before = live(&admin).await;
    let refused = ask(&[&["plugin", "swap", "words", &bad][..], &shadow].concat()).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in
        ["pass -> reject", "alice said (text): first class", "candidate: reject (rude): mind it!"]
    {
        assert!(refused.out.contains(part), "{part}: {refused:?}");
    }
    assert!(!refused.out.contains("you ass"), "both refuse that: {refused:?}");
    assert!(refused.err.contains("were decided otherwise"), "{refused:?}");
    assert_eq!(live(&admin).await["generation"], before["generation"], "nothing was changed");
    assert!(locked(&talk.refused).is_empty(), "and nobody noticed");
    // Unless so many may differ: one message in four does.
    let loose = ["--shadow", "5s", "--calls", "8", "--max-diff", "60%", "--sample", "50%"];
    let json = ask(&[&["plugin", "swap", "words", &bad, "--json"][..], &loose].concat()).await;
    assert_eq!(json.code, Some(0), "{json:?}");

    // It is live, and the guard sees that it refuses more than the one before.
    let back = eventually("the guard", async || {
        let live = live(&admin).await;
        if live["version"] == "1.1" && live["held"] == true {
            Ok(live)
        } else {
            Err(live.to_string())
        }
    })
    .await;
    assert!(back["generation"].as_u64() > before["generation"].as_u64().map(|it| it + 1), "{back}");
    let listed = ask(&["plugin", "ls"]).await;
    assert!(listed.out.contains("held"), "{listed:?}");
    let audit = admin.get("/admin/v1/audit").await.expect(200);
    let events: Vec<&str> = audit["lines"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["event"].as_str())
        .collect();
    for event in ["shadow", "shadow-refused", "shadow-passed", "guard", "guard-rollback"] {
        assert!(events.contains(&event), "{event}: {audit}");
    }
    let metrics = admin.ask("GET", "/metrics", &[], None).await;
    let metrics = metrics.unwrap_or_else(|error| panic!("{error}")).body.to_string();
    assert!(metrics.contains("carillon_plugin_guard_total"), "{metrics}");
    let count = locked(&talk.refused).len();
    assert!(count > 0, "some were refused meanwhile");
    talk.has_said(8).await;
    let ids = locked(&talk.refused).clone();
    talk.end().await;

    // Why, by both.
    for id in ids.iter().take(2) {
        let why = ask(&["why", id]).await;
        assert_eq!(why.code, Some(0), "{why:?}");
        for part in ["alice said (text): first class", "words 2.0", "the same as then"] {
            assert!(why.out.contains(part), "{part}: {why:?}");
        }
        let why = ask(&["why", id, "--with", &good]).await;
        assert_eq!(why.code, Some(0), "{why:?}");
        assert!(why.out.contains("with words 1.0") && why.out.contains("now: stored"), "{why:?}");
    }
    // A person may have it all the same, and is watched again.
    let forced = ask(&["plugin", "swap", "words", &bad, "--wait", "--json"]).await;
    assert_eq!(forced.code, Some(0), "{forced:?}");
    assert_eq!(
        (&live(&admin).await["version"], &live(&admin).await["held"]),
        (&json!("2.0"), &json!(false))
    );
    node.kill().await;
}

/// A version that breaks on whatever alice says: not on its self-test.
fn breaks_for_alice(name: &str) -> Vec<u8> {
    let guest = Guest::doing("(if (call $is_of_alice) (then unreachable))").with_module(
        "(func $is_of_alice (result i32) (local $at i32)
           (local.set $at (i32.const 4096))
           (loop $on
             (if (i32.eq (i32.load (local.get $at)) (i32.const 0x63696c61))
               (then (return (i32.const 1))))
             (local.set $at (i32.add (local.get $at) (i32.const 1)))
             (br_if $on (i32.lt_u (local.get $at) (global.get $next))))
           (i32.const 0))",
    );
    version(&guest, name)
}

/// It failed five times, was not called any more, and so never came to the calls that the guard waits for: it
/// stayed live.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_on_every_call_is_rolled_back_long_before_there_are_enough_of_them() {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let guard = "[plugins.words]\non_failure = \"skip\"\n[plugins.words.guard]\n\
                 max_trap_rate = 0.01\ncalls = 200\n";
    let node = Carillon::start(&["node", "--config", &single(folder.path(), guard)]).await;
    let url = node.operators().await;
    let admin = Http::new(&url);
    let ask = async |args: &[&str]| run(&[args, &["--admin", &url]].concat()).await;
    let good = write(folder.path(), "good.wasm", &version(&Guest::default(), "1.0"));
    let bad = write(folder.path(), "bad.wasm", &breaks_for_alice("2.0"));
    for version in [&good, &bad] {
        let swapped = ask(&["plugin", "swap", "words", version, "--wait"]).await;
        assert_eq!(swapped.code, Some(0), "{swapped:?}");
    }
    let http = &node.nodes[0];
    let token = http.create().await;
    for number in 0..8 {
        http.send(&token, "alice", &format!("k{number}"), "hello").await.expect(201);
    }
    eventually("the guard", async || {
        let live = live(&admin).await;
        let back = live["version"] == "1.0" && live["held"] == true;
        if back { Ok(()) } else { Err(live.to_string()) }
    })
    .await;
    let audit = admin.get("/admin/v1/audit").await.expect(200);
    let told = audit["lines"].as_array().into_iter().flatten().find(|it| it["event"] == "guard");
    let why = told.map(|line| line["detail"].to_string()).unwrap_or_default();
    assert!(why.contains("was not called for a while"), "{audit}");
    let sent = http.send(&token, "alice", "after", "hello").await.expect(201);
    assert_eq!(sent["message"]["stamps"][0]["version"], "1.0", "{sent}");
    node.kill().await;
}
