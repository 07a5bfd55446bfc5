//! Services against logs in memory: the engine and its HTTP are the real ones, a service is a server in this process, and
//! the clock is moved by hand. Nothing here waits for real time.

mod bad_services;
mod changing;
mod gate;
mod ledger;
#[expect(dead_code, reason = "other stories need the rest of it")]
#[path = "../../../transaction/tests/services/outside.rs"]
mod outside;
mod remembering;
mod rig;
mod schedules;
mod service;
mod staying;
mod turns;
