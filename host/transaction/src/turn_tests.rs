//! Whose turn it is, when others want it, are cut off or stand still.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A registry, and what nodes find there.
#[derive(Default)]
struct Board {
    record: Option<(TurnRecord, u64)>,
    boots: std::collections::BTreeMap<String, u64>,
    marks: std::collections::BTreeSet<String>,
}

impl Board {
    /// Has a node do what it wants, until it wants nothing more.
    fn serve(&mut self, turn: &mut Turn, now: Instant) {
        for _step in 0..20 {
            let Some(step) = turn.poll(now) else { return };
            match step {
                TurnStep::Read => {
                    let seen = self.seen(turn);
                    turn.handle_read(Some(seen), now);
                }
                TurnStep::Write { expect, record } => {
                    let version = self.write(expect, record);
                    turn.handle_written(version, now);
                }
                TurnStep::Mark(true) => {
                    self.marks.insert(turn.node.clone());
                    turn.handle_marked();
                }
                TurnStep::Mark(false) => {
                    self.marks.remove(&turn.node);
                    turn.handle_marked();
                }
            }
        }
        panic!("it never rests: {turn:?}");
    }

    fn seen(&self, turn: &Turn) -> TurnSeen {
        let holder = self.record.as_ref().map(|(record, _)| record.holder.clone());
        let boot = holder.and_then(|holder| self.boots.get(&holder).copied()).unwrap_or(0);
        let wanted = self.marks.iter().any(|node| *node != turn.node);
        let marked = self.marks.contains(&turn.node);
        TurnSeen { record: self.record.clone(), boot, wanted, marked }
    }

    fn write(&mut self, expect: Option<u64>, record: TurnRecord) -> Option<u64> {
        if self.record.as_ref().map(|(_, version)| *version) != expect {
            return None;
        }
        let version = expect.map_or(0, |version| version + 1);
        self.record = Some((record, version));
        Some(version)
    }
}

fn wants(node: &str, boot: u64, now: Instant) -> Turn {
    let mut turn = Turn::new(node, boot, now);
    turn.handle_work(true, true);
    turn
}

/// One holds it, another waits.
fn two() -> (Board, Turn, Turn, Instant) {
    let now = runtime::now();
    let mut board = Board::default();
    board.boots.extend([("n1".to_owned(), 5), ("n2".to_owned(), 3)]);
    let (mut one, mut two) = (wants("n1", 5, now), wants("n2", 3, now));
    board.serve(&mut one, now);
    board.serve(&mut two, now);
    assert!(one.is_held() && !two.is_held());
    (board, one, two, now)
}

#[test]
fn whoever_is_first_has_it_and_the_other_waits_and_is_seen_to() {
    let (board, one, two, now) = two();
    assert_eq!(one.until(), Some(now + 10 * SECOND));
    assert_eq!(two.until(), None);
    assert_eq!(board.marks.iter().collect::<Vec<_>>(), ["n2"]);
}

#[test]
fn it_is_passed_on_after_a_second_or_ten_transactions_and_not_in_the_middle_of_one() {
    let (mut board, mut one, mut two, now) = two();
    one.handle_news(now);
    board.serve(&mut one, now);
    assert!(one.is_held(), "it has just begun");
    one.handle_work(true, false);
    board.serve(&mut one, now + SECOND);
    assert!(one.is_held(), "an attempt is under way");
    one.handle_work(true, true);
    board.serve(&mut one, now + SECOND);
    assert!(!one.is_held() && one.until().is_none());
    two.handle_news(now + SECOND);
    board.serve(&mut two, now + SECOND);
    assert!(two.is_held() && !board.marks.contains("n2"));
    assert_eq!(board.record.as_ref().unwrap().0.term, 2);
    (0..SHARE_MAX).for_each(|_| two.handle_tried());
    board.marks.insert("n1".to_owned());
    two.handle_news(now + SECOND);
    board.serve(&mut two, now + SECOND);
    assert!(!two.is_held(), "ten are enough");
}

#[test]
fn a_holder_that_cannot_renew_stops_long_before_anybody_takes_its_turn() {
    let (mut board, one, mut two, now) = two();
    let stops = one.until().unwrap();
    for seconds in 1..45 {
        board.serve(&mut two, now + seconds * SECOND);
        assert!(!two.is_held(), "after {seconds} s");
    }
    board.serve(&mut two, now + ABANDONED);
    assert!(two.is_held());
    assert!(stops + TURN_LEFT < now + ABANDONED, "the last attempt is over by then");
}

