//! Stories of an engine that is told what the log says and how attempts end.

use model::{Dialect, EventPlace, Part};

use super::*;
use crate::lane::SETTLE_AFTER;

const SECOND: Duration = Duration::from_secs(1);

fn engine(parallel: usize) -> (Engine, Instant) {
    let config = EngineConfig { retry: Retry::default(), parallel, linger: Duration::ZERO };
    let now = runtime::now();
    (Engine::new(config, now), now)
}

fn frozen(seq: u64) -> Arc<Frozen> {
    let events = vec![EventPlace { seq, index: 0, epoch: 1, number: seq }];
    let part = Part { dialect: Dialect::Matrix, render: 1, events, hash: [0; 32], rounds: 0 };
    Arc::new(Frozen { id: FrozenId { epoch: 1, seq, index: 0 }, part })
}

fn owes(seq: u64) -> Owed {
    Owed { front: Some(frozen(seq)), ..Owed::default() }
}

fn failed(connected: bool) -> Tried {
    let ended = Ended::Failed { retry_after: None, silent: !connected, connected };
    Tried { verdict: Verdict::Later, ended, status: None }
}

fn taken() -> Tried {
    let verdict = Verdict::Taken { failed: Vec::new() };
    Tried { verdict, ended: Ended::Answered, status: Some(200) }
}

#[test]
fn a_lane_cuts_and_sends_and_says_that_it_is_done_with_its_next_cut() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(3, 7, Owed { ripe: true, ..Owed::default() }, now);
    let cut = Step::Cut { lane: 3, epoch: 7, settled: None };
    assert_eq!(engine.poll(now), Some(cut));
    assert_eq!(engine.poll(now), None, "not before it is committed");
    engine.handle_appended(3, 7, Some(Owed { ripe: true, ..owes(9) }), now);
    let Some(Step::Send { frozen, .. }) = engine.poll(now) else { panic!("it is sent") };
    engine.handle_tried(3, &frozen, &taken(), now, 0);
    let cut = Step::Cut { lane: 3, epoch: 7, settled: Some(frozen.id) };
    assert_eq!(engine.poll(now), Some(cut));
}

#[test]
fn a_lane_is_claimed_while_nothing_is_under_way_and_rests_until_that_is_over() {
    let (mut engine, now) = engine(1);
    let front = Some(frozen(9).id);
    assert!(!engine.claim(3, 7, front, now), "nobody leads it");
    engine.handle_owed(3, 7, owes(9), now);
    assert!(!engine.claim(3, 6, front, now), "not in that epoch");
    assert!(!engine.claim(3, 7, None, now) && !engine.claim(3, 7, Some(frozen(2).id), now));
    assert!(engine.claim(3, 7, front, now) && !engine.claim(3, 7, front, now));
    assert_eq!(engine.poll(now), None, "what it owes may be given up");
    engine.handle_appended(3, 7, Some(owes(11)), now);
    let sent = engine.poll(now);
    assert!(matches!(sent, Some(Step::Send { frozen, .. }) if frozen.id.seq == 11));
    assert!(!engine.claim(3, 7, Some(frozen(11).id), now), "it is under way");
    engine.handle_tried(3, &frozen(11), &taken(), now, 0);
    assert!(!engine.claim(3, 7, Some(frozen(11).id), now), "it was taken");
}

#[test]
fn while_all_attempts_are_under_way_no_more_is_cut_than_could_be_sent_at_once() {
    let (mut engine, now) = engine(2);
    let ripe = Owed { ripe: true, ..Owed::default() };
    engine.handle_owed(1, 7, owes(9), now);
    assert!(matches!(engine.poll(now), Some(Step::Send { lane: 1, .. })), "one at first");
    assert!(!engine.is_full(), "one more could be cut");
    for lane in 2..6 {
        engine.handle_owed(lane, 7, ripe.clone(), now);
    }
    assert_eq!(engine.poll(now), Some(Step::Cut { lane: 2, epoch: 7, settled: None }));
    assert_eq!((engine.poll(now), engine.is_full()), (None, true), "while it is appended");
    engine.handle_appended(2, 7, Some(owes(10)), now);
    assert_eq!((engine.poll(now), engine.is_full()), (None, true), "and while it waits");
    assert_eq!(engine.next_timeout(), None, "only what ends changes that");

    engine.handle_tried(1, &frozen(9), &taken(), now, 0);
    assert!(!engine.is_full());
    let steps: Vec<Step> = std::iter::from_fn(|| engine.poll(now)).collect();
    let cuts = steps.iter().filter(|step| matches!(step, Step::Cut { .. })).count();
    assert_eq!((cuts, steps.len()), (3, 4), "two at once now: {steps:?}");
}

