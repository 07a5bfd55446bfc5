//! Nodes that are processes, killed in the middle of a swap, while a process of theirs compiles the new version: what
//! `killed_in_a_swap` ends at chosen points inside one process, here `kill -9` ends somewhere.

use std::path::Path;

use serde_json::{Value, json};
use tests::carillon::Carillon;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Answer, Http, eventually};
use tokio::task::JoinHandle;

use crate::three::Three;

/// A version that passes everything, and takes seconds to compile: jumps that each lead everywhere, in a function that
/// nobody calls.
fn slow(name: &str) -> Vec<u8> {
    const BLOCKS: usize = 1_000;
    let targets: String = (1..=BLOCKS).map(|at| format!("{at} ")).collect();
    let jump = |at: usize| {
        format!(
            "(if (i32.load offset={at} (local.get 0))
               (then (br_table {targets} (i32.load (local.get 0)))))"
        )
    };
    let jumps: String = (0..150).map(jump).collect();
    let (open, close) = ("(block ".repeat(BLOCKS), ")".repeat(BLOCKS));
    let module = format!("(func (param i32) {open}{jumps}{close})");
    version(&Guest::default().with_module(&module), name)
}

/// Pushes a version to a node and swaps it in, for as long as it takes.
fn swap(admin: &Http, name: &str) -> JoinHandle<Result<Answer, String>> {
    let (admin, component) = (admin.clone(), slow(name));
    tokio::spawn(async move {
        let path = "/admin/v1/plugins/hello/artefacts";
        let pushed = admin.ask_bytes("PUT", path, &[], &component).await?;
        if !(200..=201).contains(&pushed.status) {
            return Ok(pushed);
        }
        let body = json!({"digest": pushed.text("digest"), "wait": true});
        admin.ask("POST", "/admin/v1/plugins/hello/swap", &[], Some(&body)).await
    })
}

/// What the system says of a process: its state, and who started it.
pub(crate) fn stat(id: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind the name, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn compiles(id: u32) -> bool {
    let line = std::fs::read(Path::new("/proc").join(id.to_string()).join("cmdline"));
    String::from_utf8_lossy(&line.unwrap_or_default()).contains("compile-component")
}

/// The process with which a node compiles, as soon as there is one.
async fn compiler(node: &Carillon) -> u32 {
    eventually("a compiler", async || {
        let all = std::fs::read_dir("/proc").map_err(|error| error.to_string())?;
        let ids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut ours = ids.filter(|id| stat(*id).is_some_and(|(_, parent)| parent == node.id()));
        ours.find(|id| compiles(*id)).ok_or_else(|| format!("none of {}", node.id()))
    })
    .await
}

/// Waits until a process is no more, but for its name.
async fn ended(id: u32) {
    eventually("the compiler of a dead node to end", async || match stat(id) {
        Some((state, _)) if state != 'Z' && compiles(id) => Err(format!("{id} is {state}")),
        _ => Ok(()),
    })
    .await;
}

async fn admin(three: &Three, index: usize) -> Http {
    Http::new(&three.node(index).operators().await)
}

async fn live(three: &Three, index: usize) -> String {
    let live = admin(three, index).await.live().await;
    live.into_iter().map(|(_, version, _)| version).collect()
}

/// Three compilers keep a small machine so busy that the registry may be missed meanwhile, and then the answer says that
/// asking once more is right.
async fn asks_again(admin: &Http, new: &str) -> Value {
    eventually("a version to be live after all", async || {
        let told = swap(admin, new).await.map_err(|error| error.to_string())??;
        match told.status {
            503 if told.body["retryable"] == true => Err(told.body.to_string()),
            _ => Ok(told.expect(200)),
        }
    })
    .await
}

async fn becomes_live(three: &Three, nodes: &[usize], wanted: &str) {
    for &index in nodes {
        eventually("a version to be live", async || {
            let version = live(three, index).await;
            if version == wanted { Ok(()) } else { Err((index, version)) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_compiles_leaves_nothing_behind_and_one_version_live() {
    let Some(mut three) = Three::start().await else { return };
    admin(&three, 0).await.swap_in("hello", &version(&Guest::default(), "1.0")).await;
    let token = three.http(0).create().await;
    let stamp = |sent: &Value| sent["stamps"][0]["version"].clone();

    // Another node than the one that was asked: the swap goes on without it.
    let swapping = swap(&admin(&three, 0).await, "2.0");
    let child = compiler(three.node(2)).await;
    three.take(2).kill().await;
    ended(child).await;
    let told = swapping.await.unwrap_or_else(|error| panic!("{error}"));
    let told = told.unwrap_or_else(|error| panic!("{error}"));
    let told = match told.status {
        503 if told.body["retryable"] == true => asks_again(&admin(&three, 0).await, "2.0").await,
        _ => told.expect(200),
    };
    // How many took part is not asked: three compilers keep a small machine so busy that the registry may miss one more.
    assert_eq!(told["version"], "2.0", "{told}");
    becomes_live(&three, &[0, 1], "2.0").await;
    let sent = three.http(1).send_surely(&token, "alice", "k1", "without one").await;
    assert_eq!(stamp(&sent), "2.0", "{sent}");
    three.restart(2).await;
    assert_eq!(live(&three, 2).await, "2.0", "before it serves");

    // The one that was asked: nothing is changed.
    let swapping = swap(&admin(&three, 0).await, "3.0");
    let child = compiler(three.node(0)).await;
    three.take(0).kill().await;
    ended(child).await;
    let told = swapping.await.unwrap_or_else(|error| panic!("{error}"));
    assert!(told.is_err(), "{told:?}");
    for index in [1, 2] {
        assert_eq!(live(&three, index).await, "2.0");
    }
    let sent = three.http(2).send_surely(&token, "alice", "k2", "as before").await;
    assert_eq!(stamp(&sent), "2.0", "{sent}");
    three.restart(0).await;
    assert_eq!(live(&three, 0).await, "2.0");
    // And nothing stands in the way of asking again.
    let again = asks_again(&admin(&three, 0).await, "3.0").await;
    assert_eq!(again["version"], "3.0", "{again}");
    becomes_live(&three, &[0, 1, 2], "3.0").await;
}
