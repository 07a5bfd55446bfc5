//! A primary of objects that stands still: as a process, while another one leads, or only its disk.

use segment::archive::Fact;

use super::clients::{Heard, What, name};
use super::schedules::{
    ask, begin, facts, has_nothing, heard, putting, reads, stored, three, until_held,
};
use crate::disk::Pace;
use crate::stage::P;

/// It is asked before it can know: what was deleted meanwhile is not told, though this one has never heard of that.
#[test]
fn a_primary_that_stood_still_tells_nothing_that_another_deleted() {
    let mut stage = three();
    let leader = stage.leader();
    let key = name("plain", "k");
    stored(&mut stage, leader, What::Put(putting(&key, 90, 100)));
    stage.world.pause(leader);
    let next = stage.leader_but(&[leader]);
    let heard = ask(&mut stage, next, What::Delete { name: key.clone(), version: None });
    stage.good(matches!(heard, Heard::Version(_)), &format!("{heard:?}"));
    stage.world.resume(leader);
    has_nothing(&mut stage, leader, &key);
    stage.heal();
}

/// Nor the version that another one replaced.
#[test]
fn a_primary_that_stood_still_tells_no_version_that_another_replaced() {
    let mut stage = three();
    let leader = stage.leader();
    let key = name("plain", "k");
    stored(&mut stage, leader, What::Put(putting(&key, 91, 100)));
    stage.world.pause(leader);
    let next = stage.leader_but(&[leader]);
    let second = stored(&mut stage, next, What::Put(putting(&key, 92, 100)));
    stage.world.resume(leader);
    reads(&mut stage, leader, &key, second);
    stage.heal();
}

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
