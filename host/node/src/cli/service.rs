//! `carillon service`: how application services do, and what an operator can have done with them.
//!
//! A node knows of the partitions that it leads, and its own state of each service: name all nodes to see
//! everything, and to have it done everywhere.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin::Admin;
use super::plugin::{table, time_of_day};
use super::{Problem, output};

/// Shows how application services do, and has things done with them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service ls --admin \
                  http://127.0.0.1:7181,http://127.0.0.1:7182,http://127.0.0.1:7183")]
pub(super) struct ServiceCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Show(Named),
    Wake(Wake),
    Pause(Pause),
    Resume(Resume),
    Attempts(Attempts),
    Dlq(Dlq),
    Replay(Replay),
}

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
struct Common {
    /// Where nodes answer operators, with commas
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:7181")]
    admin: Vec<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Prints every service in one line: state, since when, when it is tried again, what it is owed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service ls --admin http://127.0.0.1:7181")]
struct Ls {
    #[command(flatten)]
    common: Common,
}

/// Prints a service as each node sees it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service show crm")]
struct Named {
    /// The service
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Says that a service is there: everything is tried at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service wake crm")]
struct Wake {
    #[command(flatten)]
    named: Plain,
}

/// Sends a service nothing until it is resumed; its events wait.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service pause crm")]
struct Pause {
    #[command(flatten)]
    named: Plain,
}

/// Lets a service that was stopped go on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service resume crm")]
struct Resume {
    #[command(flatten)]
    named: Plain,
}

#[derive(Debug, Args)]
struct Plain {
    /// The service
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Prints the last attempts, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service attempts crm")]
struct Attempts {
    #[command(flatten)]
    named: Plain,
}

/// Prints the events that were put aside, because the service does not take them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service dlq crm")]
struct Dlq {
    #[command(flatten)]
    named: Plain,
}

/// Sends again what was put aside.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service replay crm\n  carillon service replay crm \
                  --event 00000000000000000000000000000000")]
struct Replay {
    #[command(flatten)]
    named: Plain,
    /// Only these messages, by their ids
    #[arg(long)]
    event: Vec<String>,
}

impl ServiceCommand {
    pub(super) fn run(self) -> Result<(), Problem> {
        super::small_runtime()?.block_on(async {
            match self.command {
                Command::Ls(ls) => ls.run().await,
                Command::Show(named) => named.run().await,
                Command::Wake(it) => it.named.has_done("wake").await,
                Command::Pause(it) => it.named.has_done("pause").await,
                Command::Resume(it) => it.named.has_done("resume").await,
                Command::Attempts(it) => it.named.attempts().await,
                Command::Dlq(it) => it.named.dead_letters().await,
                Command::Replay(it) => it.run().await,
            }
        })
    }
}

/// What those said who answered, each with its address; and who did not.
struct Asked {
    told: Vec<(String, Value)>,
    silent: Vec<Problem>,
}

impl Common {
    /// Asks every node; `body`: has something done.
    async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Asked, Problem> {
        let mut asked = Asked { told: Vec::new(), silent: Vec::new() };
        for url in &self.admin {
            let admin = Admin::new(url)?;
            let told = match body {
                Some(body) => admin.post(path, body).await,
                None => admin.get(path).await,
            };
            match told {
                Ok(told) => asked.told.push((admin.url(), told)),
                Err(problem) => asked.silent.push(problem),
            }
        }
        if asked.told.is_empty() {
            return Err(asked.silent.into_iter().next().unwrap_or_else(|| {
                Problem::usage("no node was named", "Write --admin http://127.0.0.1:7181")
            }));
        }
        Ok(asked)
    }
}

impl Asked {
    /// All that stands below `field`, of all nodes.
    fn all(&self, field: &str) -> Vec<Value> {
        let lists = self.told.iter().filter_map(|(_, told)| told.get(field)?.as_array().cloned());
        lists.flatten().collect()
    }

