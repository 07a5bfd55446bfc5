//! What handlers do to messages, and what they cannot do to anybody else.

use std::process::Stdio;
use std::time::Duration;

use node::config::{Config, GrantConfig, OnFailure, PluginConfig, Span};
use serde_json::json;
use tempfile::TempDir;
use tests::guests::Guest;
use tests::{Cluster, eventually, shipped, texts};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A guest as a plugin of its own, with a policy.
struct Habit {
    folder: TempDir,
    policy: OnFailure,
}

impl Habit {
    fn new(guest: &Guest, policy: OnFailure) -> Self {
        let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(folder.path().join("guest.wasm"), guest.build())
            .unwrap_or_else(|error| panic!("{error}"));
        Self { folder, policy }
    }

    fn add(&self, config: &mut Config) {
        let mut plugin = PluginConfig {
            source: self.folder.path().join("guest.wasm"),
            on_failure: Some(self.policy),
            grant: GrantConfig::default(),
            ..PluginConfig::default()
        };
        plugin.limits.deadline = Some(Span(Duration::from_millis(100)));
        config.plugins.insert("habit".to_owned(), plugin);
        config.chain.push("habit".to_owned());
    }
}

#[tokio::test]
async fn a_forbidden_word_is_refused_with_plugin_and_reason_and_never_appears() {
    let cluster = Cluster::start_with(3, shipped).await;
    let token = cluster.http(0).create().await;
    cluster.http(0).send(&token, "alice", "k0", "hello").await.expect(201);
    let refused = cluster.http(1).send(&token, "mallory", "k1", "what a badword").await;
    assert_eq!((refused.status, refused.code()), (422, "rejected"), "{}", refused.body);
    assert_eq!(refused.body["plugin"], "moderation");
    for field in ["reason_code", "reason"] {
        assert!(!refused.text(field).is_empty(), "{field}: {}", refused.body);
    }
    // The same again is the same answer, on any node.
    let again = cluster.http(2).send(&token, "mallory", "k1", "what a badword").await;
    assert_eq!((again.status, again.text("reason")), (422, refused.text("reason")));
    let said = texts(&cluster.http(2).all(&token).await);
    assert!(!said.iter().any(|text| text.contains("badword")), "{said:?}");
}

#[tokio::test]
async fn three_strikes_and_the_sender_is_not_heard_any_more_also_after_a_take_over() {
    let mut cluster = Cluster::start_with(3, shipped).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    // Said again under the same key, a strike counts once.
    for key in ["k1", "k1", "k1", "k2"] {
        let refused = cluster.http(primary).send(&token, "mallory", key, "badword").await;
        assert_eq!(refused.code(), "rejected", "{}", refused.body);
    }
    let polite = cluster.http(primary).send(&token, "mallory", "k3", "sorry").await;
    assert_eq!(polite.status, 201, "two strikes are not three: {}", polite.body);

    cluster.kill(primary).await;
    let other = (primary + 1) % 3;
    cluster.http(other).send_surely(&token, "alice", "a", "hello").await;
    let third = cluster.http(other).send(&token, "mallory", "k4", "badword").await;
    assert_eq!(third.code(), "rejected", "{}", third.body);
    let polite = cluster.http(other).send(&token, "mallory", "k5", "sorry again").await;
    assert_eq!(polite.code(), "rejected", "three are enough: {}", polite.body);
    cluster.http(other).send(&token, "alice", "b", "still here").await.expect(201);
}

#[tokio::test]
async fn every_message_is_stamped_by_every_handler_in_order() {
    let cluster = Cluster::start_with(3, shipped).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send(&token, "alice", "k", "hello").await.expect(201);
    let stamps: Vec<_> = sent["stamps"].as_array().into_iter().flatten().collect();
    let plugins: Vec<_> = stamps.iter().map(|stamp| stamp["plugin"].as_str()).collect();
    assert_eq!(plugins, [Some("status"), Some("moderation")]);
    assert!(stamps.iter().all(|stamp| stamp["version"].is_string()), "{sent}");
}

