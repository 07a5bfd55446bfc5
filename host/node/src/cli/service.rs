//! `carillon service`: how application services do, and what an operator can have done with them.
//!
//! Whichever node is asked asks all the others, and has it done by them too.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin::Admin;
use super::plugin::{table, time_of_day};
use super::{Problem, output};

/// Shows how application services do, and has things done with them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service ls --admin http://127.0.0.1:7181")]
pub(super) struct ServiceCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Show(Show),
    Wake(Wake),
    Pause(Pause),
    Resume(Resume),
    Forget(Forget),
    Attempts(Attempts),
    Dlq(Dlq),
    Replay(Replay),
    Test(Test),
}

/// Whom to ask, and how to print.
#[derive(Debug, Args)]
struct Common {
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
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

/// A service, at a node.
#[derive(Debug, Args)]
struct Named {
    /// The service
    name: String,
    #[command(flatten)]
    common: Common,
}

/// Prints a service as each node sees it, the worst first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service show crm")]
struct Show {
    #[command(flatten)]
    named: Named,
}

/// Asks a service whether it is there, from one node; nothing follows from it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service test crm")]
struct Test {
    #[command(flatten)]
    named: Named,
}

/// Says that a service is there: everything is tried at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service wake crm")]
struct Wake {
    #[command(flatten)]
    named: Named,
}

/// Sends a service nothing until it is resumed; its events wait.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service pause crm")]
struct Pause {
    #[command(flatten)]
    named: Named,
}

/// Lets a service that was stopped go on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service resume crm")]
struct Resume {
    #[command(flatten)]
    named: Named,
}

/// Gives up what a service is owed. Take it out of the files of all nodes first; events that wait for it are lost.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service forget crm")]
struct Forget {
    #[command(flatten)]
    named: Named,
}

/// Prints the last attempts, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service attempts crm")]
struct Attempts {
    #[command(flatten)]
    named: Named,
}

/// Prints the events that were put aside, because the service does not take them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service dlq crm")]
struct Dlq {
    #[command(flatten)]
    named: Named,
}

/// Sends again what was put aside.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon service replay crm\n  carillon service replay crm \
                  --event 00000000000000000000000000000000")]
struct Replay {
    #[command(flatten)]
    named: Named,
    /// Only these messages, by their ids
    #[arg(long)]
    event: Vec<String>,
}

impl ServiceCommand {
    pub(super) fn run(self) -> Result<(), Problem> {
        super::small_runtime()?.block_on(async {
            match self.command {
                Command::Ls(ls) => ls.run().await,
                Command::Show(show) => show.run().await,
                Command::Wake(it) => it.named.has_done("wake").await,
                Command::Pause(it) => it.named.has_done("pause").await,
                Command::Resume(it) => it.named.has_done("resume").await,
                Command::Forget(it) => it.named.forget().await,
                Command::Attempts(it) => it.named.attempts().await,
                Command::Dlq(it) => it.named.dead_letters().await,
                Command::Replay(it) => it.run().await,
                Command::Test(it) => it.named.test().await,
            }
        })
    }
}

impl Common {
    async fn get(&self, path: &str) -> Result<Value, Problem> {
        Admin::new(&self.admin)?.get(path).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        Admin::new(&self.admin)?.change(path, body).await
    }

    /// Prints what was told as it is, or for people.
    fn print(&self, told: &Value, text: impl FnOnce() -> String) -> Result<(), Problem> {
        output::line(if self.json { told.to_string() } else { text() }).map(drop)
    }
}

/// What stands below `field`, a list.
fn list<'a>(told: &'a Value, field: &str) -> &'a [Value] {
    told.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Nodes that were not heard make what was told a part.
fn whole(told: &Value) -> Result<(), Problem> {
    let silent: Vec<&str> = list(told, "silent").iter().filter_map(Value::as_str).collect();
    if silent.is_empty() {
        return Ok(());
    }
    let what = format!("not heard: {}", silent.join(", "));
    Err(Problem::partly(what, "Ask again when they are back; what they know is not in it"))
}

