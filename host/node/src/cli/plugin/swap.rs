//! `carillon plugin swap`: another version becomes live on every node, or on none.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, push};
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// How often it is looked how far the nodes are.
const LOOK: Duration = Duration::from_millis(100);

/// The steps of a node, in their order.
const STEPS: [&str; 6] = ["fetched", "verified", "compiled", "linked", "check-config", "self-test"];

/// Makes a component the live version of a plugin, on every node, between two messages.
///
/// Every registered node prepares it first; if one cannot, nothing is changed. Chats that have met it are
/// not handled by an earlier version again, whoever leads them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin swap moderation moderation.wasm --wait\n  carillon plugin \
                        swap moderation 8b1a…64 digits… --admin http://127.0.0.1:7181"
)]
pub(super) struct Swap {
    /// The plugin
    name: String,
    /// The component's file, or the digest of one that was pushed
    version: String,
    /// Prints each step, and waits until it is live on every node
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

impl Swap {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let is_digest =
            self.version.len() == 64 && self.version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest = match is_digest && !Path::new(&self.version).exists() {
            true => self.version.to_ascii_lowercase(),
            false => push::push(&admin, &self.name, Path::new(&self.version), None).await?,
        };
        let body = json!({"digest": digest, "wait": self.wait});
        let path = format!("/admin/v1/plugins/{}/swap", self.name);
        let shows = self.wait && !self.common.json;
        let swapped = follow(&admin, &path, &body, shows).await?;
        told(&swapped, &self.name, self.wait, self.common.json)
    }
}

/// Asks for a change and prints, if wanted, each step when every node has done it.
async fn follow(admin: &Admin, path: &str, body: &Value, shows: bool) -> Result<Value, Problem> {
    let mut steps = Steps::default();
    let mut changing = std::pin::pin!(admin.change(path, body));
    loop {
        if let Ok(changed) = runtime::timeout(LOOK, changing.as_mut()).await {
            let last = admin.get::<Value>(path).await;
            if shows && let Ok(progress) = last {
                steps.show(&progress)?;
            }
            return changed;
        }
        if shows && let Ok(progress) = admin.get::<Value>(path).await {
            steps.show(&progress)?;
        }
    }
}

/// What a change came to.
pub(super) fn told(
    changed: &Value,
    name: &str,
    waited: bool,
    as_json: bool,
) -> Result<(), Problem> {
    let (live, nodes) = (changed["live"].as_u64(), changed["nodes"].as_u64());
    let generation = &changed["generation"];
    if as_json {
        output::line(changed)?;
    } else {
        let version = changed["version"].as_str().unwrap_or("removed");
        let of = format!("{}/{} nodes", live.unwrap_or_default(), nodes.unwrap_or_default());
        output::line(format_args!("live: {of} on generation {generation}: {name} {version}"))?;
    }
    if waited && live < nodes {
        let what =
            format!("generation {generation} is live in the cluster, and not on every node yet");
        return Err(Problem::partly(what, "See carillon plugin ls and the log of each node"));
    }
    Ok(())
}

/// The steps that were printed.
#[derive(Debug, Default)]
struct Steps {
    shown: usize,
}

impl Steps {
    fn show(&mut self, progress: &Value) -> Result<(), Problem> {
        let nodes = progress["nodes"].as_array().cloned().unwrap_or_default();
        let did = |node: &Value, step: &str| {
            node["done"].as_array().into_iter().flatten().any(|done| done == step)
        };
        while let Some(step) = STEPS.get(self.shown) {
            let done = nodes.iter().filter(|node| did(node, step)).count();
            if nodes.is_empty() || done < nodes.len() {
                break;
            }
            output::line(format_args!("{step}: {done}/{} nodes", nodes.len()))?;
            self.shown += 1;
        }
        Ok(())
    }
}
