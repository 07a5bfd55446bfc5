//! Versions of plugins that become live while chats go on, and go again.

use std::collections::BTreeSet;

use node::config::{GrantConfig, PluginConfig, Size};
use serde_json::{Value, json};
use tests::carillon::run;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, Http, component, eventually, shipped};

/// A version that passes everything.
fn passes(name: &str) -> Vec<u8> {
    version(&Guest::default(), name)
}

fn live(name: &str, version: &str, generation: u64) -> (String, String, u64) {
    (name.to_owned(), version.to_owned(), generation)
}

/// The version in the stamp of `plugin`.
fn stamp(message: &Value, plugin: &str) -> Option<String> {
    let stamps = message["stamps"].as_array()?;
    let stamp = stamps.iter().find(|stamp| stamp["plugin"] == plugin)?;
    stamp["version"].as_str().map(str::to_owned)
}

async fn roll_back(admin: &Http, name: &str) -> Value {
    let path = format!("/admin/v1/plugins/{name}/rollback");
    admin.post(&path, &json!({"wait": true})).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_pushed_to_one_node_and_live_on_all_until_it_is_rolled_back() {
    let cluster = Cluster::start(3).await;
    let (first, last) = (cluster.admin(0), cluster.admin(2));
    let token = cluster.http(1).create().await;
    let say =
        async |key: &str| cluster.http(1).send(&token, "alice", key, "hello").await.expect(201);
    assert_eq!(stamp(&say("k0").await, "hello"), None);

    let pushed = first.push("hello", &passes("1.0")).await;
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    assert_eq!(first.push("hello", &passes("1.0")).await.status, 200, "it is known");
    assert!(last.live().await.is_empty(), "pushing makes nothing live");
    // Any node can be asked: it has the component by now, or fetches it.
    let swap = json!({"digest": pushed.text("digest"), "wait": true});
    let swapped = last.post("/admin/v1/plugins/hello/swap", &swap).await.expect(200);
    assert_eq!(
        (&swapped["generation"], &swapped["live"], &swapped["nodes"]),
        (&json!(2), &json!(3), &json!(3))
    );
    let again = first.post("/admin/v1/plugins/hello/swap", &swap).await.expect(200);
    assert_eq!(again["generation"], 2, "the same again is the same");
    assert_eq!(stamp(&say("k1").await, "hello").as_deref(), Some("1.0"));

    let second = first.swap_in("hello", &passes("2.0")).await;
    assert_eq!(second["generation"], 3);
    for index in 0..3 {
        assert_eq!(cluster.admin(index).live().await, [live("hello", "2.0", 3)]);
    }
    assert_eq!(stamp(&say("k2").await, "hello").as_deref(), Some("2.0"));

    let back = roll_back(&last, "hello").await;
    assert_eq!((&back["generation"], &back["version"]), (&json!(4), &json!("1.0")));
    assert_eq!(stamp(&say("k3").await, "hello").as_deref(), Some("1.0"));
    let gone = roll_back(&first, "hello").await;
    assert_eq!((&gone["generation"], &gone["version"]), (&json!(5), &Value::Null));
    assert_eq!(stamp(&say("k4").await, "hello"), None);
    let none = last.post("/admin/v1/plugins/hello/rollback", &json!({})).await;
    assert_eq!((none.status, none.code()), (404, "not-found"));

    let audit = first.get("/admin/v1/audit").await.expect(200);
    let events: BTreeSet<&str> = audit["lines"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line["event"].as_str())
        .collect();
    for event in ["pushed", "prepared", "swap", "swapped", "live", "rollback"] {
        assert!(events.contains(event), "{event}: {audit}");
    }
    // Each step of each node, in its order, and once.
    for node in [&first, &last] {
        let audit = node.get("/admin/v1/audit").await.expect(200);
        let of_first = audit["lines"].as_array().into_iter().flatten();
        let of_first = of_first.filter(|line| line["digest"] == pushed.body["digest"]);
        let events: Vec<&str> = of_first.filter_map(|line| line["event"].as_str()).collect();
        let steps = ["fetched", "verified", "compiled", "linked", "check-config", "self-test"];
        let from = events.iter().position(|event| *event == steps[0]).unwrap_or_default();
        let prepared = [&steps[..], &["prepared"]].concat();
        assert!(events[from..].starts_with(&prepared), "{audit}");
        assert!(!events[from + prepared.len()..].contains(&steps[0]), "{audit}");
    }
}

/// What is wrong with each, where it is found, and a word of what is said.
fn broken() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let problem =
        "(i32.store (i32.const 16) (i32.const 2048)) (i32.store (i32.const 20) (i32.const 1))
         (i32.store (i32.const 2048) (i32.const 1024)) (i32.store (i32.const 2052) (i32.const 5))
         (i32.store (i32.const 2056) (i32.const 1029)) (i32.store (i32.const 2060) (i32.const 7))";
    let says_no = Guest { check_config: problem.to_owned(), ..Guest::default() }
        .with_module("(data (i32.const 1024) \"wordsmissing\")");
    let ours = "record rejection { code: string, reason: string, ";
    let theirs = "record rejection { code: string, reason: string, severity: u32, ";
    let foreign = Guest::default().built_against(ours, theirs);
    let checks = Guest { check_config: "unreachable".to_owned(), ..Guest::default() };
    vec![
        ("no component", b"hello".to_vec(), "not a usable component"),
        ("wrong WIT", version(&foreign, "6.0"), "message-handler"),
        ("its configuration is wrong", version(&says_no, "6.1"), "words: missing"),
        ("it breaks on its configuration", version(&checks, "6.2"), "check-config"),
        ("it traps", version(&Guest::doing("unreachable"), "6.3"), "self-test"),
        ("it loops", version(&Guest::doing("(loop $on (br $on))"), "6.4"), "self-test"),
        ("it keeps notes", version(&Guest::default().keeping(), "6.5"), "[plugins.hello.grant] kv"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_version_is_never_live_anywhere() {
    let cluster = Cluster::start(3).await;
    let admin = cluster.admin(0);
    admin.swap_in("hello", &passes("1.0")).await;
    let before = admin.live().await;
    for (name, component, word) in broken() {
        let pushed = admin.push("hello", &component).await;
        assert_eq!((pushed.status, pushed.code()), (422, "plugin-unusable"), "{name}");
        assert!(pushed.text("detail").contains(word), "{name}: {}", pushed.body);
        // It is kept, so that it could be asked for all the same.
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest(&component);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let swapped = admin.post("/admin/v1/plugins/hello/swap", &json!({"digest": digest})).await;
        assert_eq!((swapped.status, swapped.code()), (422, "plugin-unusable"), "{name}");
        for index in 0..3 {
            assert_eq!(cluster.admin(index).live().await, before, "{name}");
        }
    }
    let nowhere = json!({"digest": "0".repeat(64)});
    let swapped = admin.post("/admin/v1/plugins/hello/swap", &nowhere).await;
    assert_eq!((swapped.status, swapped.code()), (422, "plugin-unusable"), "{}", swapped.body);
    assert!(swapped.text("detail").contains("no node"), "{}", swapped.body);
    let swapped = admin.post("/admin/v1/plugins/Hello/swap", &nowhere).await;
    assert_eq!(swapped.code(), "invalid-request", "{}", swapped.body);
    // A broken one does not stand in the way of a good one.
    assert_eq!(admin.swap_in("hello", &passes("2.0")).await["generation"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_swaps_at_once_one_wins_and_the_other_is_told() {
    let cluster = Cluster::start(3).await;
    let mut generation = 1;
    for round in 0..4 {
        let mut digests = Vec::new();
        for (index, of) in ["a", "b"].into_iter().enumerate() {
            let pushed =
                cluster.admin(index).push("hello", &passes(&format!("{round}.{of}"))).await;
            digests.push(pushed.text("digest"));
        }
        let swap = async |index: usize| {
            let body = json!({"digest": digests[index], "wait": true});
            cluster.admin(index).post("/admin/v1/plugins/hello/swap", &body).await
        };
        let (one, other) = tokio::join!(swap(0), swap(1));
        let won = [&one, &other].into_iter().filter(|answer| answer.status == 200).count();
        let lost = [&one, &other].into_iter().filter(|answer| answer.code() == "plugin-conflict");
        // One may also have come after the other was done: then both are live in turn.
        assert_eq!(won + lost.count(), 2, "{} {}", one.body, other.body);
        assert!(won > 0, "{} {}", one.body, other.body);
        generation += won as u64;
        let mut seen = BTreeSet::new();
        for index in 0..3 {
            let live = eventually("the same everywhere", async || {
                let live = cluster.admin(index).live().await;
                if live[0].2 == generation { Ok(live) } else { Err(live) }
            })
            .await;
            seen.insert(live);
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_has_what_is_live_before_it_serves() {
    let mut cluster = Cluster::start(3).await;
    cluster.admin(0).swap_in("hello", &passes("1.0")).await;
    let token = cluster.http(0).create().await;
    cluster.kill(2).await;
    let second = cluster.admin(1).swap_in("hello", &passes("2.0")).await;
    assert_eq!((&second["generation"], &second["nodes"]), (&json!(3), &json!(2)));
    let sent = cluster.http(0).send_surely(&token, "alice", "k", "hello").await;
    assert_eq!(stamp(&sent, "hello").as_deref(), Some("2.0"));
    cluster.restart(2).await;
    // It is ready: nothing is waited for here.
    assert_eq!(cluster.admin(2).live().await, [live("hello", "2.0", 3)]);

    // All at once: what is live is on every disk.
    for index in 0..3 {
        cluster.kill(index).await;
    }
    cluster.restart_all(&[0, 1, 2]).await;
    cluster.led().await;
    for index in 0..3 {
        assert_eq!(cluster.admin(index).live().await, [live("hello", "2.0", 3)]);
    }
    let sent = cluster.http(1).send_surely(&token, "alice", "k2", "hello").await;
    assert_eq!(stamp(&sent, "hello").as_deref(), Some("2.0"));
    // And what was live before is there to go back to.
    assert_eq!(roll_back(&cluster.admin(2), "hello").await["version"], "1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_names_is_the_first_generation_and_no_more() {
    let mut cluster = Cluster::start_with(3, |config| {
        shipped(config);
        // Without a source it is for versions that come later.
        let grant = GrantConfig { kv: Some(Size(1 << 10)), ..GrantConfig::default() };
        let granted = PluginConfig { grant, ..PluginConfig::default() };
        config.plugins.insert("granted".to_owned(), granted);
    })
    .await;
    let shipped_version = cluster.admin(0).live().await;
    assert_eq!(shipped_version.len(), 5);
    assert!(shipped_version.iter().all(|(_, _, generation)| *generation == 1));
    let chain = cluster.admin(1).get("/admin/v1/chain").await.expect(200);
    let names: Vec<&Value> =
        chain["message"].as_array().into_iter().flatten().map(|link| &link["plugin"]).collect();
    assert_eq!(names, ["status", "moderation"]);

    // A later version of what it names, with the grants and the configuration of that name.
    let moderation =
        std::fs::read(component("moderation")).unwrap_or_else(|error| panic!("{error}"));
    let manifest = include_str!("../../plugins/moderation/plugin.toml");
    let newer = manifest.replace("version = \"0.1.0\"", "version = \"0.2.0\"");
    let newer = plugin::pack(&moderation, &newer).unwrap_or_else(|error| panic!("{error}"));
    cluster.admin(0).swap_in("moderation", &newer).await;
    cluster.admin(0).swap_in("aaa", &passes("1.0")).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send(&token, "alice", "k", "hello").await.expect(201);
    let stamps: Vec<&Value> =
        sent["stamps"].as_array().into_iter().flatten().map(|stamp| &stamp["plugin"]).collect();
    assert_eq!(stamps, ["status", "moderation", "aaa"], "what no chain names runs last");
    assert_eq!(stamp(&sent, "moderation").as_deref(), Some("0.2.0"));
    let refused = cluster.http(1).send(&token, "alice", "k2", "badword").await;
    assert_eq!(refused.code(), "rejected", "{}", refused.body);
    let keeping = version(&Guest::default().keeping(), "1.0");
    cluster.admin(2).swap_in("granted", &keeping).await;
    let ungranted = cluster.admin(2).push("another", &keeping).await;
    assert!(ungranted.text("detail").contains("[plugins.another.grant] kv"), "{}", ungranted.body);

    // A restart goes on with what is live, whatever the file says; also without the file.
    cluster.kill(1).await;
    if let Some(plugin) = cluster.config(1).plugins.get_mut("moderation") {
        plugin.source = "/nowhere/moderation.wasm".into();
    }
    cluster.restart(1).await;
    let there = cluster.admin(1).live().await;
    assert_eq!(there, cluster.admin(0).live().await);
    assert!(there.contains(&live("moderation", "0.2.0", 2)), "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_configuration_cannot_have_it_stops_the_swap_for_all() {
    let cluster = Cluster::start_with(3, |config| {
        if config.node.id.as_str() != "n3" {
            let kv = Some(Size(1 << 10));
            let grant = GrantConfig { kv, ..GrantConfig::default() };
            let granted = PluginConfig { grant, ..PluginConfig::default() };
            config.plugins.insert("hello".to_owned(), granted);
        }
    })
    .await;
    let admin = cluster.admin(0);
    let pushed = admin.push("hello", &version(&Guest::default().keeping(), "1.0")).await;
    assert_eq!((pushed.status, pushed.code()), (422, "plugin-unusable"), "{}", pushed.body);
    let detail = pushed.text("detail");
    assert!(detail.contains("node n3") && detail.contains("[plugins.hello.grant] kv"), "{detail}");
    assert!(admin.live().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_do_all_of_it_with_the_command() {
    let cluster = Cluster::start_with(3, shipped).await;
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let write = |name: &str, bytes: Vec<u8>| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{error}"));
        path.display().to_string()
    };
    let (one, two) = (write("1.wasm", passes("1.0")), write("2.wasm", passes("2.0")));
    let admin = cluster.node(1).admin_url();
    let ask = async |args: &[&str]| run(&[&["plugin"], args, &["--admin", &admin]].concat()).await;

    let pushed = ask(&["push", "hello", &one]).await;
    assert_eq!((pushed.code, pushed.out.trim().len()), (Some(0), 64), "{pushed:?}");
    let swapped = ask(&["swap", "hello", pushed.out.trim()]).await;
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    let swapped = ask(&["swap", "hello", &two, "--wait"]).await;
    assert_eq!(swapped.code, Some(0), "{swapped:?}");
    let lines: Vec<&str> = swapped.out.lines().collect();
    let steps = ["fetched", "verified", "compiled", "linked", "check-config", "self-test"];
    let mut expected: Vec<String> = steps.map(|step| format!("{step}: 3/3 nodes")).to_vec();
    expected.push("live: 3/3 nodes on generation 3: hello 2.0".to_owned());
    assert_eq!(lines, expected);

    let listed = ask(&["ls"]).await;
    assert!(listed.out.contains("hello") && listed.out.contains("moderation"), "{listed:?}");
    let listed = ask(&["ls", "--json"]).await;
    let json: Value = serde_json::from_str(&listed.out).unwrap_or_default();
    let plugins = json["plugins"].as_array().cloned().unwrap_or_default();
    let hello = plugins.iter().find(|plugin| plugin["name"] == "hello");
    assert_eq!(hello.map(|hello| &hello["past"][0]["version"]), Some(&json!("1.0")), "{listed:?}");
    let chain = ask(&["chain"]).await;
    let order = ["status", "moderation", "hello"].map(|name| chain.out.find(name));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{chain:?}");
    let grants = ask(&["grants"]).await;
    assert!(grants.out.contains("chat-control"), "{grants:?}");
    let grants = ask(&["grants", "moderation", "--diff"]).await;
    assert!(grants.out.contains("every plugin is granted what it asks for"), "{grants:?}");
    let back = ask(&["rollback", "hello", "--wait"]).await;
    assert_eq!(back.out.trim(), "live: 3/3 nodes on generation 4: hello 1.0", "{back:?}");
    let gone = ask(&["rollback", "hello"]).await;
    assert!(gone.out.contains("hello removed"), "{gone:?}");

    let broken = write("broken.wasm", version(&Guest::doing("unreachable"), "3.0"));
    let refused = ask(&["swap", "hello", &broken, "--wait"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("self-test") && refused.out.is_empty(), "{refused:?}");
    let nobody = run(&["plugin", "ls", "--admin", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    let missing = ask(&["push", "hello", "/nowhere.wasm"]).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signatures_are_required_an_unsigned_component_is_refused() {
    let key = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let cluster = Cluster::start_with(1, |config| {
        config.rollouts.trusted_keys = vec![key.to_owned()];
        config.rollouts.require_signature = true;
    })
    .await;
    let admin = cluster.admin(0);
    let unsigned = admin.push("hello", &passes("1.0")).await;
    assert_eq!((unsigned.status, unsigned.code()), (422, "plugin-unusable"), "{}", unsigned.body);
    assert!(unsigned.text("detail").contains("signature"), "{}", unsigned.body);
    for (signature, code) in [
        ("AAAA", "invalid-request"),
        ("?", "invalid-request"),
        (&"A".repeat(86)[..], "invalid-request"),
    ] {
        let path = "/admin/v1/plugins/hello/artefacts";
        let headers = [("Carillon-Signature", signature)];
        let pushed = admin.ask_bytes("PUT", path, &headers, &passes("1.0")).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(pushed.code(), code, "{signature}: {}", pushed.body);
    }
    let foreign = format!("{}==", "A".repeat(86));
    let headers = [("Carillon-Signature", foreign.as_str())];
    let pushed = admin
        .ask_bytes("PUT", "/admin/v1/plugins/hello/artefacts", &headers, &passes("1.0"))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pushed.code(), "plugin-unusable", "{}", pushed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_none_or_an_older_one_changes_nothing_and_the_next_swap_replaces_it() {
    let mut cluster = Cluster::start(3).await;
    cluster.admin(0).swap_in("hello", &passes("1.0")).await;
    let registry = cluster.registry();
    let read = async || {
        let value = registry.get(rollout::LIVE).await.ok().flatten();
        value.unwrap_or_else(|| panic!("there is no record"))
    };
    let older = read().await.data;
    cluster.admin(0).swap_in("hello", &passes("2.0")).await;
    let newer = String::from_utf8_lossy(&read().await.data).replace("\"format\":1", "\"format\":9");
    let half = older[..older.len() / 2].to_vec();
    let mut generation = 3;
    for foreign in [b"rubbish".to_vec(), half, newer.into_bytes(), older] {
        // What nobody has read before it is overwritten, nobody can follow: all have the last one first.
        let before = cluster.admin(1).live().await;
        for index in 0..3 {
            is_live(&cluster, index, &before).await;
        }
        let counted = refused_records(&cluster).await;
        let write = registry::Cas {
            key: rollout::LIVE.to_owned(),
            expect: Some(read().await.version),
            data: Some(foreign),
        };
        assert!(matches!(registry.cas(write).await, Ok(Ok(_))));
        eventually("it to be counted", async || {
            let now = refused_records(&cluster).await;
            if now > counted { Ok(()) } else { Err(format!("{now} were")) }
        })
        .await;
        for index in 0..3 {
            is_live(&cluster, index, &before).await;
        }
        // A node that starts meanwhile goes on with what its disk knows.
        cluster.kill(2).await;
        cluster.restart(2).await;
        assert_eq!(cluster.admin(2).live().await, before);
        generation += 1;
        let swapped = cluster.admin(1).swap_in("hello", &passes(&format!("{generation}.0"))).await;
        assert_eq!(swapped["generation"], generation, "numbers only rise");
    }
}

/// How many records in the registry were refused, by all nodes of this process.
async fn refused_records(cluster: &Cluster) -> u64 {
    let told = cluster.admin(1).get("/metrics").await.expect(200).to_string();
    let of = told.rsplit("carillon_plugin_records_refused_total ").next().unwrap_or_default();
    of.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or_default()
}

/// Waits until a node says that exactly this is live.
async fn is_live(cluster: &Cluster, index: usize, wanted: &[(String, String, u64)]) {
    eventually("what is live", async || {
        let live = cluster.admin(index).live().await;
        if live == wanted { Ok(()) } else { Err(format!("{live:?}")) }
    })
    .await;
}
