//! `carillon plugin rollback`: the version before becomes live again.

use clap::Args;
use serde_json::json;

use super::{Common, swap};
use crate::cli::Problem;
use crate::cli::admin::Admin;

/// Makes the version before the live one live again, as a new generation, on every node.
///
/// It is still compiled, so nothing is waited for. A plugin that has no version before is removed.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin rollback moderation --admin http://127.0.0.1:7181"
)]
pub(super) struct Rollback {
    /// The plugin
    name: String,
    /// Waits until it is live on every node
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    common: Common,
}

impl Rollback {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let path = format!("/admin/v1/plugins/{}/rollback", self.name);
        let changed = admin.change(&path, &json!({"wait": self.wait})).await?;
        swap::told(&changed, &self.name, self.wait, self.common.json)
    }
}
