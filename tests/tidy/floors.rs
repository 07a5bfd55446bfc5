//! Which crate may use which, and where each heavy dependency lives.
//!
//! Cargo lets any crate depend on any other; this table is what makes the folder list an architecture.
//! To change it, change the drawing in ARCHITECTURE.md in the same commit and say why.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{none, root};

/// A crate and those of ours it may use.
const FLOORS: [(&str, &[&str]); 26] = [
    ("hashring", &[]),
    ("model", &[]),
    ("wire", &["hashring", "model"]),
    ("runtime", &[]),
    ("db", &["runtime"]),
    ("segment", &["runtime", "db", "hashring"]),
    ("registry", &["runtime", "hashring"]),
    ("plugin", &["runtime", "model"]),
    ("transaction", &["runtime", "db", "model"]),
    ("replication", &["runtime", "hashring", "wire", "model", "segment", "registry"]),
    ("rollout", &["plugin", "registry", "replication", "hashring", "runtime"]),
    ("chat", &["replication", "plugin", "segment", "model", "hashring", "runtime"]),
    ("archive", &["replication", "segment", "model", "hashring", "runtime"]),
    (
        "outbox",
        &["transaction", "replication", "registry", "segment", "model", "hashring", "runtime"],
    ),
    ("api", &["archive", "chat", "model", "hashring", "runtime"]),
    ("client", &["model", "hashring", "runtime"]),
    ("guest", &[]),
    (
        "workbench",
        &["guest", "plugin", "chat", "replication", "segment", "model", "hashring", "runtime"],
    ),
    (
        "node",
        &[
            "api",
            "archive",
            "chat",
            "client",
            "db",
            "guest",
            "hashring",
            "model",
            "outbox",
            "plugin",
            "registry",
            "replication",
            "rollout",
            "runtime",
            "segment",
            "transaction",
            "wire",
            "workbench",
        ],
    ),
    (
        "tests",
        &[
            "api",
            "archive",
            "chat",
            "client",
            "db",
            "guest",
            "hashring",
            "model",
            "node",
            "outbox",
            "plugin",
            "registry",
            "replication",
            "rollout",
            "runtime",
            "segment",
            "wire",
            "workbench",
        ],
    ),
    ("plugin-status", &[]),
    ("plugin-moderation", &[]),
    ("plugin-voice", &[]),
    ("plugin-sms", &[]),
    ("plugin-archive", &[]),
    ("plugin-meeting", &[]),
];

/// A heavy dependency and its home. Two homes need a reason.
const HOMES: [(&str, &[&str]); 27] = [
    ("wasmtime", &["plugin"]),
    ("wasmtime-wasi", &["plugin"]),
    ("wit-bindgen-c", &["guest"]),
    ("wit-bindgen-go", &["guest"]),
    ("wit-component", &["guest"]),
    ("wasi-preview1-component-adapter-provider", &["guest"]),
    ("toml_edit", &["workbench"]),
    ("rusqlite", &["db"]),
    ("quinn", &["replication"]),
    // Between nodes, and to services outside.
    ("rustls", &["replication", "transaction"]),
    ("tokio-rustls", &["transaction"]),
    ("webpki-roots", &["transaction"]),
    ("rcgen", &["replication"]),
    // Beside TLS, which brings it: signatures of components.
    ("aws-lc-rs", &["rollout"]),
    ("zookeeper-client", &["registry"]),
    ("jsonwebtoken", &["api"]),
    // What Twilio signs with, and over.
    // And webhooks.
    ("hmac", &["api", "transaction"]),
    ("form_urlencoded", &["api"]),
    ("axum", &["api"]),
    ("utoipa", &["api"]),
    // In, and out.
    ("hyper", &["api", "transaction"]),
    ("hyper-util", &["api", "transaction"]),
    ("clap", &["node"]),
    ("tracing-subscriber", &["node"]),
    // The node's configuration, the plugins' manifests and the fixtures of their authors.
    ("toml", &["node", "plugin", "workbench"]),
    ("anyhow", &["node"]),
    ("mimalloc", &["node"]),
];

/// Crates that wait for nothing and touch nothing: these may not even be able to.
const PURE: [&str; 3] = ["hashring", "model", "wire"];
const IMPURE: [&str; 8] =
    ["tokio", "tokio-util", "rustix", "rand", "getrandom", "quinn", "hyper", "tracing"];

/// The dependencies of every member, not counting those of its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_unset| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("there are packages");
    packages
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().into_iter().flatten();
            let uses = uses.filter(|used| used["kind"].is_null()).map(|used| text(&used["name"]));
            (text(&package["name"]), uses.collect())
        })
        .collect()
}

#[test]
fn a_crate_uses_only_what_its_floor_allows() {
    let members = dependencies();
    let ours: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    let floors: BTreeMap<_, _> = FLOORS.into_iter().collect();
    let mut findings = Vec::new();
    for (member, uses) in &members {
        let Some(allowed) = floors.get(member.as_str()) else {
            findings.push(format!("{member} is on no floor: add it to the table"));
            continue;
        };
        for used in uses.iter().filter(|used| ours.contains(used.as_str())) {
            if !allowed.contains(&used.as_str()) {
                findings.push(format!("{member} uses {used}"));
            }
        }
    }
    none("the floors", &findings);
}

#[test]
fn a_heavy_dependency_has_one_home() {
    let members = dependencies();
    let mut findings = Vec::new();
    for (heavy, homes) in HOMES {
        for (member, uses) in &members {
            let at_home = homes.contains(&member.as_str()) || member == "tests";
            if uses.contains(heavy) && !at_home {
                findings.push(format!("{member} uses {heavy}, whose home is {}", homes.join(", ")));
            }
        }
    }
    none("one home for each heavy dependency", &findings);
}

#[test]
fn pure_crates_cannot_wait_and_draw_no_dice() {
    let members = dependencies();
    let mut findings = Vec::new();
    for pure in PURE {
        let uses = members.get(pure).expect("a pure crate is a member");
        let impure = IMPURE.iter().filter(|impure| uses.contains(**impure));
        findings.extend(impure.map(|impure| format!("{pure} uses {impure}")));
    }
    none("pure crates", &findings);
}
