//! What becomes of the logs through restarts, crashes and broken disks.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where a step fails")]

mod support;

mod contents;
