//! Configuration, command line, assembly, shutdown.
//!
//! The one crate that knows every other: [`config`] is what an operator decides.

pub mod cli;
pub mod config;
pub mod handlers;
pub mod shipped;
pub mod telemetry;
