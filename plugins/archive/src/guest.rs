//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::settings;
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::persistence_policy::{
    self, Context, Failure, Stats,
};
use crate::{Plan, Rules, check, plan};

/// What the component exports.
pub(crate) struct Archive;

impl lifecycle::Guest for Archive {
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        check(&config)
            .into_iter()
            .map(|(path, detail)| lifecycle::Problem { path, detail })
            .collect()
    }
}

impl persistence_policy::Guest for Archive {
    fn plan_for(
        _: Context,
        moment: String,
        stats: Stats,
    ) -> Result<persistence_policy::Plan, Failure> {
        let Plan { archives, keep_ms, drop_kinds } =
            plan(&Rules::read(&settings::all()), &moment, stats.messages);
        let durability = if archives { "archive" } else { "quorum" }.to_owned();
        Ok(persistence_policy::Plan {
            durability,
            keep_ms,
            drop_kinds,
            archive_now: archives,
            options: Vec::new(),
        })
    }
}
