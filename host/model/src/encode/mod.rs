//! Entries as bytes.
//!
//! The first byte says what a log entry's payload is: 0 is replication's opening record and not ours,
//! 1 is [`v1`]. A later version gets its own number and its own module, and decodes into today's
//! [`Entry`](crate::Entry). The bytes are described in `docs/formats.md`.

pub mod v1;
