//! What operators and authors are promised: grants, the cache of compiled code, calls that can be
//! repeated, WASI without power; and what comes of guests that abuse them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test says that it failed")]

#[path = "../case/mod.rs"]
mod case;
#[path = "../../../../tests/src/guests.rs"]
#[expect(unreachable_pub, dead_code, reason = "the harness shares it with other crates' tests")]
mod guests;

mod abuse;
mod cache;
mod calls;
mod grants;
mod kinds;
mod looking;
mod wasi;

use plugin::{Effect, Plugin, Reply};

/// What a guest keeps under its one key when Alice says hello.
async fn kept(plugin: &Plugin) -> Vec<u8> {
    let reply = case::say(plugin, "hello").await.unwrap();
    note(&reply).unwrap_or_else(|| panic!("nothing was kept: {reply:?}"))
}

/// The note that a guest set.
fn note(reply: &Reply) -> Option<Vec<u8>> {
    reply.effects.iter().find_map(|effect| match effect {
        Effect::Note { value, .. } => value.clone(),
        _ => None,
    })
}