#[test]
fn what_waits_for_its_next_attempt_keeps_nothing_from_being_cut() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(1, 7, owes(9), now);
    assert!(engine.poll(now).is_some());
    let ended = Ended::Failed { retry_after: None, silent: false, connected: true };
    let five = Tried { verdict: Verdict::Later, ended, status: Some(500) };
    engine.handle_owed(2, 7, owes(10), now);
    engine.handle_tried(1, &frozen(9), &five, now, u32::MAX);
    assert!(matches!(engine.poll(now), Some(Step::Send { lane: 2, .. })));
    engine.handle_owed(3, 7, Owed { ripe: true, ..Owed::default() }, now);
    assert_eq!(engine.poll(now), Some(Step::Cut { lane: 3, epoch: 7, settled: None }));
}

#[test]
fn what_is_done_is_written_down_after_a_second_if_nothing_follows() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(3, 7, owes(9), now);
    assert!(engine.poll(now).is_some());
    engine.handle_tried(3, &frozen(9), &taken(), now, 0);
    assert_eq!(engine.poll(now), None);
    assert_eq!(engine.next_timeout(), Some(now + SETTLE_AFTER));
    assert!(matches!(engine.poll(now + SETTLE_AFTER), Some(Step::Settle { .. })));
}

#[test]
fn a_node_that_leads_again_does_not_send_twice_at_once_what_is_under_way() {
    let (mut engine, now) = engine(4);
    engine.handle_owed(3, 7, owes(9), now);
    assert!(engine.poll(now).is_some());
    engine.handle_closed(3);
    engine.handle_owed(3, 8, owes(9), now);
    assert_eq!(engine.poll(now), None);
    engine.handle_tried(3, &frozen(9), &failed(true), now, 0);
    engine.handle_owed(4, 1, owes(2), now);
    assert!(matches!(engine.poll(now + SECOND), Some(Step::Send { .. })));
}

#[test]
fn while_it_is_down_nothing_is_cut_or_sent_and_then_one_probe_is() {
    let (mut engine, now) = engine(4);
    engine.handle_owed(1, 1, owes(9), now);
    assert!(engine.poll(now).is_some());
    engine.handle_tried(1, &frozen(9), &failed(false), now, u32::MAX);
    assert_eq!(engine.told(), Some(Told::Down));
    engine.handle_owed(2, 1, Owed { ripe: true, ..Owed::default() }, now);
    assert_eq!((engine.poll(now), engine.told()), (None, None));
    assert_eq!(engine.next_timeout(), Some(now + SECOND));
    let later = now + SECOND;
    assert!(matches!(engine.poll(later), Some(Step::Send { lane: 1, .. })));
    assert_eq!(engine.poll(later), None);
    engine.handle_tried(1, &frozen(9), &taken(), later, 0);
    assert_eq!(engine.told(), Some(Told::Recovered));
    assert!(matches!(engine.poll(later), Some(Step::Cut { lane: 2, .. })));
}

#[test]
fn where_one_follows_another_nothing_is_cut_or_sent_out_of_turn_and_one_at_a_time() {
    let (mut engine, now) = engine(4);
    engine.set_turn(Some(false));
    engine.handle_owed(1, 1, owes(9), now);
    engine.handle_owed(2, 1, owes(5), now);
    engine.handle_owed(3, 1, Owed { ripe: true, ..Owed::default() }, now);
    assert_eq!((engine.poll(now), engine.next_timeout()), (None, None));
    assert_eq!(engine.working(), 3, "it wants its turn");
    // It succeeds, so that several could be sent at once.
    engine.service_mut().begin();
    engine.service_mut().end(9, Ended::Answered, 3, now, 0);
    engine.set_turn(Some(true));
    let mut sent = Vec::new();
    while let Some(step) = engine.poll(now) {
        sent.extend(match step {
            Step::Send { lane, frozen, .. } => Some((lane, frozen)),
            Step::Cut { .. } | Step::Settle { .. } => None,
        });
    }
    assert_eq!((sent.len(), engine.sending()), (1, 1));
    engine.set_turn(Some(false));
    let (lane, frozen) = &sent[0];
    engine.handle_tried(*lane, frozen, &taken(), now, 0);
    assert_eq!(engine.poll(now), None);
    let settles = engine.poll(now + SETTLE_AFTER);
    assert!(matches!(settles, Some(Step::Settle { .. })), "what was taken is written down");
}

