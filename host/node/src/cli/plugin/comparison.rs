//! What two versions decided otherwise, for people: by the pair of their words, message by message.

use serde_json::Value;

use crate::cli::{Problem, output};

/// How far a trial is.
pub(super) fn line(trial: &Value, left_s: u64) -> String {
    let left = if left_s == 0 { String::new() } else { format!(", {left_s} s left") };
    format!(
        "shadow: {} calls compared on {} nodes, {} decided otherwise, {} failed, {} not looked at{left}",
        trial["calls"], trial["nodes"], trial["differing"], trial["failed"], trial["dropped"]
    )
}

/// Prints what came of it; nothing if there was no trial.
pub(super) fn show(trial: Option<&Value>) -> Result<(), Problem> {
    let Some(trial) = trial.filter(|trial| trial.is_object()) else { return Ok(()) };
    output::line(line(trial, 0))?;
    for pair in trial["pairs"].as_array().into_iter().flatten() {
        output::line(words(pair))?;
    }
    Ok(())
}

/// One pair with its examples.
fn words(pair: &Value) -> String {
    let field = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let mut words =
        format!("{} -> {}: {} calls", field(pair, "live"), field(pair, "candidate"), pair["count"]);
    for example in pair["examples"].as_array().into_iter().flatten() {
        words += &format!(
            "\n  {} said ({}): {}\n    message {} in chat {}\n    live:      {}\n    candidate: {}",
            field(example, "sender"),
            field(example, "kind"),
            field(example, "text"),
            field(example, "message"),
            field(example, "chat"),
            field(example, "live"),
            field(example, "candidate"),
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{line, words};

    #[test]
    fn a_difference_is_told_with_the_message_and_both_answers() {
        let pair = json!({"live": "pass", "candidate": "reject", "count": 7, "examples": [{
            "chat": "c1", "message": "m1", "sender": "alice", "kind": "text", "text": "first class",
            "live": "pass", "candidate": "reject (forbidden-word): no",
        }]});
        let told = words(&pair);
        for part in [
            "pass -> reject: 7 calls",
            "alice said (text): first class",
            "message m1",
            "candidate: reject (forbidden-word): no",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let trial = json!({"calls": 9, "nodes": 3, "differing": 7, "failed": 0, "dropped": 1});
        let told = line(&trial, 4);
        assert!(
            told.starts_with("shadow: 9 calls compared on 3 nodes") && told.ends_with("4 s left")
        );
    }
}
