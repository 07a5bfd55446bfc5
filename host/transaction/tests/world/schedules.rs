//! Schedules that a design like ours is known to get wrong, each played by hand. Those that need more than an engine
//! and a log are played elsewhere; `docs/transactions.md` lists them all.

use std::time::Duration;

use model::{MessageId, Route};
use transaction::{Cause, State, VERSION};

use crate::play::{NODES, PARTITIONS, Sabotage, World};
use crate::receiver::Mood;

/// Longer than any wait between attempts here.
const LATER: Duration = Duration::from_secs(6);

/// Between two steps of a transaction's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Its event is committed.
    Said,
    /// The entry that freezes it is appended and not committed.
    Frozen,
    /// It is committed, and nothing is sent.
    Committed,
    /// It is on its way to the service.
    Sent,
    /// The service has it, and its answer is on its way.
    Taken,
    /// The answer is heard, and the log does not know it.
    Answered,
    /// The entry that says so is appended and not committed.
    Settling,
    /// It is committed.
    Settled,
}

const MOMENTS: [Moment; 8] = [
    Moment::Said,
    Moment::Frozen,
    Moment::Committed,
    Moment::Sent,
    Moment::Taken,
    Moment::Answered,
    Moment::Settling,
    Moment::Settled,
];

/// A world in which node 0 leads what is played in.
fn calm() -> World {
    let mut world = World::new(1, Sabotage::None);
    world.take_over(0, 0, 0, Duration::ZERO);
    world
}

impl World {
    /// Somebody says something, and it is committed.
    fn hears_text(&mut self, kind: &str) -> MessageId {
        let said = self.say_so(0, kind, &Route::Everyone, 1);
        self.commit_all(0);
        said
    }

    /// What node `node` has begun is committed, and it begins the next.
    fn commits_and_polls(&mut self, node: usize) {
        self.commit_all(0);
        self.poll(node);
    }

    /// An attempt of `node` ends.
    fn attempt(&mut self, node: usize) {
        let number = self.flights.iter().position(|flight| flight.node == node);
        let number = number.expect("something is under way");
        self.arrive(number);
        self.answer(number, false);
    }

    /// Brings node 0 to this moment of its next transaction.
    fn until(&mut self, moment: Moment) {
        let steps: [fn(&mut Self); 7] = [
            |world| world.poll(0),
            |world| world.commit_all(0),
            |world| world.poll(0),
            |world| world.arrive(0),
            |world| world.answer(0, false),
            |world| {
                world.pass(LATER);
                world.poll(0);
            },
            |world| world.commit_all(0),
        ];
        let count = MOMENTS.iter().position(|it| *it == moment).expect("it is one of them");
        steps.iter().take(count).for_each(|step| step(self));
    }

    /// All is done that can be.
    fn goes_on(&mut self) {
        for _round in 0..1_000 {
            (0..PARTITIONS).for_each(|lane| self.commit_all(lane));
            (0..NODES).for_each(|node| self.poll(node));
            self.fly();
            self.pass(Duration::from_millis(50));
        }
    }
}

/// T-S1. A node dies between any two steps: nothing is lost, and what comes again comes under the same id.
#[test]
fn a_death_between_any_two_steps_loses_nothing_and_gives_no_second_id() {
    for moment in MOMENTS {
        for keeps in [false, true] {
            let mut world = calm();
            let said = world.hears_text("text");
            world.until(moment);
            let before = world.book.times(said).0;
            let taken = matches!(
                moment,
                Moment::Taken | Moment::Answered | Moment::Settling | Moment::Settled
            );
            assert_eq!(before, usize::from(taken), "{moment:?}");
            world.kill(0, keeps);
            world.heal();
            let (times, ids) = world.book.times(said);
            assert_eq!(ids, 1, "{moment:?} {keeps}");
            // Whoever leads next knows of it what the log knows.
            let settled = moment == Moment::Settled || (moment == Moment::Settling && keeps);
            let on_its_way = moment == Moment::Sent && keeps;
            let again = usize::from((taken && !settled) || on_its_way);
            assert_eq!(times, 1 + again, "{moment:?} {keeps}");
        }
    }
}

/// T-S2. Another node takes over what is under way, and both are answered.
#[test]
fn what_two_leaders_send_at_once_is_one_transaction() {
    for answers in [[0, 1], [1, 0]] {
        let mut world = calm();
        let (first, second) = (world.hears_text("text"), world.hears_text("text"));
        world.until(Moment::Sent);
        world.take_over(0, 1, 0, Duration::from_secs(2));
        world.poll(1);
        let ids: Vec<_> = world.flights.iter().map(|it| (it.frozen.id, it.hash)).collect();
        assert_eq!((ids.len(), ids[0]), (2, ids[1]), "the same id, and the same bytes");
        for node in answers {
            world.attempt(node);
        }
        let next = world.hears_text("text");
        world.heal();
        assert_eq!([first, second].map(|said| world.book.times(said)), [(2, 1); 2]);
        assert_eq!(world.book.taken(), [first, second, next]);
        assert_eq!(world.log(0).lane().done, 3, "each counts once");
    }
}

/// T-S3, of the writing. The next leader does not know the version that the one before wrote in: it sends nothing under
/// that id, and everything under another.
#[test]
fn a_leader_that_cannot_write_it_as_it_was_frozen_freezes_it_again() {
    let mut world = calm();
    world.builds[0] = VERSION + 1;
    world.mood = Mood::Ill;
    let said = world.hears_text("text");
    world.until(Moment::Answered);
    world.take_over(0, 1, 0, Duration::ZERO);
    world.mood = Mood::Well;
    world.heal();
    assert_eq!(world.book.times(said), (1, 2));
}