#[test]
fn a_service_that_is_down_for_one_lane_s_events_is_tried_with_another_s() {
    let (mut engine, now) = engine(4);
    engine.handle_owed(2, 1, owes(9), now);
    assert!(engine.poll(now).is_some());
    let ended = Ended::Failed { retry_after: None, silent: false, connected: true };
    let ill = Tried { verdict: Verdict::Later, ended, status: Some(500) };
    engine.handle_tried(2, &frozen(9), &ill, now, u32::MAX);
    assert!(matches!(engine.service().state(), State::Down { .. }), "it is all there is");
    let ripe = Owed { ripe: true, ..Owed::default() };
    engine.handle_owed(1, 1, ripe.clone(), now);
    engine.handle_owed(3, 1, ripe, now);
    let later = now + SECOND;
    let cut = Step::Cut { lane: 3, epoch: 1, settled: None };
    assert_eq!(engine.poll(later), Some(cut), "one of them");
    assert!(matches!(engine.poll(later), Some(Step::Send { lane: 2, .. })), "meanwhile");
    assert_eq!(engine.poll(later), None);
    engine.handle_appended(3, 1, Some(owes(12)), later);
    engine.handle_tried(2, &frozen(9), &ill, later, u32::MAX);
    let last = later + 2 * SECOND;
    assert!(matches!(engine.poll(last), Some(Step::Send { lane: 3, .. })), "now that one");
    engine.handle_tried(3, &frozen(12), &taken(), last, 0);
    assert_eq!(engine.service().state(), State::Up);
    assert!(matches!(engine.poll(last), Some(Step::Cut { lane: 1, .. })), "and all others");
    assert!(matches!(engine.poll(last), Some(Step::Send { lane: 2, .. })));
}

#[test]
fn a_lane_that_waits_for_others_to_end_wakes_nobody() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(1, 1, owes(9), now);
    engine.handle_owed(2, 1, owes(5), now);
    engine.handle_owed(3, 1, owes(7), now);
    let sends = |engine: &mut Engine, now| match engine.poll(now) {
        Some(Step::Send { lane, frozen, .. }) => (lane, frozen),
        other => panic!("{other:?}"),
    };
    let (lane, tried) = sends(&mut engine, now);
    engine.handle_tried(lane, &tried, &failed(true), now, u32::MAX);
    let _other = sends(&mut engine, now + SECOND);
    assert_eq!(engine.poll(now + 2 * SECOND), None);
    assert_eq!(engine.next_timeout(), None, "there is no room before that one ends");
}

fn answered_500() -> Tried {
    let ended = Ended::Failed { retry_after: None, silent: false, connected: true };
    Tried { verdict: Verdict::Later, ended, status: Some(500) }
}

