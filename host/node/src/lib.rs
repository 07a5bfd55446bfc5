//! Configuration, command line, assembly, shutdown.
//!
//! The one crate that knows every other: [`config`] is what an operator decides.

pub mod config;
pub mod telemetry;
