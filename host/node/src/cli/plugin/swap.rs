//! `carillon plugin swap`: another version becomes live on every node, or on none.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, comparison, push};
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// How often it is looked how far the nodes are.
const LOOK: Duration = Duration::from_millis(100);

/// How often it is told how far a trial is, in seconds.
const TRIAL_EVERY_S: u64 = 10;

/// The steps of a node, in their order.
const STEPS: [&str; 6] = ["fetched", "verified", "compiled", "linked", "check-config", "self-test"];

/// Makes a component the live version of a plugin, on every node, between two messages.
///
/// Every registered node prepares it first; if one cannot, nothing is changed. Chats that have met it are
/// not handled by an earlier version again, whoever leads them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin swap moderation moderation.wasm --wait\n  carillon plugin \
                        swap moderation 8b1a…64 digits… --admin http://127.0.0.1:7181\n  carillon plugin swap \
                        moderation moderation.wasm --shadow 1h --max-diff 0.5%"
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
    trial: Trial,
    #[command(flatten)]
    common: Common,
}

/// What is asked of the version first.
#[derive(Debug, Args)]
struct Trial {
    /// Lets it run beside the live version first, on every node's messages, with its effects thrown away; it
    /// becomes live only if it decides the same. For 10m, if no other duration is written
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "10m", value_parser = duration)]
    shadow: Option<Duration>,
    /// How many percent of the calls may be decided otherwise
    #[arg(long, requires = "shadow", value_name = "PERCENT", default_value = "0", value_parser = ppm)]
    max_diff: u32,
    /// How many percent of the calls are looked at
    #[arg(long, requires = "shadow", value_name = "PERCENT", default_value = "100", value_parser = ppm)]
    sample: u32,
    /// How many calls must have been compared
    #[arg(long, requires = "shadow", value_name = "COUNT", default_value_t = 20)]
    calls: u64,
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
        let Trial { shadow, max_diff, sample, calls } = self.trial;
        let wanted = |span: Duration| {
            let for_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            json!({
                "for_ms": for_ms, "max_diff_ppm": max_diff, "sample_ppm": sample, "calls": calls,
            })
        };
        let body = json!({"digest": digest, "wait": self.wait, "shadow": shadow.map(wanted)});
        let path = format!("/admin/v1/plugins/{}/swap", self.name);
        let shows = self.wait && !self.common.json;
        let within = shadow.unwrap_or_default();
        let swapped = follow(&admin, &path, &body, within, shows).await;
        if shadow.is_some() && !self.common.json {
            let last: Value = admin.get(&path).await.unwrap_or_default();
            comparison::show(last.get("shadow"))?;
        }
        told(&swapped?, &self.name, self.wait, self.common.json)
    }
}

/// `10m`, `90s`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write a duration like 90s, 10m or 1h".to_owned()),
    };
    let count = digits.parse::<u64>().ok().filter(|count| *count > 0);
    let seconds = count.and_then(|count| count.checked_mul(unit));
    seconds.map(Duration::from_secs).ok_or_else(|| "write a duration like 10m".to_owned())
}

/// `0.5` or `0.5%`, of a million.
fn ppm(text: &str) -> Result<u32, String> {
    let wrong = || "write 0 to 100 with at most four digits behind the point, like 0.5%".to_owned();
    let text = text.strip_suffix('%').unwrap_or(text);
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 3 || rest.len() > 4 || !digits(whole) || !digits(rest) {
        return Err(wrong());
    }
    let number = |text: &str| text.parse::<u32>().map_err(|_none| wrong());
    let ppm = number(whole)? * 10_000 + number(&format!("{rest:0<4}"))?;
    if ppm <= 1_000_000 { Ok(ppm) } else { Err(wrong()) }
}

/// Asks for a change and prints, if wanted, each step when every node has done it.
async fn follow(
    admin: &Admin,
    path: &str,
    body: &Value,
    within: Duration,
    shows: bool,
) -> Result<Value, Problem> {
    let mut steps = Steps::default();
    let mut changing = std::pin::pin!(admin.change_within(path, body, within));
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
    /// Seconds that were left of the trial when it was told last.
    told: Option<u64>,
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
        self.trial(progress)
    }

    /// How far the trial is, every few seconds.
    fn trial(&mut self, progress: &Value) -> Result<(), Problem> {
        let trial = &progress["shadow"];
        let Some(left) = trial["left_ms"].as_u64().map(|left_ms| left_ms / 1000) else {
            return Ok(());
        };
        if progress["state"] != "shadow"
            || self.told.is_some_and(|told| told < left + TRIAL_EVERY_S)
        {
            return Ok(());
        }
        self.told = Some(left);
        output::line(comparison::line(trial, left)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, ppm};

    #[test]
    fn shares_and_durations_are_read_as_people_write_them() {
        assert_eq!((ppm("0.5%"), ppm("100"), ppm("0")), (Ok(5_000), Ok(1_000_000), Ok(0)));
        for wrong in ["", "101", "-1", "0.00001", "1e3", "%", "100.0001"] {
            assert!(ppm(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "10", "0s", "1d", "s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
