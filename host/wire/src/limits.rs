//! How much of anything crosses between nodes.
//!
//! Each bound is checked before memory is set aside for what it bounds.

/// The longest frame, counted from its version byte. An append is cut to fit; a longer frame is a
/// mistake or an attack, and ends the connection.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The longest frame taken from somebody who has not said HELLO.
pub const HELLO_BYTES_MAX: usize = 4 << 10;

/// The longest request that is forwarded: the longest HTTP body is smaller, and it is one frame.
pub const REQUEST_BYTES_MAX: usize = FRAME_BYTES_MAX - 64;

/// The longest answer to a forwarded request: a page of messages at the limits of both.
pub const ANSWER_BYTES_MAX: usize = 2 << 20;

/// Answers are sent in parts of this size, so that none comes near the longest frame.
pub const ANSWER_PART_BYTES: usize = 256 << 10;

/// The longest sentence of a refusal; the rest is cut.
pub const SENTENCE_BYTES_MAX: usize = 512;
