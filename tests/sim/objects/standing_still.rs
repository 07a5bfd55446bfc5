//! A primary of objects that stands still, or whose disk does.

use archive::Sabotage;
use segment::archive::Fact;

use super::clients::{Heard, What, name};
use super::schedules::{
    begin, facts, heard, putting, shelf, stage_with, stored, three, until_held,
};
use crate::agenda::ms;
use crate::disk::Pace;
use crate::invariants::{Verdict, must};
use crate::setup::Setup;
use crate::stage::P;
use crate::world::World;

/// The primary's own disk stands still, and it drops out of an upload: enough others hold it, so it is made a version.
/// What the primary gave up for itself decided for all, and what others held stayed so for ever.
#[test]
fn a_primary_that_dropped_out_of_an_upload_makes_it_a_version() {
    let mut stage = three();
    let leader = stage.leader();
    let coordinator = stage.others()[0];
    let key = name("plain", "k");
    stage.world.pace(leader, Pace::Hung);
    let put = begin(&mut stage, coordinator, What::Put(putting(&key, 60, 300_000)));
    until_held(&mut stage, 2);
    stage.pass(900);
    stage.world.pace(leader, Pace::Normal);
    let heard = heard(&mut stage, put);
    stage.good(matches!(heard, Heard::Stored(_)), &format!("{heard:?}"));
    stage.good(stage.world.leader(P) == Some(leader), "the same leader");
    let held_by = facts(&stage, &key).into_iter().find_map(|fact| match fact {
        Fact::Final(made) => Some(made.holders.len()),
        _ => None,
    });
    stage.good(held_by == Some(2), &format!("{held_by:?}"));
    stage.heal();
}

/// A primary stands still until another one leads, which deletes a key and says so. Whoever asks the first one meanwhile is
/// answered when it goes on: it may hear of that before it looks, or behind that.
pub(super) fn a_primary_that_stood_still_is_asked_what_a_key_shows(
    seed: u64,
    sabotage: Sabotage,
) -> Verdict {
    let mut stage = stage_with(Setup { seed, ..Setup::calm(3, 2) }, sabotage);
    let leader = stage.leader();
    let key = name("plain", "k");
    stored(&mut stage, leader, What::Put(putting(&key, 80, 1_000)));
    let world = &mut stage.world;
    world.session(leader, false);
    world.network.set_idle(ms(60_000));
    world.run_for(ms(200))?;
    world.pause(leader);
    let next = stage.leader_but(&[leader]);
    let deleted = begin(&mut stage, next, What::Delete { name: key.clone(), version: None });
    heard(&mut stage, deleted);
    let reads = begin(&mut stage, leader, What::Get { name: key });
    stage.world.resume(leader);
    let told = |world: &World| shelf(world).results.contains_key(&reads);
    let in_time = stage.world.run_until(ms(60_000), told)?;
    must(in_time, "schedule", || "no answer".to_owned())
}
