//! Stories of a turn, told to it by hand and by dice.

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

    fn lands(&mut self, turn: &Turn, step: &TurnStep) -> Answer {
        match step {
            TurnStep::Read => return Answer::Seen(self.seen(turn)),
            TurnStep::Write { expect, record } => {
                return Answer::Written(self.write(*expect, record.clone()));
            }
            TurnStep::Mark(true) => drop(self.marks.insert(turn.node.clone())),
            TurnStep::Mark(false) => drop(self.marks.remove(&turn.node)),
        }
        Answer::Marked
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

#[test]
fn what_passes_it_on_ends_it_here_before_it_is_written_and_also_if_nobody_hears_of_it() {
    let (mut board, mut one, mut two, now) = two();
    let later = now + SECOND;
    one.handle_news(later);
    let seen = board.seen(&one);
    assert_eq!(one.poll(later), Some(TurnStep::Read));
    one.handle_read(Some(seen), later);
    let Some(TurnStep::Write { expect, record }) = one.poll(later) else { panic!("{one:?}") };
    assert_eq!(record.holder, "");
    assert_eq!(one.until(), None, "the other may have it at any moment");
    board.write(expect, record);
    two.handle_news(later);
    board.serve(&mut two, later);
    assert!(two.is_held());
    one.handle_written(None, later);
    assert_eq!(one.until(), None, "nobody knows");
    board.serve(&mut one, later);
    assert!(!one.is_held() && two.is_held());
}

#[test]
fn what_could_not_be_given_back_is_given_back_or_taken_up_again() {
    for wants in [false, true] {
        let now = runtime::now();
        let mut board = Board::default();
        let mut one = self::wants("n1", 1, now);
        board.serve(&mut one, now);
        one.handle_work(false, true);
        let due = now + RENEW_EVERY;
        let seen = board.seen(&one);
        assert_eq!(one.poll(due), Some(TurnStep::Read));
        one.handle_read(Some(seen), due);
        assert!(matches!(one.poll(due), Some(TurnStep::Write { .. })));
        one.handle_written(None, due);
        assert_eq!((one.until(), one.next_timeout()), (None, Some(due)), "it is looked");
        one.handle_work(wants, true);
        board.serve(&mut one, due);
        assert_eq!(one.is_held(), wants);
        assert_eq!(board.record.unwrap().0.holder, if wants { "n1" } else { "" });
    }
}

#[test]
fn it_is_not_given_back_while_something_is_under_way_whatever_was_said_before() {
    let (_board, mut one, two, _now) = two();
    one.handle_work(true, true);
    assert_eq!(one.given_back(false), None, "an attempt has begun since");
    assert!(
        matches!(one.given_back(true), Some(TurnStep::Write { record, .. }) if record.holder.is_empty())
    );
    assert_eq!(two.given_back(true), None, "it has none");
}

/// A node, and what it has on its way to the registry.
struct Node {
    turn: Turn,
    asked: Option<Asked>,
    /// Until when its attempt is under way.
    busy: Option<Instant>,
    cut: bool,
}

/// A step on its way: when the registry does it, if it does, and when the node hears of it, or that it is unknown.
struct Asked {
    step: TurnStep,
    lands: Option<Instant>,
    heard: Instant,
    answer: Option<Answer>,
}

enum Answer {
    Seen(TurnSeen),
    Written(Option<u64>),
    Marked,
}

fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % below
    }
}

impl Node {
    fn begin_step(&mut self, now: Instant, roll: &mut impl FnMut(u64) -> u64) {
        if self.asked.is_some() {
            return;
        }
        let Some(step) = self.turn.poll(now) else {
            assert!(self.turn.next_timeout().is_none_or(|next| next > now), "{:?}", self.turn);
            return;
        };
        let lands = now + Duration::from_millis(roll(1500));
        // Most are heard of soon, some only given up, and what is given up may land later.
        let heard = match self.cut || roll(12) == 0 {
            true => now + Duration::from_millis(roll(3000)),
            false => lands + Duration::from_millis(roll(1500)),
        };
        let lands = (!self.cut && roll(30) > 0).then_some(lands);
        self.asked = Some(Asked { step, lands, heard, answer: None });
    }

    fn land(&mut self, board: &mut Board, now: Instant) {
        let Some(asked) = self.asked.as_mut() else { return };
        if asked.lands.take_if(|lands| *lands <= now).is_some() {
            asked.answer = Some(board.lands(&self.turn, &asked.step));
        }
    }

    /// Hears of what it asked for; what may still land then is returned.
    fn hear(&mut self, now: Instant) -> Option<(TurnStep, Instant)> {
        let asked = self.asked.take_if(|asked| asked.heard <= now)?;
        match (&asked.step, asked.answer) {
            (TurnStep::Read, Some(Answer::Seen(seen))) => self.turn.handle_read(Some(seen), now),
            (TurnStep::Read, _) => self.turn.handle_read(None, now),
            (TurnStep::Write { .. }, Some(Answer::Written(version))) => {
                self.turn.handle_written(version, now);
            }
            (TurnStep::Write { .. }, _) => self.turn.handle_written(None, now),
            (TurnStep::Mark(_), _) => self.turn.handle_marked(),
        }
        asked.lands.map(|lands| (asked.step, lands))
    }
}

/// Nodes that are slow and cut off at random, with attempts and writes under way at the same time, of which some are
/// only given up and land later: two attempts of two nodes never overlap.
#[test]
fn attempts_of_two_nodes_never_overlap() {
    let mut passed = 0;
    for seed in 0..300_u64 {
        let mut roll = dice(seed);
        let mut now = runtime::now();
        let mut board = Board::default();
        let mut nodes = ["n1", "n2", "n3"].map(|name| Node {
            turn: wants(name, 1, now),
            asked: None,
            busy: None,
            cut: false,
        });
        let mut late: Vec<(usize, TurnStep, Instant)> = Vec::new();
        let mut last = None;
        for _step in 0..1500 {
            now += Duration::from_millis(roll(400));
            let one = usize::try_from(roll(3)).unwrap();
            for node in &mut nodes {
                node.busy.take_if(|end| now >= *end);
                node.land(&mut board, now);
            }
            for (of, step, _) in late.extract_if(.., |(_, _, lands)| *lands <= now) {
                board.lands(&nodes[of].turn, &step);
            }
            let node = &mut nodes[one];
            if roll(150) == 0 {
                node.cut = !node.cut;
            }
            late.extend(node.hear(now).map(|(step, lands)| (one, step, lands)));
            node.turn.handle_work(roll(8) > 0, node.busy.is_none());
            if roll(4) == 0 {
                node.turn.handle_news(now);
            }
            node.begin_step(now, &mut roll);
            if node.busy.is_none() && node.turn.until().is_some_and(|until| now <= until) {
                let most = if roll(10) == 0 { 30_000 } else { 700 };
                node.busy = Some(now + Duration::from_millis(roll(most)));
                node.turn.handle_tried();
                passed += u32::from(last.replace(one) != Some(one));
            }
            let under_way = nodes.iter().filter(|node| node.busy.is_some()).count();
            assert!(under_way <= 1, "seed {seed}: {under_way} at once");
        }
    }
    assert!(passed > 1000, "it was passed on {passed} times only");
}
