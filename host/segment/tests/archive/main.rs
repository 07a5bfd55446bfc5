//! What becomes of archives: the operations, restarts, crashes, broken disks and damage.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where a step fails"
)]

mod support;

mod by_hand;
mod conjoined;
mod contents;
mod damage;
mod defects;
mod disks;
mod faults;
mod folders;
mod format;
mod keeping;
mod operations;
mod random;
mod replicated;
#[expect(unreachable_pub, reason = "shared with other crates")]
#[path = "../../../../tests/src/skip.rs"]
mod skip;
mod spaces;
