//! A primary of objects whose disk stands still.

use segment::archive::Fact;

use super::clients::{Heard, What, name};
use super::schedules::{begin, facts, heard, putting, three, until_held};
use crate::disk::Pace;
use crate::stage::P;

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
