//! `carillon plugin ls`: which plugins are live.

use clap::Args;
use serde_json::Value;

use super::{Common, table};
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// Prints the live plugins: version, generation, calls, whether each is called at all (BREAKER: closed, open or
/// probing, on this node), and what they can be rolled back to.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin ls --admin http://127.0.0.1:7181")]
pub(super) struct Ls {
    #[command(flatten)]
    common: Common,
}

impl Ls {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let told: Value = admin.get("/admin/v1/plugins").await?;
        if self.common.json {
            return output::line(told).map(drop);
        }
        let plugins = told.get("plugins").and_then(Value::as_array).cloned().unwrap_or_default();
        if plugins.is_empty() {
            return output::line("no plugin is live").map(drop);
        }
        let titles = [
            "NAME",
            "VERSION",
            "GENERATION",
            "STATE",
            "CALLS",
            "FAILED",
            "BREAKER",
            "BEFORE",
            "DIGEST",
        ];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(plugins.iter().map(row));
        output::line(table(&rows)).map(drop)
    }
}

fn row(plugin: &Value) -> Vec<String> {
    let text = |field: &str| plugin[field].as_str().unwrap_or_default().to_owned();
    let past = plugin["past"].as_array().into_iter().flatten();
    let past: Vec<&str> = past.filter_map(|past| past["version"].as_str()).collect();
    vec![
        text("name"),
        text("version"),
        plugin["generation"].to_string(),
        // Its guard rolled back to it, and does nothing more by itself.
        if plugin["held"] == true { "held".to_owned() } else { text("state") },
        plugin["calls"].to_string(),
        plugin["failures"].to_string(),
        text("breaker"),
        if past.is_empty() { "-".to_owned() } else { past.join(" ") },
        text("digest").chars().take(12).collect(),
    ]
}
