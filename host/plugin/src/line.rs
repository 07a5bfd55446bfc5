//! What guests log: bounded per call, escaped, kept in the plugin's journal, and said in the node's own log
//! at the levels that somebody reads there.

use std::fmt::Write;

use crate::bindings::carillon::plugin::log::Level;
use crate::journal::Subject;
use crate::state::State;
use crate::watch::Voice;

/// Longest line; what is beyond is cut.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Most lines that are kept of what one call printed.
const PRINTED_LINES_MAX: usize = 64;

/// The last line of a call that says too much.
const TOO_MUCH: &str = "it logs too much: the rest of this call is dropped";

/// Writes a line for the call's plugin. Beyond the call's share it is dropped, and the first time says
/// so.
pub(crate) fn emit(state: &mut State, level: Level, text: &str, fields: &[(String, String)]) {
    let Some(left) = state.log_lines_left.checked_sub(1).filter(|_| state.log_bytes_left > 0)
    else {
        return;
    };
    state.log_lines_left = left;
    let line = line(text, fields, LINE_BYTES_MAX.min(state.log_bytes_left));
    state.log_bytes_left -= line.len().min(state.log_bytes_left);
    let of = state.subject();
    let plugin = state.plugin.name();
    let chat = of.chat.map(tracing::field::debug);
    let left_out = state.plugin.speaks();
    if left_out.is_some_and(|count| count > 0) {
        let count = left_out.unwrap_or(0);
        tracing::warn!(target: "plugin", plugin, "{count} lines of it are not here: carillon plugin logs {plugin}");
    }
    match level {
        _ if left_out.is_none() => {}
        Level::Debug => tracing::debug!(target: "plugin", plugin, chat, "{line}"),
        Level::Info => tracing::info!(target: "plugin", plugin, chat, "{line}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, chat, "{line}"),
        Level::Error => tracing::error!(target: "plugin", plugin, chat, "{line}"),
    }
    state.plugin.say(name(level), of, line);
    if left == 0 || state.log_bytes_left == 0 {
        if state.plugin.speaks().is_some() {
            tracing::warn!(target: "plugin", plugin, chat, "{TOO_MUCH}");
        }
        state.plugin.say("warn", of, TOO_MUCH.to_owned());
    }
}

/// Keeps what a call printed, as far as it goes into a journal: the end of it.
pub(crate) fn printed(plugin: &Voice, of: Subject, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len().saturating_sub(PRINTED_LINES_MAX);
    for text in lines.into_iter().skip(last) {
        plugin.say("printed", of, line(text, &[], LINE_BYTES_MAX));
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// `text name=value …` in one line of at most `bytes_max`.
fn line(text: &str, fields: &[(String, String)], bytes_max: usize) -> String {
    let mut line = String::new();
    escape(&mut line, text, bytes_max);
    for (name, value) in fields {
        if line.len() >= bytes_max {
            break;
        }
        line.push(' ');
        escape(&mut line, name, bytes_max);
        line.push('=');
        escape(&mut line, value, bytes_max);
    }
    line
}

/// Appends `text` with control characters escaped, as far as there is room.
fn escape(line: &mut String, text: &str, bytes_max: usize) {
    for character in text.chars() {
        if line.len() >= bytes_max {
            return;
        }
        if character.is_control() {
            // Writing to a string does not fail.
            let _infallible = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::{emit, line};
    use crate::bindings::carillon::plugin::log::Level;
    use crate::journal::Subject;
    use crate::state::{Settings, State};
    use crate::{Limits, LogLine};

    /// Remembers what was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Lines {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= tracing::Level::INFO
        }

        fn event(&self, event: &Event<'_>) {
            let mut text = String::new();
            event.record(&mut |_field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                text.push_str(&format!("{value:?} "));
            });
            self.0.lock().unwrap().push(text);
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    /// What the node's log says of a call that emits `text` a thousand times, and what is kept of it.
    fn flood(level: Level, text: &str) -> (Vec<String>, Vec<LogLine>) {
        let settings = Arc::new(Settings::new(&serde_json::Value::Null));
        let (of, grant) = (Subject::default(), Arc::default());
        let mut state = State::new("flood".into(), settings, &Limits::default(), None, of, grant);
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            for _ in 0..1_000 {
                emit(&mut state, level, text, &[]);
            }
        });
        let lines = lines.0.lock().unwrap().clone();
        (lines, state.plugin.journal().lines(None, 0).lines)
    }

    #[test]
    fn a_call_logs_so_many_lines_and_then_one_that_says_so() {
        let (lines, kept) = flood(Level::Warn, "again");
        assert_eq!((lines.len(), kept.len()), (65, 65));
        assert_eq!((kept[0].level, kept[0].text.as_str()), ("warn", "again"));
        assert!(kept[64].text.contains("logs too much"));
        assert!(lines[0].contains("again") && lines[0].contains("flood"), "{}", lines[0]);
        assert!(lines[64].contains("logs too much"), "{}", lines[64]);
    }

    #[test]
    fn a_call_logs_so_many_bytes() {
        let (lines, kept) = flood(Level::Info, &"x".repeat(3_000));
        assert_eq!(kept.len(), 7);
        assert_eq!(lines.len(), 7, "six of 3,000 bytes are more than 16 KiB");
        assert!(lines.iter().map(String::len).sum::<usize>() < 17 << 10);
        assert!(lines[6].contains("logs too much"), "{}", lines[6]);
    }

    #[test]
    fn what_nobody_reads_in_the_nodes_log_is_kept_for_the_author() {
        let (lines, kept) = flood(Level::Debug, "again");
        assert_eq!((lines.len(), kept.len()), (1, 65), "{lines:?}");
        assert_eq!(kept[0].level, "debug");
    }

    #[test]
    fn a_line_stays_one_line_and_short() {
        let fields = [("who".to_owned(), "a\u{1b}[2J".to_owned())];
        assert_eq!(line("one\ntwo", &fields, 100), "one\\ntwo who=a\\u{1b}[2J");
        let long = "ä".repeat(5_000);
        assert!(line(&long, &[(long.clone(), long.clone())], 100).len() <= 110);
    }
}
