//! A plugin's journal in the words of the operators' interface.

use api::admin::{ErrorInfo, LineInfo, LinesInfo};
use plugin::{ErrorEntry, LinesPage, LogLine};

pub(crate) fn lines(page: LinesPage) -> LinesInfo {
    let LinesPage { lines, next, forgotten } = page;
    LinesInfo { lines: lines.into_iter().map(line).collect(), next, forgotten }
}

fn line(line: LogLine) -> LineInfo {
    let LogLine { number, at_ms, level, version, of, text } = line;
    LineInfo {
        number,
        at_ms,
        level,
        version: version.to_string(),
        chat: of.chat.map(|token| token.to_string()),
        message: of.message.map(|id| id.to_string()),
        text,
    }
}

pub(crate) fn error(entry: ErrorEntry) -> ErrorInfo {
    let ErrorEntry { kind, version, count, first_ms, last_ms, of, text } = entry;
    ErrorInfo {
        kind,
        version: version.to_string(),
        count,
        first_ms,
        last_ms,
        chat: of.chat.map(|token| token.to_string()),
        message: of.message.map(|id| id.to_string()),
        text,
    }
}