#[tokio::test]
async fn status_messages_start_and_end_a_chat() {
    let cluster = Cluster::start_with(3, shipped).await;
    let token = cluster.http(0).create().await;
    let set = async |key: &str, status: &str| {
        let body = json!({"sender": "alice", "kind": "chat.status", "json": {"status": status}});
        let sent = cluster.http(1).send_with(&token, "", key, &body).await;
        sent.unwrap_or_else(|error| panic!("{error}"))
    };
    let status = async || {
        let shown = cluster.http(2).get(&format!("/v1/chats/{token}")).await;
        shown.expect(200)["status"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(status().await, "pending");
    let early = set("k0", "ended").await;
    assert_eq!((early.status, early.code()), (409, "illegal-transition"), "{}", early.body);
    set("k1", "started").await.expect(201);
    assert_eq!(status().await, "started");
    set("k2", "ended").await.expect(201);
    assert_eq!(status().await, "ended");
}

/// What a bad handler does on a message that says `TRAP`; on any other it passes.
const HABITS: [(&str, &str); 3] = [
    ("traps", "unreachable"),
    ("loops", "(loop $for_ever (br $for_ever))"),
    (
        "hoards",
        "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 64))))) unreachable",
    ),
];

/// A guest with a habit. It looks for the word in all the memory that the host has filled.
fn guest(habit: &str) -> Guest {
    Guest::doing(&format!(
        "(local $at i32)
         (local.set $at (i32.const 4096))
         (block $nothing (loop $next_byte
           (br_if $nothing
             (i32.gt_u (i32.add (local.get $at) (i32.const 4)) (global.get $next)))
           (if (i32.eq (i32.load align=1 (local.get $at)) (i32.const 0x50415254))
             (then {habit}))
           (local.set $at (i32.add (local.get $at) (i32.const 1)))
           (br $next_byte)))"
    ))
}

#[tokio::test]
async fn a_handler_that_fails_refuses_its_message_and_no_other_notices() {
    for (name, habit) in HABITS {
        let habit = Habit::new(&guest(habit), OnFailure::Reject);
        let cluster = Cluster::start_with(1, |config| habit.add(config)).await;
        let http = cluster.http(0);
        let (bad, good) = (http.create().await, http.create().await);
        let failing = async {
            for round in 0..3 {
                let key = format!("bad{round}");
                let failed = http.send(&bad, "mallory", &key, "TRAP").await;
                assert_eq!((failed.status, failed.code()), (503, "plugin-failed"), "{name}");
                // The next one in the same chat is like any other.
                http.send(&bad, "mallory", &format!("ok{round}"), "fine").await.expect(201);
            }
        };
        let talking = async {
            for round in 0..20 {
                http.send(&good, "alice", &format!("k{round}"), "fine").await.expect(201);
            }
        };
        tokio::join!(failing, talking);
        assert_eq!(texts(&http.all(&bad).await), ["fine"; 3], "{name}");
        assert_eq!(texts(&http.all(&good).await), ["fine"; 20], "{name}");
        http.get("/readyz").await.expect(200);
    }
}

#[tokio::test]
async fn a_handler_that_fails_is_skipped_where_the_operator_says_so() {
    for (name, habit) in HABITS {
        let habit = Habit::new(&guest(habit), OnFailure::Skip);
        let cluster = Cluster::start_with(1, |config| {
            habit.add(config);
            shipped(config);
        })
        .await;
        let http = cluster.http(0);
        let token = http.create().await;
        let sent = http.send(&token, "alice", "k", "it is a TRAP").await.expect(201);
        assert_eq!(sent["stamps"][0]["verdict"], "skipped", "{name}: {sent}");
        // The handlers after it still decide.
        let refused = http.send(&token, "alice", "k2", "TRAP badword").await;
        assert_eq!(refused.code(), "rejected", "{name}: {}", refused.body);
        assert_eq!(texts(&http.all(&token).await)[0], "it is a TRAP");
    }
}

#[tokio::test]
async fn what_a_handler_says_and_how_it_fails_is_told_to_operators() {
    let log =
        "(call $emit (i32.const 2) (i32.const 2048) (i32.const 5) (i32.const 0) (i32.const 0))";
    let guest =
        guest(&format!("{log} unreachable")).with_module("(data (i32.const 2048) \"it is\")");
    let habit = Habit::new(&guest, OnFailure::Reject);
    let cluster = Cluster::start_with(1, |config| habit.add(config)).await;
    let http = cluster.http(0);
    let (token, other) = (http.create().await, http.create().await);
    let admin = cluster.node(0).admin_url();
    let mut following = Command::new(tests::binary("carillon"))
        .args(["plugin", "logs", "habit", "-f", "--admin", &admin])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("it starts: {error}"));
    let followed = following.stdout.take().unwrap_or_else(|| panic!("its output"));
    for round in 0..5 {
        let failed = http.send(&token, "mallory", &format!("k{round}"), "TRAP").await;
        assert_eq!((failed.status, failed.code()), (503, "plugin-failed"), "{}", failed.body);
    }
    // Left alone by now: nobody's message is looked at, and its policy decides at once.
    let failed = http.send(&other, "alice", "k", "fine").await;
    assert_eq!((failed.status, failed.code()), (503, "plugin-failed"), "{}", failed.body);
    assert!(failed.text("detail").contains("again and again"), "{}", failed.body);
    assert_eq!(texts(&http.all(&other).await), [""; 0]);

    let mut followed = BufReader::new(followed).lines();
    for round in 0..5 {
        let line = runtime::timeout(Duration::from_secs(60), followed.next_line()).await;
        let line = line.unwrap_or_else(|_elapsed| panic!("no line {round}"));
        let line = line.unwrap_or_else(|error| panic!("{error}")).unwrap_or_default();
        assert!(line.contains(" warn ") && line.contains(&token), "{round}: {line}");
    }
    let told = async |args: &[&str]| {
        let args: Vec<&str> =
            ["plugin"].iter().chain(args).copied().chain(["--admin", &admin]).collect();
        tests::carillon::run(&args).await
    };
    let logs = told(&["logs", "habit"]).await;
    assert_eq!((logs.code, logs.out.lines().count()), (Some(0), 5), "{logs:?}");
    assert!(logs.out.contains(" warn ") && logs.out.contains(&token), "{logs:?}");
    let logs = told(&["logs", "habit", "--chat", &other]).await;
    assert_eq!((logs.code, logs.out.as_str()), (Some(0), ""), "{logs:?}");
    let errors = told(&["errors", "habit", "--json"]).await;
    let errors: serde_json::Value =
        serde_json::from_str(&errors.out).unwrap_or_else(|error| panic!("{error}: {errors:?}"));
    let error = &errors["errors"][0];
    assert_eq!((&error["count"], &error["kind"]), (&5.into(), &"trap".into()), "{errors}");
    assert_eq!(error["chat"], token.as_str(), "{errors}");
    assert!(error["message"].is_string(), "{errors}");
    let errors = told(&["errors", "habit"]).await;
    assert!(errors.out.contains("5x trap") && errors.out.contains("in on_message"), "{errors:?}");
    let nobody = told(&["errors", "nobody"]).await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
}

#[tokio::test]
async fn a_held_message_is_answered_202_and_comes_at_its_deadline() {
    // A verdict of hold, without a reason, for half a second, and then it is stored.
    let hold = "(i32.store8 (i32.const 68) (i32.const 4))
        (i32.store (i32.const 80) (i32.const 500)) (i32.store8 (i32.const 84) (i32.const 1))";
    let habit = Habit::new(&guest(hold), OnFailure::Reject);
    let cluster = Cluster::start_with(1, |config| habit.add(config)).await;
    let http = cluster.http(0);
    let token = http.create().await;
    let held = http.send(&token, "alice", "k", "it is a TRAP").await.expect(202);
    assert_eq!(held["held"], true, "{held}");
    let chat = http.get(&format!("/v1/chats/{token}")).await.expect(200);
    let waits = chat["pending"]["held"].as_u64() == Some(1);
    let comes = eventually("the held message", async || {
        let messages = http.all(&token).await;
        if messages.is_empty() { Err("nothing yet") } else { Ok(messages) }
    });
    let messages = comes.await;
    assert_eq!(texts(&messages), ["it is a TRAP"]);
    assert_eq!(messages[0]["id"], held["id"]);
    assert!(waits, "{chat}");
    let again = http.send(&token, "alice", "k", "it is a TRAP").await.expect(200);
    assert_eq!(again["id"], held["id"]);
    let chat = http.get(&format!("/v1/chats/{token}")).await.expect(200);
    assert!(chat["pending"].is_null(), "{chat}");
}

/// As many names as two letters make, one more each, in one call.
fn counting(names: u32) -> Guest {
    Guest::doing(&format!(
        "(local $i i32) (loop $again
           (i32.store8 (i32.const 1024) (i32.add (i32.const 97) (i32.div_u (local.get $i) (i32.const 16))))
           (i32.store8 (i32.const 1025) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 16))))
           (call $count (i32.const 1024) (i32.const 2) (i64.const 1))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const {names}))))"
    ))
    .importing(
        "import carillon:plugin/metrics@0.1.0;",
        "(import \"carillon:plugin/metrics@0.1.0\" \"count\" (func $count (param i32 i32 i64)))",
    )
}

