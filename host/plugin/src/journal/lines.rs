//! The last lines that the guests of a plugin have said.

use std::collections::VecDeque;
use std::sync::Arc;

use model::ChatToken;

use super::Subject;

/// Most bytes of one plugin: some thousand lines of an ordinary length.
const BYTES_MAX: usize = 256 << 10;

/// What a line takes beside its text.
const LINE_BYTES: usize = 128;

/// Most lines of one answer.
const PAGE_MAX: usize = 500;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number: 1, 2, 3 … since the node started.
    pub number: u64,
    /// When, by the wall clock of the node.
    pub at_ms: u64,
    /// `debug`, `info`, `warn`, `error`, or `printed` for what went to standard output or error.
    pub level: &'static str,
    /// The version of the plugin.
    pub version: Arc<str>,
    /// In which call.
    pub of: Subject,
    /// What it said, in one line.
    pub text: String,
}

/// Some lines, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesPage {
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// What to ask `after` next time.
    pub next: u64,
    /// How many lines after the one asked for are forgotten: there was no room for them.
    pub forgotten: u64,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the last line.
    last: u64,
}

impl Lines {
    pub(super) fn push(
        &mut self,
        level: &'static str,
        version: &Arc<str>,
        of: Subject,
        text: String,
        at_ms: u64,
    ) {
        self.last += 1;
        self.bytes += weight(&text);
        let version = Arc::clone(version);
        self.kept.push_back(LogLine { number: self.last, at_ms, level, version, of, text });
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= weight(&oldest.text);
        }
    }

    pub(super) fn page(&self, chat: Option<ChatToken>, after: u64) -> LinesPage {
        // A number from before the node started again is none of ours: then from the beginning.
        let after = if after > self.last { 0 } else { after };
        let first = self.kept.front().map_or(self.last + 1, |line| line.number);
        let forgotten = first.saturating_sub(after + 1);
        let skipped = usize::try_from((after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let wanted = |line: &&LogLine| chat.is_none() || line.of.chat == chat;
        let lines: Vec<LogLine> =
            self.kept.iter().skip(skipped).filter(wanted).take(PAGE_MAX).cloned().collect();
        let next = match lines.last() {
            Some(line) if lines.len() == PAGE_MAX => line.number,
            _ => self.last,
        };
        LinesPage { lines, next, forgotten }
    }
}

fn weight(text: &str) -> usize {
    text.len() + LINE_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::ChatToken;

    use super::{BYTES_MAX, Lines, PAGE_MAX};
    use crate::journal::Subject;

    fn say(lines: &mut Lines, chat: u8, text: &str) {
        let of = Subject { chat: Some(ChatToken([chat; 16])), message: None };
        lines.push("info", &Arc::from("1.0"), of, text.to_owned(), 7);
    }

    #[test]
    fn lines_are_read_once_each_and_by_chat() {
        let mut lines = Lines::default();
        for count in 0..10 {
            say(&mut lines, count % 2, &format!("line {count}"));
        }
        let page = lines.page(Some(ChatToken([1; 16])), 0);
        assert_eq!(page.lines.len(), 5);
        assert_eq!(page.lines[0].text, "line 1");
        assert_eq!((page.next, page.forgotten), (10, 0));
        assert!(lines.page(None, page.next).lines.is_empty());
        say(&mut lines, 0, "more");
        let page = lines.page(None, page.next);
        assert_eq!((page.lines[0].number, page.next), (11, 11));
        // Somebody who followed the node before it started again.
        assert_eq!(lines.page(None, 1_000).lines.len(), 11);
    }

    #[test]
    fn a_long_answer_goes_on_where_it_ended() {
        let mut lines = Lines::default();
        for _ in 0..PAGE_MAX + 3 {
            say(&mut lines, 0, "x");
        }
        let page = lines.page(None, 0);
        assert_eq!(page.lines.len(), PAGE_MAX);
        assert_eq!(lines.page(None, page.next).lines.len(), 3);
    }

    #[test]
    fn a_flood_takes_so_many_bytes_and_says_how_much_is_gone() {
        let mut lines = Lines::default();
        for _ in 0..10_000 {
            say(&mut lines, 0, &"x".repeat(4 << 10));
        }
        assert!(lines.bytes <= BYTES_MAX);
        let kept: usize = lines.kept.iter().map(|line| super::weight(&line.text)).sum();
        assert_eq!(kept, lines.bytes);
        let page = lines.page(None, 0);
        assert_eq!(page.forgotten + u64::try_from(page.lines.len()).unwrap(), 10_000);
    }
}
