//! The node and its parts on real sockets, real files and real components: each file is one kind of
//! story.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test says that it failed"
)]

mod announcing;
mod archive;
mod attachments;
mod backup;
mod calls;
#[path = "../../host/plugin/tests/case/mod.rs"]
mod case;
mod certificates;
mod clients;
mod comings;
mod conversation;
mod disk;
mod drift;
mod following;
mod generations;
mod handlers;
mod hooked;
mod kazoo;
mod keeping;
mod keys;
mod killed_compiling;
mod killed_in_a_swap;
mod killed_in_a_transaction;
mod loading;
mod objects;
mod operators;
mod page;
mod presence;
mod process;
mod processes;
mod quorum;
mod redacting;
mod rollouts;
mod service_drains;
mod service_faults;
mod service_files;
mod service_instances;
mod service_libraries;
mod service_registry;
mod service_restored;
mod service_states;
mod services;
mod shipped_plugins;
mod signed;
mod spaces;
mod stopping;
mod strangers;
mod swaps;
mod take_over;
mod talking;
mod three;
mod tokens;
mod turns;
mod twilio;
mod why;
mod zones;