    /// Prints; and says who was not heard.
    fn end(self, text: String) -> Result<(), Problem> {
        output::line(text)?;
        match self.silent.into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(Problem::partly(problem.what, problem.fix)),
        }
    }
}

impl Ls {
    async fn run(self) -> Result<(), Problem> {
        let asked = self.common.ask("/admin/v1/services", None).await?;
        let services = merged(&asked.all("services"));
        if self.common.json {
            return asked.end(json!({ "services": services }).to_string());
        }
        if services.is_empty() {
            return asked.end("no service is configured".to_owned());
        }
        let titles = ["NAME", "STATE", "FOR", "NEXT", "OWED", "TAKEN", "ASIDE", "URL"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(services.iter().map(row));
        asked.end(table(&rows))
    }
}

/// One line a service: the worst state, the longest time in it, and sums.
fn merged(services: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for service in services {
        let known = merged.iter_mut().find(|known| known["name"] == service["name"]);
        let Some(known) = known else {
            merged.push(service.clone());
            continue;
        };
        for field in ["pending", "done", "parked", "in_flight", "partitions"] {
            let sum = known[field].as_u64().unwrap_or(0) + service[field].as_u64().unwrap_or(0);
            known[field] = sum.into();
        }
        let rank = |value: &Value| (worse(value), value["for_ms"].as_u64().unwrap_or(0));
        if rank(service) > rank(known) {
            for field in ["state", "cause", "for_ms", "next_ms"] {
                known[field] = service[field].clone();
            }
        }
    }
    merged
}

fn worse(service: &Value) -> u8 {
    match service["state"].as_str() {
        Some("stopped") => 3,
        Some("down") => 2,
        Some("recovering") => 1,
        _ => 0,
    }
}

fn row(service: &Value) -> Vec<String> {
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let state = match service["cause"].as_str() {
        Some(cause) => format!("{} ({cause})", text("state")),
        None => text("state"),
    };
    let span = |field: &str| service[field].as_u64().map_or_else(|| "-".to_owned(), span);
    vec![
        text("name"),
        state,
        span("for_ms"),
        span("next_ms"),
        service["pending"].to_string(),
        service["done"].to_string(),
        service["parked"].to_string(),
        text("url"),
    ]
}

/// `3m`, `12s`, `40ms`.
fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

impl Named {
    async fn run(self) -> Result<(), Problem> {
        let asked = self.common.ask("/admin/v1/services", None).await?;
        let mut nodes = Vec::new();
        for (url, told) in &asked.told {
            let services = told.get("services").and_then(Value::as_array).into_iter().flatten();
            let found = services.filter(|service| service["name"] == self.name.as_str());
            nodes.extend(found.map(|service| (url.clone(), service.clone())));
        }
        if nodes.is_empty() {
            let what = format!("no node that was asked has a service {:?}", self.name);
            return Err(Problem::failed(what, "See carillon service ls"));
        }
        if self.common.json {
            let nodes: Vec<Value> = nodes
                .into_iter()
                .map(|(admin, it)| json!({"admin": admin, "service": it}))
                .collect();
            return asked.end(json!({ "nodes": nodes }).to_string());
        }
        let titles = ["NODE", "NAME", "STATE", "FOR", "NEXT", "OWED", "TAKEN", "ASIDE", "URL"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(nodes.iter().map(|(url, service)| {
            let mut cells = vec![url.clone()];
            cells.extend(row(service));
            cells
        }));
        asked.end(table(&rows))
    }
}

impl Plain {
    fn path(&self, verb: &str) -> String {
        format!("/admin/v1/services/{}/{verb}", self.name)
    }

    async fn has_done(self, verb: &str) -> Result<(), Problem> {
        let asked = self.common.ask(&self.path(verb), Some(&json!({}))).await?;
        let services: Vec<Value> = asked.told.iter().map(|(_, told)| told.clone()).collect();
        let services = merged(&services);
        let text = match services.first() {
            Some(service) if !self.common.json => {
                format!("{} is {}", self.name, service["state"].as_str().unwrap_or_default())
            }
            _ => json!({ "services": services }).to_string(),
        };
        asked.end(text)
    }

    async fn attempts(self) -> Result<(), Problem> {
        let asked = self.common.ask(&self.path("attempts"), None).await?;
        let mut attempts = asked.all("attempts");
        attempts.sort_by_key(|attempt| std::cmp::Reverse(attempt["at_ms"].as_u64()));
        if self.common.json {
            return asked.end(json!({ "attempts": attempts }).to_string());
        }
        let titles = ["AT", "TRANSACTION", "EVENTS", "OUTCOME", "STATUS", "MS", "WHY"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(attempts.iter().map(|attempt| {
            let text = |field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
            vec![
                time_of_day(attempt["at_ms"].as_u64().unwrap_or(0)),
                text("transaction"),
                attempt["events"].to_string(),
                text("outcome"),
                attempt["status"].as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string()),
                attempt["ms"].to_string(),
                text("error"),
            ]
        }));
        asked.end(table(&rows))
    }

    async fn dead_letters(self) -> Result<(), Problem> {
        let asked = self.common.ask(&self.path("dlq"), None).await?;
        let entries = asked.all("entries");
        if self.common.json {
            return asked.end(json!({ "entries": entries }).to_string());
        }
        if entries.is_empty() {
            return asked.end("nothing was put aside".to_owned());
        }
        let titles = ["EVENT", "CHAT", "STATUS", "TRANSACTION"];
        let mut rows = vec![titles.map(str::to_owned).to_vec()];
        rows.extend(entries.iter().map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
            let status =
                entry["status"].as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
            vec![text("event"), text("chat"), status, text("transaction")]
        }));
        asked.end(table(&rows))
    }
}

impl Replay {
    async fn run(self) -> Result<(), Problem> {
        let body = if self.event.is_empty() { json!({}) } else { json!({ "events": self.event }) };
        let asked = self.named.common.ask(&self.named.path("replay"), Some(&body)).await?;
        let count: u64 = asked.told.iter().filter_map(|(_, told)| told["replayed"].as_u64()).sum();
        let text = match self.named.common.json {
            true => json!({ "replayed": count }).to_string(),
            false => format!("{count} events go again"),
        };
        asked.end(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{merged, span};

    #[test]
    fn one_line_has_the_worst_state_and_the_sums() {
        let service = |state: &str, for_ms: u64, pending: u64| json!({"name": "crm", "state": state, "for_ms": for_ms, "pending": pending});
        let lines = merged(&[
            service("up", 900, 1),
            service("down", 20, 5),
            service("down", 30, 0),
            json!({"name": "other", "state": "up"}),
        ]);
        assert_eq!(lines.len(), 2);
        let line = &lines[0];
        assert_eq!((&line["state"], &line["for_ms"]), (&json!("down"), &json!(30)));
        assert_eq!(line["pending"], 6);
    }

    #[test]
    fn spans_are_short() {
        let spans = [999, 119_000, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(spans, ["999ms", "119s", "2m", "2h", "2d"]);
    }
}
