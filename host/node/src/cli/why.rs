//! `carillon why`: a decision about a message, made again from the record.

use std::path::PathBuf;

use clap::Args;
use model::MessageId;
use serde_json::Value;

use super::admin::Admin;
use super::{Problem, output, small_runtime};

/// Makes the decision about a message again, from the record, and says whether it comes out as it did.
///
/// The handlers that decided are asked again, with what they were shown then: the chat before the message, its
/// time, ids and dice. Nothing is stored and nobody is told. Messages that were refused have an id too: it is
/// in the refusal. Ask a node that holds the chat; best the one that leads it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon why 1f0123456789abcdef0123456789abcd\n  carillon why \
                  1f0123456789abcdef0123456789abcd --with moderation.wasm\n\nExit code 1: it does not come out as \
                  it did."
)]
pub(super) struct Why {
    /// The message
    message: String,
    /// Another component, to see what it would have decided
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// In whose place it is asked, where its manifest does not say it
    #[arg(long, requires = "with", value_name = "NAME")]
    plugin: Option<String>,
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Why {
    pub(super) fn run(self) -> Result<(), Problem> {
        small_runtime()?.block_on(self.ask())
    }

    async fn ask(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.admin)?;
        let id = MessageId::parse(&self.message).ok_or_else(|| {
            let what = format!("{} is no message id", self.message);
            Problem::usage(what, "Take the 32 hex digits of a message, or of a refusal")
        })?;
        let component = self.with.as_ref().map(|file| {
            std::fs::read(file).map_err(|error| {
                let what = format!("{} cannot be read: {error}", file.display());
                Problem::usage(what, "Name a component that exists")
            })
        });
        let component = component.transpose()?;
        let headers = self.plugin.as_ref().map(|name| format!("carillon-plugin: {name}\r\n"));
        let path = format!("/admin/v1/messages/{id}/why");
        let headers = headers.unwrap_or_default();
        let why = admin.find(&path, &headers, component.as_deref()).await?;
        output::line(if self.json { why.to_string() } else { text(&why) })?;
        if self.with.is_none() && why.get("same") != Some(&Value::Bool(true)) {
            let what = "the decision does not come out as it did";
            return Err(Problem::failed(what, "See what differs, and what may be the reason"));
        }
        Ok(())
    }
}

/// For people.
fn text(why: &Value) -> String {
    let field = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut text = format!(
        "message {} in chat {}, turn {} of epoch {}\n{} said ({}): {}\n",
        field(why, "message"),
        field(why, "chat"),
        why["turn"],
        why["epoch"],
        field(why, "sender"),
        field(why, "kind"),
        field(why, "said"),
    );
    let who = |it: &Value| {
        let digest: String = field(it, "digest").chars().take(12).collect();
        format!("{} {} ({digest})", field(it, "plugin"), field(it, "version"))
    };
    let handlers: Vec<String> = list(&why["handlers"]).iter().map(who).collect();
    text += &format!("decided by generation {}: {}\n", why["generation"], handlers.join(", "));
    text += &format!("then: {}\n", outcome(&why["then"]));
    let again = match &why["with"] {
        Value::Null => "again".to_owned(),
        with => format!("with {}", who(with)),
    };
    text += &format!("{again}: {}\n", outcome(&why["now"]));
    for call in &list(&why["calls"]) {
        let fuel = call["fuel"].as_u64().map(|fuel| format!(", fuel {fuel}")).unwrap_or_default();
        let reason = call["reason"].as_str().map(|it| format!(": {it}")).unwrap_or_default();
        let (plugin, version) = (field(call, "plugin"), field(call, "version"));
        let (verdict, shown) = (field(call, "verdict"), field(call, "shown"));
        text += &format!("  {plugin} {version} on {shown}: {verdict}{reason}{fuel}\n");
        for (name, value) in call["notes"].as_object().into_iter().flatten() {
            text += &format!("    note {name} = {}\n", value.as_str().unwrap_or_default());
        }
        for effect in list(&call["effects"]) {
            text += &format!("    {}\n", effect.as_str().unwrap_or_default());
        }
    }
    let lines = |of: &Value, before: &str| -> String {
        list(of).iter().filter_map(Value::as_str).map(|it| format!("{before}{it}\n")).collect()
    };
    text += &lines(&why["notes"], "note: ");
    match (why["same"] == true, why["with"].is_null()) {
        (true, true) => text.push_str("the same as then"),
        (true, false) => text.push_str("it would have decided the same"),
        (false, _) => {
            text.push_str("what differs:\n");
            text += lines(&why["differences"], "  ").trim_end();
        }
    }
    text
}

fn outcome(of: &Value) -> String {
    let field = |name: &str| of[name].as_str();
    let mut text = field("outcome").unwrap_or("nothing").to_owned();
    if let Some(plugin) = field("plugin") {
        text += &format!(" by {plugin}");
    }
    if let Some(code) = field("reason_code") {
        text += &format!(" ({code})");
    }
    if let Some(reason) = field("reason") {
        text += &format!(": {reason}");
    }
    let verdicts = of["verdicts"].as_object().into_iter().flatten();
    let verdicts: Vec<String> = verdicts
        .map(|(plugin, verdict)| format!("{plugin} {}", verdict.as_str().unwrap_or_default()))
        .collect();
    if !verdicts.is_empty() {
        text += &format!(" ({})", verdicts.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn a_decision_is_told_with_every_call_and_what_differs() {
        let why = json!({
            "message": "m1", "chat": "c1", "turn": 7, "epoch": 2, "sender": "alice", "kind": "text",
            "said": "first class", "generation": 4,
            "handlers": [{"plugin": "moderation", "version": "1.5", "digest": "0123456789abcdef"}],
            "with": null,
            "calls": [{"shown": "text", "plugin": "moderation", "version": "1.5", "verdict": "reject",
                "reason": "badword: no", "notes": {"word": "ass"}, "effects": ["keep strikes = 1"],
                "fuel": 12}],
            "then": {"outcome": "refused", "plugin": "moderation", "reason_code": "badword",
                "reason": "no", "verdicts": {}},
            "now": {"outcome": "stored", "verdicts": {"moderation": "pass"}},
            "same": false, "differences": ["one thing"], "notes": ["a reason"],
        });
        let told = text(&why);
        for line in [
            "alice said (text): first class",
            "decided by generation 4: moderation 1.5 (0123456789ab)",
            "then: refused by moderation (badword): no",
            "again: stored (moderation pass)",
            "  moderation 1.5 on text: reject: badword: no, fuel 12",
            "    note word = ass",
            "    keep strikes = 1",
            "note: a reason",
            "what differs:\n  one thing",
        ] {
            assert!(told.contains(line), "{line} is not in\n{told}");
        }
    }
}
