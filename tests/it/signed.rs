//! Components with signatures, where they are required: the right one opens every door, between operators and nodes
//! and from node to node, and the recipe of the operators' handbook makes one.

use std::path::Path;
use std::process::Command;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rollout::{Digest, statement};
use serde_json::json;
use tests::carillon::{Carillon, run, single};
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, Http, component, skipped};

/// A key, and what nodes are told of it.
fn key(seed: u8) -> (Ed25519KeyPair, String) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("32 bytes are a seed");
    let public = BASE64_STANDARD.encode(pair.public_key().as_ref());
    (pair, public)
}

fn sign(pair: &Ed25519KeyPair, name: &str, component: &[u8]) -> Vec<u8> {
    pair.sign(statement(name, Digest::of(component)).as_bytes()).as_ref().to_vec()
}

async fn push(admin: &Http, name: &str, component: &[u8], signature: &[u8]) -> tests::Answer {
    let path = format!("/admin/v1/plugins/{name}/artefacts");
    let signature = BASE64_STANDARD.encode(signature);
    let headers = [("Carillon-Signature", signature.as_str())];
    let pushed = admin.ask_bytes("PUT", &path, &headers, component).await;
    pushed.unwrap_or_else(|error| panic!("PUT {path}: {error}"))
}

async fn swap(admin: &Http, name: &str, digest: &str) -> tests::Answer {
    let path = format!("/admin/v1/plugins/{name}/swap");
    admin.post(&path, &json!({"digest": digest, "wait": true})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_the_right_signature_is_live_on_every_node_and_comes_to_new_ones_with_it()
{
    let ((ours, trusted), (theirs, _)) = (key(1), key(2));
    let mut cluster = Cluster::start_with(3, |config| {
        config.rollouts.trusted_keys = vec![trusted.clone()];
        config.rollouts.require_signature = true;
    })
    .await;
    let first = cluster.admin(0);
    let hello = version(&Guest::default(), "1.0");
    // By another's key, or for another name, it is nobody's.
    for wrong in [sign(&theirs, "hello", &hello), sign(&ours, "other", &hello)] {
        let pushed = push(&first, "hello", &hello, &wrong).await;
        assert_eq!((pushed.status, pushed.code()), (422, "plugin-unusable"), "{}", pushed.body);
    }
    let pushed = push(&first, "hello", &hello, &sign(&ours, "hello", &hello)).await;
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    // Each node looks at it by itself: it has come with the component.
    let digest = pushed.text("digest");
    let swapped = swap(&cluster.admin(2), "hello", &digest).await.expect(200);
    assert_eq!((&swapped["live"], &swapped["nodes"]), (&json!(3), &json!(3)), "{swapped}");
    let token = cluster.http(1).create().await;
    let sent = cluster.http(1).send(&token, "alice", "k", "hello").await.expect(201);
    assert_eq!(sent["stamps"][0]["version"], "1.0", "{sent}");

    // The same component under another name: its signature for the first does not count, and one more does.
    let refused = swap(&first, "other", &digest).await;
    assert_eq!((refused.status, refused.code()), (422, "plugin-unusable"), "{}", refused.body);
    let pushed = push(&first, "other", &hello, &sign(&ours, "other", &hello)).await;
    assert_eq!(pushed.status, 200, "{}", pushed.body);
    let swapped = swap(&cluster.admin(1), "other", &digest).await.expect(200);
    assert_eq!(swapped["live"], 3, "{swapped}");

    // A node that lost its components is given them with both signatures.
    cluster.kill(2).await;
    std::fs::remove_dir_all(cluster.data(2).join("plugins")).expect("its folder is there");
    cluster.restart(2).await;
    assert_eq!(cluster.admin(2).live().await, first.live().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_finds_the_signature_beside_the_component_or_where_it_is_told() {
    let (ours, trusted) = key(3);
    let folder = tempfile::tempdir().expect("a folder");
    let lines =
        format!("[plugin_host]\ntrusted_keys = [\"{trusted}\"]\nrequire_signature = true\n");
    let node = Carillon::start(&["node", "--config", &single(folder.path(), &lines)]).await;
    let url = node.operators().await;
    let ask = async |args: &[&str]| run(&[&["plugin"], args, &["--admin", &url]].concat()).await;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("it is written");
        path.display().to_string()
    };
    let (one, two) = (version(&Guest::default(), "1.0"), version(&Guest::default(), "2.0"));
    let file = write("hello.wasm", &one);
    let unsigned = ask(&["push", "hello", &file]).await;
    assert_eq!(unsigned.code, Some(1), "{unsigned:?}");
    assert!(unsigned.err.contains("it has no signature"), "{unsigned:?}");
    write("hello.wasm.sig", &sign(&ours, "hello", &one));
    let swapped = ask(&["swap", "hello", &file, "--wait"]).await;
    assert_eq!(swapped.code, Some(0), "{swapped:?}");

    let (file, elsewhere) = (write("2.wasm", &two), write("two.sig", &sign(&ours, "hello", &two)));
    let pushed = ask(&["push", "hello", &file, "--signature", &elsewhere]).await;
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    let swapped = ask(&["swap", "hello", pushed.out.trim(), "--wait"]).await;
    assert!(swapped.out.ends_with("hello 2.0\n"), "{swapped:?}");
    node.kill().await;
}

/// The commands in docs/operations.md, as they stand there.
fn recipe() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let handbook = std::fs::read_to_string(path).expect("the handbook is there");
    let from = handbook.find("openssl genpkey").expect("it has a recipe");
    handbook[from..].split("```").next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_of_the_handbook_makes_a_key_that_is_trusted_and_a_signature_that_is_believed() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("the handbook's signatures: openssl is not installed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(component("moderation"), folder.path().join("moderation.wasm")).expect("copied");
    let mut shell = Command::new("sh");
    let made = shell.args(["-euc", &recipe()]).current_dir(folder.path()).output();
    let made = made.expect("a shell runs");
    assert!(made.status.success(), "{made:?}");
    let trusted = String::from_utf8_lossy(&made.stdout).trim().to_owned();

    let lines = format!(
        "[plugin_host]\ntrusted_keys = [\"{trusted}\"]\nrequire_signature = true\n\
         [plugins.moderation.grant]\nroster = true\npost = true\nchat-control = true\n\
         kv = {{ bytes = \"64KiB\" }}\n[plugins.moderation.config]\nwords = [\"darn\"]\n"
    );
    let node = Carillon::start(&["node", "--config", &single(folder.path(), &lines)]).await;
    let url = node.operators().await;
    let file = folder.path().join("moderation.wasm").display().to_string();
    for (name, code) in [("moderation", Some(0)), ("another", Some(1))] {
        let swapped = run(&["plugin", "swap", name, &file, "--wait", "--admin", &url]).await;
        assert_eq!(swapped.code, code, "{name}: {swapped:?}");
    }
    node.kill().await;
}
