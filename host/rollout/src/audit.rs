//! What was done to the plugins of this node, and what came of it: a log that outlives the process.
//!
//! ```text
//! file = "carillon audit 1\n", line*
//! line = crc32c of the JSON in 8 hex digits, a space, JSON, "\n"
//! ```
//!
//! `audit` is written to; when it is full it becomes `audit.old`, and the one before that is gone. A line
//! that does not verify, as a crash may leave one, is passed over.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::artefacts::read_at_most;

const HEADER: &str = "carillon audit 1\n";

/// A file beyond this is replaced: some thousand lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most lines that are told.
pub const AUDIT_TOLD_MAX: usize = 1000;

/// Longest words of one line.
const DETAIL_BYTES_MAX: usize = 2 << 10;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Unix milliseconds by this machine's clock.
    pub at_ms: u64,
    /// Rises by one with every line.
    pub line: u64,
    /// `pushed`; a step of preparing, and `prepared` or `refused` after the last; `swap`, `rollback`, `lost`,
    /// `failed`, `live`.
    pub event: String,
    /// The plugin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin: String,
    /// Its component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The number of the live set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// In words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The log of one node. Its functions block.
#[derive(Debug)]
pub(crate) struct Audit {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lines: VecDeque<AuditLine>,
    next: u64,
    file: Option<File>,
}

impl Audit {
    /// Reads what is there.
    pub(crate) fn open(folder: &Path) -> Self {
        let path = folder.join("audit");
        let mut lines = VecDeque::new();
        for file in [path.with_extension("old"), path.clone()] {
            let most = usize::try_from(2 * FILE_BYTES_MAX).unwrap_or(usize::MAX);
            let text = read_at_most(&file, most).unwrap_or_default();
            lines.extend(String::from_utf8_lossy(&text).lines().filter_map(verified));
            while lines.len() > AUDIT_TOLD_MAX {
                lines.pop_front();
            }
        }
        let next = lines.back().map_or(1, |line: &AuditLine| line.line + 1);
        Self { path, state: Mutex::new(State { lines, next, file: None }) }
    }

    /// Adds a line, and returns when it is on the disk. A disk that takes none is no reason to stop; it is told.
    pub(crate) fn write(&self, line: AuditLine) {
        self.add(line, true);
    }

    /// Adds a line that more will follow: it outlives this process, and is on the disk with the next one that
    /// is written.
    pub(crate) fn note(&self, line: AuditLine) {
        self.add(line, false);
    }

    fn add(&self, mut line: AuditLine, sync: bool) {
        let mut end = line.detail.len().min(DETAIL_BYTES_MAX);
        while !line.detail.is_char_boundary(end) {
            end -= 1;
        }
        line.detail.truncate(end);
        let state = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        line.line = state.next;
        state.next += 1;
        if let Err(error) = self.append(state, &line, sync) {
            tracing::error!(path = %self.path.display(), %error, "the audit log cannot be written");
            state.file = None;
        }
        state.lines.push_back(line);
        if state.lines.len() > AUDIT_TOLD_MAX {
            state.lines.pop_front();
        }
    }

    /// The last lines, the oldest first.
    pub(crate) fn told(&self) -> Vec<AuditLine> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.iter().cloned().collect()
    }

    fn append(&self, state: &mut State, line: &AuditLine, sync: bool) -> io::Result<()> {
        let json = serde_json::to_string(line).map_err(io::Error::other)?;
        let text = format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()));
        let full = state
            .file
            .as_ref()
            .is_some_and(|file| file.metadata().is_ok_and(|about| about.len() > FILE_BYTES_MAX));
        if full && let Some(file) = state.file.take() {
            // Its last lines may have been noted only.
            file.sync_data()?;
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
        }
        let file = match &mut state.file {
            Some(file) => file,
            none => {
                let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                match file.metadata()?.len() {
                    0 => file.write_all(HEADER.as_bytes())?,
                    // What a crash may have left of a line ends here.
                    _ => file.write_all(b"\n")?,
                }
                none.insert(file)
            }
        };
        file.write_all(text.as_bytes())?;
        if sync { file.sync_data() } else { Ok(()) }
    }
}

fn verified(line: &str) -> Option<AuditLine> {
    let (crc, json) = line.split_at_checked(8)?;
    let json = json.strip_prefix(' ')?;
    let sound = u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(json.as_bytes());
    sound.then(|| serde_json::from_str(json).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{AUDIT_TOLD_MAX, Audit, AuditLine, DETAIL_BYTES_MAX, FILE_BYTES_MAX};

    fn line(detail: &str) -> AuditLine {
        AuditLine {
            at_ms: 1,
            line: 0,
            event: "swap".to_owned(),
            plugin: "p".to_owned(),
            digest: None,
            generation: Some(2),
            detail: detail.to_owned(),
        }
    }

    fn details(audit: &Audit) -> Vec<String> {
        audit.told().into_iter().map(|line| line.detail).collect()
    }

    #[test]
    fn what_was_written_is_there_after_a_restart_and_a_torn_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path());
        audit.write(line("one"));
        audit.write(line(&"ä".repeat(DETAIL_BYTES_MAX)));
        let mut text = std::fs::read_to_string(&audit.path).unwrap();
        text.push_str("0badc0de {\"at_ms\":1,\"li");
        std::fs::write(&audit.path, text).unwrap();
        let audit = Audit::open(folder.path());
        assert_eq!(details(&audit).len(), 2);
        assert_eq!(audit.told()[1].detail.len(), DETAIL_BYTES_MAX);
        audit.write(line("three"));
        let audit = Audit::open(folder.path());
        assert_eq!(details(&audit)[2], "three");
        let numbers: Vec<u64> = audit.told().iter().map(|line| line.line).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn what_was_noted_is_there_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path());
        audit.note(line("one"));
        audit.write(line("two"));
        audit.note(line("three"));
        assert_eq!(details(&audit), ["one", "two", "three"]);
        assert_eq!(details(&Audit::open(folder.path())), ["one", "two", "three"]);
    }

    #[test]
    fn it_is_bounded_on_the_disk_and_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path());
        let long = "x".repeat(DETAIL_BYTES_MAX);
        for _ in 0..AUDIT_TOLD_MAX + 300 {
            audit.write(line(&long));
        }
        assert_eq!(audit.told().len(), AUDIT_TOLD_MAX);
        let bytes: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes < 2 * FILE_BYTES_MAX + 10_000, "{bytes}");
        let told = Audit::open(folder.path()).told();
        assert_eq!(told.last().map(|line| line.line), Some(1300));
    }
}