#[tokio::test]
async fn a_flood_of_new_series_ends_at_fifty_and_what_is_beyond_is_counted() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let source = folder.path().join("guest.wasm");
    std::fs::write(&source, counting(100).build()).unwrap_or_else(|error| panic!("{error}"));
    let cluster = Cluster::start_with(1, |config| {
        let grant = GrantConfig { metrics: true, ..GrantConfig::default() };
        let plugin = PluginConfig { source: source.clone(), grant, ..PluginConfig::default() };
        config.plugins.insert("flooding".to_owned(), plugin);
        config.chain.push("flooding".to_owned());
    })
    .await;
    let metrics = async || {
        let told = cluster.admin(0).get("/metrics").await.expect(200);
        told.as_str().unwrap_or_default().to_owned()
    };
    // Its self-test was a call as well.
    let before = dropped(&metrics().await);
    let token = cluster.http(0).create().await;
    for key in ["k1", "k2"] {
        cluster.http(0).send(&token, "alice", key, "hello").await.expect(201);
    }
    let told = metrics().await;
    let of = |name: &str| {
        let lines = told.lines().filter(|line| line.starts_with(name));
        lines.filter(|line| line.contains("flooding")).count()
    };
    assert_eq!(of("carillon_plugin_count_total{"), 50, "{told}");
    // Of a hundred in one call 64 are taken, and of those 50 have a series: for who joins, and for each message.
    assert_eq!(dropped(&told) - before, 150, "{told}");
}

/// How many samples of that plugin were not taken.
fn dropped(metrics: &str) -> u64 {
    let line = metrics.lines().find(|line| {
        line.starts_with("carillon_plugin_samples_dropped_total{") && line.contains("flooding")
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}
