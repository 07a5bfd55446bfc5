//! Telling what was not tried.

use std::io::Write as _;

/// Says aloud what did not run, and why: past the harness, which shows nothing of a test that passes.
pub fn skipped(what: &str) {
    // Nobody to tell is no reason to fail.
    _ = std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes());
}
