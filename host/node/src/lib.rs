//! Configuration, command line, assembly, shutdown.
//!
//! The one crate that knows every other: [`config`] is what an operator decides, [`assemble`] where the
//! parts meet, [`shutdown`] how they end, [`cli`] what people type.

pub mod config;
pub mod telemetry;

mod generations;
mod giving;
pub mod handlers;
pub mod shipped;

mod announcing;
mod credentials;
mod decision;
mod directory;
mod going;
mod joining;
mod keeping;
mod looking;
mod meaning;
mod objects;
mod opening;
mod operator;
mod owing;
mod process;
mod serving;
mod start_error;
mod telephones;
mod told;

pub mod assemble;
pub mod cluster;
pub mod shutdown;
pub mod signals;

mod bench;
pub mod cli;
