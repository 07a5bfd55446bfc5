//! `carillon plugin chain`: who is asked about a message, in which order.

use clap::Args;
use serde_json::Value;

use super::{Common, table};
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// Prints the handlers of a message in their order.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin chain --admin http://127.0.0.1:7181")]
pub(super) struct Chain {
    #[command(flatten)]
    common: Common,
}

impl Chain {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let told: Value = admin.get("/admin/v1/chain").await?;
        if self.common.json {
            return output::line(told).map(drop);
        }
        let titles = ["", "PLUGIN", "VERSION", "GENERATION", "ON FAILURE"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        let links = told.get("message").and_then(Value::as_array).into_iter().flatten();
        rows.extend(links.enumerate().map(|(at, link)| {
            let text = |field: &str| link[field].as_str().unwrap_or_default().to_owned();
            let generation = link["generation"].to_string();
            vec![
                (at + 1).to_string(),
                text("plugin"),
                text("version"),
                generation,
                text("on_failure"),
            ]
        }));
        let mut lines =
            vec![format!("generation {}", told.get("generation").unwrap_or(&Value::Null))];
        match rows.len() {
            1 => lines.push("no handler: every message passes".to_owned()),
            _ => lines.push(table(&rows)),
        }
        if let Some(behind) = told.get("behind").and_then(Value::as_str) {
            lines.push(format!("this node does not have what is live in its cluster: {behind}"));
        }
        output::line(lines.join("\n")).map(drop)
    }
}
