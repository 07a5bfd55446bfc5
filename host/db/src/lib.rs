//! The SQLite file: open, migrate, one writer, readers.
//!
//! What is kept here can be rebuilt from elsewhere, so losing the last transactions in a crash is harmless
//! and a damaged file is replaced, not repaired; what must not happen is a file that is wrong and looks
//! right. SQLite's types stay in this crate: above it there are statements, values and rows.
//!
//! There is one [`Writer`] a file, and whoever owns it writes; [`Reader`]s have connections of their own
//! and never wait for it (write-ahead log).

#![forbid(unsafe_code)]

mod error;
mod open;
mod reader;
mod value;
mod writer;

pub use error::{Error, OpenError};
pub use open::{Schema, set_aside};
pub use reader::Reader;
pub use value::{Row, Value};
pub use writer::{Transaction, Writer};
