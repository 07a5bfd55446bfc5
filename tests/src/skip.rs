//! Telling what was not tried, and not letting it be untried where it must not be.

use std::io::Write as _;

/// Names what this machine has, for sure: `CARILLON_REQUIRED="zookeeper python network"`. A test that does
/// not find it there fails instead of being skipped.
const REQUIRED: &str = "CARILLON_REQUIRED";

/// Says aloud that a test did not run for want of `needs`, and why.
///
/// # Panics
/// When this machine is said to have it.
pub fn without(needs: &str, what: &str) {
    let required = std::env::var(REQUIRED).unwrap_or_default();
    assert!(
        !required.split_whitespace().any(|name| name == needs),
        "{REQUIRED} says that {needs} is here. {what}"
    );
    skipped(what);
}

/// Says aloud what did not run, and why: past the harness, which shows nothing of a test that passes.
pub fn skipped(what: &str) {
    // Nobody to tell is no reason to fail.
    _ = std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes());
}