/// T-S4. What the service wants changes while a transaction waits: it stays what it was.
#[test]
fn a_filter_that_changes_before_the_next_attempt_changes_nothing_that_is_frozen() {
    let mut world = calm();
    world.describe(0, &["text"]);
    world.mood = Mood::Ill;
    let (first, _note) = (world.hears_text("text"), world.hears_text("note"));
    world.until(Moment::Answered);
    let uncut = world.hears_text("text");
    world.describe(0, &["note"]);
    let (_text, note) = (world.hears_text("text"), world.hears_text("note"));
    world.mood = Mood::Well;
    world.heal();
    assert_eq!(world.book.times(first), (1, 1), "the same id, and so the same bytes");
    assert_eq!(world.book.taken(), [first, uncut, note]);
}

/// T-S5. A message is redacted while its transaction is under way. If that was taken it is done with; if not, what is
/// left goes under another id.
#[test]
fn what_is_redacted_under_way_does_not_come_again_under_its_id() {
    for (mood, ids) in [(Mood::Well, 1), (Mood::Ill, 2)] {
        let mut world = calm();
        world.mood = mood;
        let said = world.hears_text("text");
        world.until(Moment::Sent);
        let seq = world.book.concerned[&said].1;
        world.log(0).redact(seq);
        world.attempt(0);
        world.mood = Mood::Well;
        world.heal();
        assert_eq!(world.book.times(said), (1, ids));
    }
}

/// T-S6, of what is refused for ever. The first event of a lane is poison; then all are.
#[test]
fn poison_is_put_aside_first_and_all_of_it_stops_the_service() {
    let mut world = calm();
    let poison = world.hears_text("poison");
    let texts = [(); 7].map(|()| world.hears_text("text"));
    world.goes_on();
    assert_eq!((world.log(0).lane().dead.len(), world.book.taken()), (1, &texts[..]));
    let at = world.book.concerned[&poison].1;
    assert_eq!(world.log(0).lane().dead[0].event.seq, at);
    for _event in 0..30 {
        world.hears_text("poison");
    }
    world.goes_on();
    assert_eq!(world.engines[0].service().state(), State::Stopped(Cause::RefusesAll));
    let lane = world.log(0).lane();
    assert_eq!((lane.dead.len(), lane.pending()), (21, 10), "twenty in a row");
    let last = world.hears_text("text");
    world.heal();
    assert_eq!((world.book.times(last).0, world.log(0).lane().dead.len()), (1, 31));
}

/// T-S7. Somebody wakes a service at the moment of its success: nothing is under way twice, and nothing is left.
#[test]
fn a_wake_beside_a_success_sends_nothing_twice_and_leaves_nothing() {
    for wake in 0..6 {
        let mut world = calm();
        let wakes = |world: &mut World, at: usize| {
            if wake == at {
                world.wake();
            }
            world.poll(0);
        };
        world.mood = Mood::Away;
        let first = world.hears_text("text");
        world.until(Moment::Answered);
        assert!(matches!(world.engines[0].service().state(), State::Down { .. }));
        let second = world.hears_text("text");
        world.mood = Mood::Well;
        wakes(&mut world, 0);
        world.pass(LATER);
        wakes(&mut world, 1);
        assert_eq!(world.flights.len(), 1, "one probe, {wake}");
        world.arrive(0);
        wakes(&mut world, 2);
        assert_eq!(world.flights.len(), 1, "and no second one, {wake}");
        world.answer(0, false);
        wakes(&mut world, 3);
        assert_eq!(world.engines[0].service().state(), State::Up, "{wake}");
        world.commits_and_polls(0);
        wakes(&mut world, 4);
        assert_eq!(world.flights.len(), 1, "the next goes at once, {wake}");
        world.attempt(0);
        wakes(&mut world, 5);
        world.heal();
        assert_eq!([first, second].map(|said| world.book.times(said)), [(1, 1); 2], "{wake}");
    }
}

/// T-S9, of the trim. A service is down while its log is trimmed, over and over, by one leader and the next.
#[test]
fn what_a_service_is_owed_outlives_every_trim() {
    let mut world = calm();
    world.mood = Mood::Away;
    let mut said = vec![world.hears_text("text")];
    world.until(Moment::Answered);
    for round in 0..10 {
        said.push(world.hears_text("text"));
        world.trim(0);
        world.kill(round % NODES, true);
        world.trim(0);
        world.goes_on();
    }
    world.mood = Mood::Well;
    world.heal();
    assert_eq!(world.book.taken(), said);
    world.trim(0);
    let seq = world.book.concerned[&said[0]].1;
    assert!(world.log(0).chat(seq).is_none(), "and not longer than that");
}

/// T-S14, of what was put aside. It comes again under its id, as the next of its lane.
#[test]
fn what_was_put_aside_comes_again_under_its_id() {
    let mut world = calm();
    world.mood = Mood::Narrow;
    let (note, text) = (world.hears_text("note"), world.hears_text("text"));
    world.goes_on();
    assert_eq!(world.book.taken(), [text]);
    world.mood = Mood::Well;
    world.pause();
    let later = world.hears_text("text");
    world.replay(0);
    world.replay(0);
    world.resume();
    world.heal();
    let (times, _) = world.book.times(note);
    assert_eq!(times, 1, "wanted twice, and sent once");
    assert_eq!(world.book.taken(), [text, note, later]);
    assert_eq!(world.log(0).lane().parked, 0);
}