#[test]
fn a_holder_that_comes_back_after_it_was_taken_sends_nothing() {
    let (mut board, mut one, mut two, now) = two();
    board.serve(&mut two, now + ABANDONED / 2);
    board.serve(&mut two, now + ABANDONED);
    let later = now + ABANDONED + SECOND;
    assert!(one.until().unwrap() < later);
    board.serve(&mut one, later);
    assert!(!one.is_held() && two.is_held());
    assert_eq!(
        board.record.as_ref().unwrap().0,
        TurnRecord { holder: "n2".to_owned(), boot: 3, term: 2 }
    );
}

#[test]
fn the_turn_of_a_process_that_is_gone_is_taken_at_once() {
    let (mut board, _one, mut two, now) = two();
    board.boots.insert("n1".to_owned(), 6);
    two.handle_news(now);
    board.serve(&mut two, now);
    assert!(two.is_held(), "its node lives on as another process");
    let mut again = wants("n2", 4, now);
    board.boots.insert("n2".to_owned(), 4);
    board.serve(&mut again, now);
    assert!(again.is_held(), "also its own earlier one");
}

#[test]
fn it_is_renewed_while_it_is_used_and_given_back_when_it_is_not() {
    let now = runtime::now();
    let mut board = Board::default();
    let mut one = wants("n1", 1, now);
    board.serve(&mut one, now);
    for round in 1..20 {
        let now = now + round * RENEW_EVERY;
        assert!(one.next_timeout().unwrap() <= now);
        board.serve(&mut one, now);
        assert_eq!(one.until(), Some(now + 10 * SECOND));
    }
    one.handle_work(false, true);
    board.serve(&mut one, now + 20 * RENEW_EVERY);
    assert!(!one.is_held() && one.next_timeout().is_none());
    assert_eq!(board.record.unwrap().0.holder, "");
}

#[test]
fn a_renewal_whose_answer_is_lost_prolongs_nothing_before_it_is_known_to_stand() {
    let now = runtime::now();
    let mut board = Board::default();
    let mut one = wants("n1", 1, now);
    board.serve(&mut one, now);
    let due = now + RENEW_EVERY;
    // It is looked first, whether somebody waits.
    let seen = board.seen(&one);
    if one.poll(due) == Some(TurnStep::Read) {
        one.handle_read(Some(seen), due);
    }
    let Some(TurnStep::Write { expect, record }) = one.poll(due) else { panic!("{one:?}") };
    board.write(expect, record);
    one.handle_written(None, due);
    assert_eq!(one.until(), Some(now + 10 * SECOND), "as before");
    board.serve(&mut one, due + SECOND);
    assert_eq!(one.until(), Some(due + SECOND + 10 * SECOND));
}

#[test]
fn without_a_registry_it_is_asked_again_and_nothing_is_sent() {
    let now = runtime::now();
    let mut one = wants("n1", 1, now);
    for seconds in 0..5 {
        let now = now + seconds * SECOND;
        assert_eq!(one.poll(now), Some(TurnStep::Read));
        one.handle_read(None, now);
        assert_eq!((one.poll(now), one.until()), (None, None));
    }
}

/// Nodes that are slow, cut off and stand still at random: two attempts of two nodes never overlap.
#[test]
fn attempts_of_two_nodes_never_overlap() {
    for seed in 0..200_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = move |below: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % below
        };
        let mut now = runtime::now();
        let mut board = Board::default();
        let mut turns = ["n1", "n2", "n3"].map(|node| wants(node, 1, now));
        let mut cut = [false; 3];
        let mut busy: [Option<Instant>; 3] = [None; 3];
        for _step in 0..400 {
            now += Duration::from_millis(roll(2500));
            let one = usize::try_from(roll(3)).unwrap();
            if roll(40) == 0 {
                cut[one] = !cut[one];
            }
            for end in &mut busy {
                end.take_if(|end| now >= *end);
            }
            let turn = &mut turns[one];
            turn.handle_work(roll(8) > 0, busy[one].is_none());
            turn.handle_news(now);
            if !cut[one] {
                board.serve(turn, now);
                assert!(turn.next_timeout().is_none_or(|next| next > now), "{turn:?}");
            }
            if busy[one].is_none() && turn.until().is_some_and(|until| now <= until) {
                busy[one] = Some(now + Duration::from_millis(roll(30_000)));
                turn.handle_tried();
                turn.handle_work(true, false);
            }
            let under_way = busy.iter().flatten().count();
            assert!(under_way <= 1, "seed {seed}: {under_way} at once");
        }
    }
}
