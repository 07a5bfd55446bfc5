//! An upload that a node holds, and of which the log told it nothing.

use super::clients::{What, name};
use super::schedules::{begin, members, putting, ring, shelf, until_held, wait_long};
use crate::agenda::ms;
use crate::stage::P;
use crate::world::World;

/// A member that holds an upload is away until others have its place, and the upload is given up meanwhile. The log that
/// says so is none of that node's any more: it asks, and is told.
#[test]
fn a_member_that_lost_its_place_is_told_that_an_upload_was_given_up() {
    let mut stage = ring(5);
    stage.world.network.set_idle(ms(60_000));
    let (before, leader) = (members(&stage), stage.leader());
    let coordinator = (0..5).find(|node| !before.contains(node)).unwrap();
    begin(&mut stage, coordinator, What::Put(putting(&name("plain", "k"), 90, 300_000)));
    until_held(&mut stage, 3);
    let loses = before.into_iter().find(|node| *node != leader).unwrap();
    stage.world.isolate(coordinator);
    stage.crash(loses);
    stage.until("a cancel", |world| shelf(world).oracle.counts.cancels > 0);
    stage.world.join(coordinator);
    let (id, store) = (stage.world.nodes[loses].id.clone(), stage.world.nodes[loses].disk.store);
    stage.world.set_on_ring(loses, false);
    wait_long(&mut stage, "another in its place", |world| {
        !world.registry.current(P).names(&id, store)
    });
    let holds = |world: &World| {
        let held = world.vault(loses).map(|vault| vault.with(|engine| engine.held(9)));
        held.is_none_or(|held| !held.is_empty())
    };
    stage.world.restart(loses);
    stage.good(holds(&stage.world), "it heard nothing of that");
    wait_long(&mut stage, "it to hear of that", |world| !holds(world));
    stage.heal();
}