impl Ls {
    async fn run(self) -> Result<(), Problem> {
        let told = self.common.get("/admin/v1/services").await?;
        self.common.print(&told, || {
            let services = list(&told, "services");
            if services.is_empty() {
                return "no service is configured".to_owned();
            }
            let mut rows = vec![titles("NAME")];
            rows.extend(services.iter().map(|service| row(service, "name")));
            table(&rows)
        })?;
        whole(&told)
    }
}

fn titles(of: &str) -> Vec<String> {
    let titles =
        [of, "STATE", "FOR", "NEXT", "FAILING", "OWED", "LAG", "TAKEN", "ASIDE", "GIVEN-UP", "URL"];
    titles.map(str::to_owned).to_vec()
}

fn row(service: &Value, called: &str) -> Vec<String> {
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let state = match service["cause"].as_str() {
        Some(cause) => format!("{} ({cause})", text("state")),
        None => text("state"),
    };
    let span = |field: &str| service[field].as_u64().map_or_else(|| "-".to_owned(), span);
    vec![
        text(called),
        state,
        span("for_ms"),
        span("next_ms"),
        match service["failing"].as_u64() {
            Some(lanes @ 1..) => format!("{lanes} for {}", span("failing_ms")),
            Some(_) | None => "-".to_owned(),
        },
        service["pending"].to_string(),
        span("lag_ms"),
        service["done"].to_string(),
        service["parked"].to_string(),
        service["abandoned"].to_string(),
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

impl Show {
    async fn run(self) -> Result<(), Problem> {
        let told = self.named.common.get("/admin/v1/services").await?;
        let found = list(&told, "services").iter();
        let service = found.clone().find(|service| service["name"] == self.named.name.as_str());
        let Some(service) = service else {
            let what = format!("there is no service {:?}", self.named.name);
            return Err(Problem::failed(what, "See carillon service ls"));
        };
        self.named.common.print(service, || {
            let mut rows = vec![titles("NODE")];
            rows.extend(list(service, "nodes").iter().map(|node| row(node, "node")));
            table(&rows)
        })?;
        whole(&told)
    }
}

impl Named {
    fn path(&self, verb: &str) -> String {
        format!("/admin/v1/services/{}/{verb}", self.name)
    }

    async fn has_done(self, verb: &str) -> Result<(), Problem> {
        let told = self.common.post(&self.path(verb), &json!({})).await?;
        self.common.print(&told, || {
            let state = list(&told, "services").first();
            let state = state.and_then(|service| service["state"].as_str()).unwrap_or("unknown");
            format!("{} is {state}", self.name)
        })?;
        whole(&told)
    }

    async fn forget(self) -> Result<(), Problem> {
        let told = self.common.post(&self.path("forget"), &json!({})).await?;
        self.common
            .print(&told, || format!("{} is forgotten, and owed nothing any more", self.name))
    }

    async fn attempts(self) -> Result<(), Problem> {
        let told = self.common.get(&self.path("attempts")).await?;
        self.common.print(&told, || {
            let titles =
                ["AT", "NODE", "TRANSACTION", "EVENTS", "OUTCOME", "STATUS", "MS", "WHY", "ANSWER"];
            let mut rows = vec![titles.map(str::to_owned).to_vec()];
            rows.extend(list(&told, "attempts").iter().map(attempt));
            table(&rows)
        })?;
        whole(&told)
    }

    async fn test(self) -> Result<(), Problem> {
        let told = self.common.post(&self.path("test"), &json!({})).await?;
        self.common.print(&told, || {
            let (outcome, status) = (text(&told, "outcome").unwrap_or_default(), number(&told));
            let ms = told.get("ms").and_then(Value::as_u64).unwrap_or_default();
            format!("{}: {outcome}, status {status}, {ms} ms", self.name)
        })?;
        if text(&told, "outcome") == Some("done") {
            return Ok(());
        }
        let why = text(&told, "error").or_else(|| text(&told, "answer")).unwrap_or_default();
        let what = format!("the service {} did not say yes: {why}", self.name);
        Err(Problem::failed(what, "See its own log, and url and secret in its section"))
    }

    async fn dead_letters(self) -> Result<(), Problem> {
        let told = self.common.get(&self.path("dlq")).await?;
        self.common.print(&told, || {
            let entries = list(&told, "entries");
            if entries.is_empty() {
                return "nothing was put aside".to_owned();
            }
            let now_ms = runtime::wall_ms();
            let titles = ["AGO", "EVENT", "CHAT", "STATUS", "TRANSACTION"];
            let mut rows = vec![titles.map(str::to_owned).to_vec()];
            rows.extend(entries.iter().map(|entry| dead(entry, now_ms)));
            table(&rows)
        })?;
        whole(&told)?;
        match told.get("more").and_then(Value::as_bool) {
            Some(true) => {
                let what = "there is more than is shown".to_owned();
                Err(Problem::partly(what, "Replay what is shown, and ask again"))
            }
            Some(false) | None => Ok(()),
        }
    }
}

/// An event that was put aside, or how many a partition has given up.
fn dead(entry: &Value, now_ms: u64) -> Vec<String> {
    let text = |field: &str| entry[field].as_str().unwrap_or("-").to_owned();
    let (event, ago) = match (entry["abandoned"].as_u64(), entry["last_ms"].as_u64()) {
        (None | Some(0), Some(at_ms)) => (text("event"), span(now_ms.saturating_sub(at_ms))),
        (None | Some(0), None) => (text("event"), "-".to_owned()),
        (Some(count), _) => (format!("{count} events were given up"), "-".to_owned()),
    };
    vec![ago, event, text("chat"), number(entry), text("transaction")]
}

/// Of an answer, what fits a line.
fn head(answer: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let line: Vec<&str> = answer.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn attempt(attempt: &Value) -> Vec<String> {
    let text = |field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
    vec![
        time_of_day(attempt["at_ms"].as_u64().unwrap_or(0)),
        text("node"),
        text("transaction"),
        attempt["events"].to_string(),
        text("outcome"),
        number(attempt),
        attempt["ms"].to_string(),
        text("error"),
        head(&text("answer")),
    ]
}

fn text<'a>(told: &'a Value, field: &str) -> Option<&'a str> {
    told.get(field).and_then(Value::as_str)
}

/// A status, if there is one.
fn number(told: &Value) -> String {
    told["status"].as_u64().map_or_else(|| "-".to_owned(), |status| status.to_string())
}

impl Replay {
    async fn run(self) -> Result<(), Problem> {
        let body = if self.event.is_empty() { json!({}) } else { json!({ "events": self.event }) };
        let told = self.named.common.post(&self.named.path("replay"), &body).await?;
        let replayed = told.get("replayed").and_then(Value::as_u64).unwrap_or_default();
        let more = told.get("more").and_then(Value::as_bool) == Some(true);
        let again = if more { "; there are more: say it again" } else { "" };
        self.named.common.print(&told, || format!("{replayed} events go again{again}"))?;
        whole(&told)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{dead, head, row, span, titles};

    #[test]
    fn a_line_says_what_is_stuck_since_when_and_when_it_is_tried_again() {
        let service = json!({
            "name": "crm", "state": "up", "cause": null, "for_ms": 90_000, "next_ms": 4_000, "failing": 2,
            "failing_ms": 61_000, "lag_ms": 62_000, "pending": 5, "done": 9, "parked": 0, "abandoned": 0,
            "url": "http://crm",
        });
        let row = row(&service, "name");
        assert_eq!(row.len(), titles("NAME").len());
        assert_eq!(row[..7], ["crm", "up", "90s", "4s", "2 for 61s", "5", "62s"]);
    }

    #[test]
    fn what_was_put_aside_says_when_and_an_answer_fits_a_line() {
        let entry = json!({"event": "e", "last_ms": 3_600_000, "status": 400, "transaction": "t", "abandoned": 0});
        assert_eq!(dead(&entry, 3_605_000)[..2], ["5s", "e"]);
        assert_eq!(head("no\n  such\tthing"), "no such thing");
        assert_eq!(head(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }

    #[test]
    fn spans_are_short() {
        let spans = [999, 119_000, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(spans, ["999ms", "119s", "2m", "2h", "2d"]);
    }
}
