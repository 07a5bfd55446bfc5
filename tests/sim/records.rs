//! Records that somebody deletes or puts back, under a primary that is open (R4).

use registry::PartitionState;
use replication::core::Event;

use crate::node::Came;
use crate::stage::{P, Stage};

/// R4. A record is deleted under an open primary: it is written anew, far above, and whoever wants to lead
/// by an older claim does not.
#[test]
fn a_record_that_is_deleted_is_written_anew() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    let epoch = stage.world.registry.current(P).epoch;
    stage.world.registry.delete(&mut stage.world.agenda, P);
    stage.until("the record", |world| {
        !world.registry.is_gone(P) && world.registry.current(P).epoch > epoch
    });
    stage.commit(leader);
    stage.crash(leader);
    let next = stage.leader_but(&[leader]);
    stage.good(stage.has(next, token), "nothing is lost");
    stage.heal();
}

/// R4. A node claims an epoch, and the record is deleted before the others hear of it. What comes back is
/// above that claim, so that its epoch is never given out again.
#[test]
fn a_claim_that_vanished_with_its_record_is_not_given_out_again() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.commit(leader);
    let epoch = stage.world.registry.current(P).epoch;
    let other = stage.others()[0];
    // The leader hears neither of the registry nor of the claim.
    stage.world.session(leader, false);
    stage.pass(50);
    stage.world.isolate(other);
    stage.world.tell(leader, Came::Event(Event::Tick));
    stage.world.tell(other, Came::Event(Event::Tick));
    let claim = {
        let mut record = stage.world.registry.current(P).clone();
        record.prev_epoch = record.epoch;
        record.epoch += 1;
        record.state = PartitionState::Sealing;
        record.primary = Some(stage.world.nodes[other].id.clone());
        record.boot = stage.world.nodes[other].disk.boot;
        record.nonce += 1;
        record
    };
    stage.world.registry.put(P, claim);
    stage.world.registry.delete(&mut stage.world.agenda, P);
    stage.world.session(leader, true);
    stage.until("the record", |world| !world.registry.is_gone(P));
    stage.good(stage.world.registry.current(P).epoch > epoch + 1, "above the claim");
    stage.world.join(other);
    stage.heal();
}

/// R4. A registry is put back to what it was some epochs ago.
#[test]
fn a_registry_that_is_put_back_is_corrected_by_whoever_leads() {
    let mut stage = Stage::new(3, 2);
    let first = stage.leader();
    stage.commit(first);
    stage.crash(first);
    let second = stage.leader_but(&[first]);
    let token = stage.commit(second);
    stage.world.restart(first);
    stage.until("all of it", |world| world.is_equal(P));
    let epoch = stage.world.registry.current(P).epoch;
    // The one before its claim: the first node's.
    stage.world.registry.put_back(&mut stage.world.agenda, P, 2);
    stage.good(stage.world.registry.current(P).epoch < epoch, "it is an older one");
    stage.pass(15_000);
    stage.good(stage.world.registry.current(P).epoch > epoch, "it is written anew");
    let leads = stage.leader();
    stage.good(stage.has(leads, token), "nothing is lost");
    stage.heal();
}
