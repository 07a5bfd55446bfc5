//! The node and its parts on real sockets, real files and real components.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test says that it failed")]

#[path = "../../host/plugin/tests/case/mod.rs"]
mod case;
mod shipped_plugins;
