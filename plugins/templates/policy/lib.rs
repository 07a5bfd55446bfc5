//! What was said is archived when the chat ends.

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

use carillon::plugin::settings;
use exports::carillon::plugin::lifecycle::{self, Problem};
use exports::carillon::plugin::persistence_policy::{self, Context, Failure, Plan, Stats};

const HOUR_MS: u64 = 3_600_000;

struct Plugin;

export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn check_config(_config: String) -> Vec<Problem> {
        let detail = "missing or no number: write keep_days = 30".into();
        let problem = Problem { path: "keep_days".into(), detail };
        if keep_days().is_some() { vec![] } else { vec![problem] }
    }
}

/// How long a chat is kept after it has ended.
fn keep_days() -> Option<u64> {
    settings::one("keep_days")?.parse().ok()
}

impl persistence_policy::Guest for Plugin {
    /// The node's own rules win where they are stronger.
    fn plan_for(_: Context, moment: String, stats: Stats) -> Result<Plan, Failure> {
        let usual = Plan {
            durability: "quorum".into(),
            keep_ms: None,
            drop_kinds: vec![],
            archive_now: false,
            options: vec![],
        };
        Ok(match moment.as_str() {
            "ended" if stats.messages > 0 => Plan {
                durability: "archive".into(),
                keep_ms: keep_days().map(|days| days.saturating_mul(24 * HOUR_MS)),
                drop_kinds: vec!["typing".into()],
                archive_now: true,
                ..usual
            },
            "ended" => Plan { keep_ms: Some(HOUR_MS), ..usual },
            _ => usual,
        })
    }
}