fn sends(engine: &mut Engine, now: Instant) -> (u16, Arc<Frozen>) {
    match engine.poll(now) {
        Some(Step::Send { lane, frozen, .. }) => (lane, frozen),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_could_not_be_appended_is_appended_later_and_nothing_is_forgotten() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(3, 7, owes(9), now);
    let (_, sent) = sends(&mut engine, now);
    engine.handle_tried(3, &sent, &taken(), now, 0);
    let later = now + SETTLE_AFTER;
    assert!(matches!(engine.poll(later), Some(Step::Settle { .. })));
    engine.handle_appended(3, 7, None, later);
    assert_eq!(engine.poll(later), None, "not at once");
    let again = engine.next_timeout().unwrap();
    engine.handle_owed(3, 7, owes(9), again);
    assert!(matches!(engine.poll(again), Some(Step::Settle { .. })), "and it is not sent again");
    engine.handle_appended(3, 7, None, again);
    // What it was asked to wait holds too.
    engine.handle_owed(3, 7, owes(11), again);
    let due = engine.next_timeout().unwrap();
    let (_, sent) = sends(&mut engine, due);
    let asked = Some(60 * SECOND);
    let ended = Ended::Failed { retry_after: asked, silent: false, connected: true };
    engine.handle_owed(4, 7, owes(5), again);
    engine.handle_owed(5, 7, owes(6), again);
    let busy = Tried { verdict: Verdict::Later, ended, status: Some(429) };
    engine.handle_tried(3, &sent, &busy, again, 0);
    assert!(engine.claim(3, 7, Some(sent.id), again + SECOND));
    engine.handle_appended(3, 7, None, again);
    engine.handle_owed(3, 7, owes(11), again);
    let (lane, other) = sends(&mut engine, again + 30 * SECOND);
    assert_ne!(lane, 3);
    engine.handle_tried(lane, &other, &taken(), again + 30 * SECOND, 0);
    let (lane, _) = sends(&mut engine, again + 30 * SECOND);
    assert_ne!(lane, 3);
    assert_eq!(engine.poll(again + 30 * SECOND), None, "there is room, and that one waits");
}

#[test]
fn a_refusal_whose_entry_could_not_be_appended_is_not_made_twice() {
    let (mut engine, now) = engine(1);
    engine.handle_owed(3, 7, owes(9), now);
    let (_, sent) = sends(&mut engine, now);
    let refused = Tried { verdict: Verdict::Refused, ended: Ended::Answered, status: Some(400) };
    engine.handle_tried(3, &sent, &refused, now, 0);
    let Some(Step::Settle { settlement, .. }) = engine.poll(now) else { panic!("it ends") };
    engine.handle_appended(3, 7, None, now);
    assert_eq!(engine.poll(now), None);
    let again = engine.next_timeout().unwrap();
    let Some(Step::Settle { settlement: same, .. }) = engine.poll(again) else {
        panic!("it ends, and is not sent again")
    };
    assert_eq!(settlement, same);
}

#[test]
fn the_time_that_a_lane_fails_is_that_in_which_it_could_have_been_taken() {
    let give_up = Retry::default().give_up;
    for breaks in [false, true] {
        let (mut engine, now) = engine(4);
        engine.handle_owed(3, 7, owes(9), now);
        engine.handle_owed(4, 7, owes(5), now);
        let (lane, sent) = sends(&mut engine, now);
        engine.handle_tried(lane, &sent, &answered_500(), now, 0);
        if breaks {
            engine.service_mut().pause(now);
        }
        let late = now + give_up;
        if breaks {
            engine.service_mut().resume(late);
            engine.service_mut().begin();
            engine.service_mut().end(9, Ended::Answered, 2, late, 0);
        }
        let mut last = None;
        for _lane in 0..2 {
            let Some(Step::Send { lane: sent_lane, frozen, .. }) = engine.poll(late) else { break };
            if sent_lane == lane {
                last = engine.handle_tried(lane, &frozen, &answered_500(), late, 0);
            } else {
                engine.handle_tried(sent_lane, &frozen, &taken(), late, 0);
            }
        }
        let refused = matches!(last, Some(After::Settle(_)));
        assert_eq!(refused, !breaks, "{last:?}");
    }
}

#[test]
fn lanes_that_fail_beside_a_service_that_is_up_are_seen() {
    let (mut engine, now) = engine(1);
    for lane in 1..=4 {
        engine.handle_owed(lane, 1, owes(u64::from(lane)), now);
    }
    assert_eq!(engine.failing(), Failing::default());
    let (lane, sent) = sends(&mut engine, now);
    engine.handle_tried(lane, &sent, &answered_500(), now, u32::MAX);
    let (second, sent) = sends(&mut engine, now + SECOND / 2);
    engine.handle_tried(second, &sent, &answered_500(), now + SECOND / 2, u32::MAX);
    assert_eq!(engine.service().state(), State::Up);
    let (since, next) = (Some(now), Some(now + SECOND));
    assert_eq!(engine.failing(), Failing { lanes: 2, since, next });
    let (_, _third) = sends(&mut engine, now + SECOND / 2);
    engine.handle_closed(lane);
    assert_eq!(engine.failing().lanes, 1, "somebody else leads it");
}

#[test]
fn where_nothing_waits_another_node_is_believed_and_it_is_no_news() {
    let (mut engine, now) = engine(1);
    let until = now + 60 * SECOND;
    engine.restore(now - SECOND, 5, until, now);
    assert_eq!((engine.told(), engine.service().state()), (None, State::Down { until }));
    engine.hear(true, now);
    assert_eq!((engine.told(), engine.service().state()), (None, State::Up));
    engine.hear(false, now + 10 * SECOND);
    engine.handle_owed(3, 7, owes(9), now);
    engine.hear(true, now + 20 * SECOND);
    assert_eq!(engine.service().state(), State::Recovering, "it has a probe of its own");
    let Some(Step::Send { frozen, .. }) = engine.poll(now + 20 * SECOND) else {
        panic!("the probe")
    };
    engine.told();
    engine.handle_tried(3, &frozen, &taken(), now + 20 * SECOND, 0);
    assert_eq!(engine.told(), Some(Told::Recovered), "that is news");
}

#[test]
fn a_node_that_goes_begins_nothing_and_has_the_log_say_at_once_what_was_taken() {
    let (mut engine, now) = engine(4);
    engine.handle_owed(3, 7, owes(9), now);
    engine.handle_owed(4, 7, Owed { ripe: true, ..Owed::default() }, now);
    let Some(Step::Send { frozen, .. }) = engine.poll(now) else { panic!("it is sent") };
    engine.set_draining(true);
    assert_eq!(
        (engine.poll(now), engine.is_quiet()),
        (None, false),
        "nothing is cut, and one is out"
    );
    engine.handle_tried(3, &frozen, &taken(), now, 0);
    assert!(engine.next_timeout().is_some_and(|next| next <= now), "at once");
    let Some(Step::Settle { lane: 3, settlement, .. }) = engine.poll(now) else {
        panic!("the log hears of it")
    };
    assert_eq!((settlement.id, engine.is_quiet()), (frozen.id, false));
    engine.handle_appended(3, 7, Some(owes(11)), now);
    assert_eq!((engine.poll(now), engine.is_quiet()), (None, true), "what comes next is another's");
    engine.set_draining(false);
    assert!(matches!(engine.poll(now), Some(Step::Send { .. } | Step::Cut { .. })), "it stayed");
}

#[test]
fn how_a_lane_failed_under_another_leader_counts() {
    let (mut engine, now) = engine(1);
    (1..5).for_each(|lane| engine.handle_owed(lane, 7, owes(9), now));
    let Some(Step::Send { lane: ill, frozen: sent, .. }) = engine.poll(now) else { panic!() };
    engine.handle_tried(ill, &sent, &failed(true), now, 0);
    let give_up = Retry::default().give_up;
    let series = Series { id: sent.id, lasted: give_up, step: 6 };
    engine.go_on(ill, &Series { id: frozen(2).id, ..series }, now, u32::MAX);
    let fresh = Failing { lanes: 1, since: Some(now), next: Some(now) };
    assert_eq!(engine.failing(), fresh, "that was another transaction");
    engine.go_on(ill, &series, now, u32::MAX);
    let later = now + 64 * SECOND;
    let known = Failing { lanes: 1, since: now.checked_sub(give_up), next: Some(later) };
    assert_eq!(engine.failing(), known);
    let told = engine.led(now).find_map(|(lane, epoch, series)| Some((lane, epoch, series?)));
    assert_eq!(told, Some((ill, 7, Series { step: 7, ..series })));
    while let Some(Step::Send { lane, frozen, .. }) = engine.poll(now) {
        assert_ne!(lane, ill, "it waits");
        engine.handle_tried(lane, &frozen, &taken(), now, 0);
    }
    let Some(Step::Send { .. }) = engine.poll(later) else { panic!("it is tried again") };
    let after = engine.handle_tried(ill, &sent, &failed(true), later, 0);
    let Some(After::Settle(settlement)) = after else { panic!("{after:?}") };
    assert_eq!(settlement.parked, sent.part.events);
}
