//! What guests log, as lines of the node's own log: bounded per call, escaped, and only put together
//! when somebody reads that level.

use std::fmt::Write;

use crate::bindings::carillon::plugin::log::Level;
use crate::state::State;

/// Longest line; what is beyond is cut.
const LINE_BYTES_MAX: usize = 4 << 10;

/// Writes a line for the call's plugin. Beyond the call's share it is dropped, and the first time says
/// so.
pub(crate) fn emit(state: &mut State, level: Level, text: &str, fields: &[(String, String)]) {
    if !enabled(level) {
        return;
    }
    let plugin = &*state.plugin;
    let chat = state.call.as_ref().map(|call| call.context.chat);
    let chat = chat.map(tracing::field::debug);
    let Some(left) = state.log_lines_left.checked_sub(1).filter(|_| state.log_bytes_left > 0)
    else {
        return;
    };
    state.log_lines_left = left;
    let line = line(text, fields, LINE_BYTES_MAX.min(state.log_bytes_left));
    state.log_bytes_left -= line.len().min(state.log_bytes_left);
    match level {
        Level::Debug => tracing::debug!(target: "plugin", plugin, chat, "{line}"),
        Level::Info => tracing::info!(target: "plugin", plugin, chat, "{line}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, chat, "{line}"),
        Level::Error => tracing::error!(target: "plugin", plugin, chat, "{line}"),
    }
    if left == 0 || state.log_bytes_left == 0 {
        tracing::warn!(target: "plugin", plugin, chat, "it logs too much: the rest of this call is dropped");
    }
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
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
    use crate::Limits;
    use crate::bindings::carillon::plugin::log::Level;
    use crate::state::{Settings, State};

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

    /// What a call logs that emits `text` a thousand times.
    fn flood(level: Level, text: &str) -> Vec<String> {
        let settings = Arc::new(Settings::new(&serde_json::Value::Null));
        let mut state =
            State::new("flood".into(), settings, &Limits::default(), None, Arc::default());
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || {
            for _ in 0..1_000 {
                emit(&mut state, level, text, &[]);
            }
        });
        let lines = lines.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn a_call_logs_so_many_lines_and_then_one_that_says_so() {
        let lines = flood(Level::Warn, "again");
        assert_eq!(lines.len(), 65);
        assert!(lines[0].contains("again") && lines[0].contains("flood"), "{}", lines[0]);
        assert!(lines[64].contains("logs too much"), "{}", lines[64]);
    }

    #[test]
    fn a_call_logs_so_many_bytes() {
        let lines = flood(Level::Info, &"x".repeat(3_000));
        assert_eq!(lines.len(), 7, "six of 3,000 bytes are more than 16 KiB");
        assert!(lines.iter().map(String::len).sum::<usize>() < 17 << 10);
        assert!(lines[6].contains("logs too much"), "{}", lines[6]);
    }

    #[test]
    fn what_nobody_reads_is_not_counted() {
        assert_eq!(flood(Level::Debug, "again").len(), 0);
    }

    #[test]
    fn a_line_stays_one_line_and_short() {
        let fields = [("who".to_owned(), "a\u{1b}[2J".to_owned())];
        assert_eq!(line("one\ntwo", &fields, 100), "one\\ntwo who=a\\u{1b}[2J");
        let long = "ä".repeat(5_000);
        assert!(line(&long, &[(long.clone(), long.clone())], 100).len() <= 110);
    }
}
