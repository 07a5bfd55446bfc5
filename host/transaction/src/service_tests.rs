//! Stories of a service, told to it by hand.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FAILED: Ended = Ended::Failed { retry_after: None, silent: false, connected: true };
const CUT: Ended = Ended::Failed { retry_after: None, silent: true, connected: false };

fn service() -> (Service, Instant) {
    let now = runtime::now();
    (Service::new(Retry::default(), 16, now), now)
}

fn attempt(service: &mut Service, lane: u16, ended: Ended, now: Instant) {
    service.handle_timeout(now);
    assert!(service.may_send(), "{:?}", service.state());
    service.begin();
    service.end(lane, ended, 5, now, u32::MAX);
}

#[test]
fn without_a_connection_it_is_down_at_once_and_one_probe_brings_it_back() {
    let (mut service, now) = service();
    attempt(&mut service, 1, CUT, now);
    assert_eq!(service.state(), State::Down { until: now + SECOND });
    service.handle_timeout(now + SECOND / 2);
    assert!(!service.may_send() && !service.may_cut(true, 0), "too early");
    attempt(&mut service, 1, CUT, now + SECOND);
    assert_eq!(service.state(), State::Down { until: now + 3 * SECOND }, "the second wait");
    service.handle_timeout(now + 3 * SECOND);
    assert_eq!(service.state(), State::Recovering);
    assert!(service.may_cut(true, 0) && !service.may_cut(false, 0));
    service.begin();
    assert!(!service.may_send(), "one probe");
    service.end(1, Ended::Answered, 5, now + 3 * SECOND, 0);
    assert_eq!((service.state(), service.wakes()), (State::Up, 1));
    attempt(&mut service, 1, CUT, now + 4 * SECOND);
    assert_eq!(service.state(), State::Down { until: now + 5 * SECOND }, "from the first wait on");
}

#[test]
fn one_lane_that_fails_is_not_the_service_and_three_are() {
    let (mut service, now) = service();
    attempt(&mut service, 1, FAILED, now);
    attempt(&mut service, 1, FAILED, now);
    attempt(&mut service, 2, FAILED, now);
    assert_eq!(service.state(), State::Up);
    attempt(&mut service, 9, Ended::Answered, now);
    attempt(&mut service, 1, FAILED, now);
    attempt(&mut service, 2, FAILED, now);
    assert_eq!(service.state(), State::Up, "there was a success between");
    attempt(&mut service, 3, FAILED, now);
    assert!(matches!(service.state(), State::Down { .. }));
}

#[test]
fn where_there_are_fewer_lanes_all_of_them_are_enough() {
    let (mut service, now) = service();
    service.begin();
    service.end(7, FAILED, 1, now, 0);
    assert!(matches!(service.state(), State::Down { .. }));
}

#[test]
fn success_widens_the_window_and_silence_closes_it() {
    let (mut service, now) = service();
    for window in [1, 2, 4, 8, 16, 16] {
        for _ in 0..window {
            assert!(service.may_send());
            service.begin();
        }
        assert!(!service.may_send(), "{window}");
        for _ in 1..window {
            service.end(1, Ended::Cancelled, 9, now, 0);
        }
        service.end(1, Ended::Answered, 9, now, 0);
    }
    service.begin();
    let silent = Ended::Failed { retry_after: None, silent: true, connected: true };
    service.end(1, silent, 9, now, 0);
    service.begin();
    assert!(!service.may_send());
}

#[test]
fn what_is_down_for_too_long_is_given_up_and_a_wake_tries_again() {
    let (mut service, now) = service();
    attempt(&mut service, 1, CUT, now);
    let late = now + Retry::default().give_up;
    service.handle_timeout(late);
    assert_eq!(service.state(), State::Stopped(Cause::GaveUp));
    service.wake(late);
    assert_eq!(service.state(), State::Recovering);
    attempt(&mut service, 1, CUT, late);
    assert!(matches!(service.state(), State::Down { .. }), "the time counts from here");
}

#[test]
fn it_is_down_since_it_was_found_so_however_often_it_is_tried() {
    let (mut service, now) = service();
    attempt(&mut service, 1, CUT, now);
    for seconds in [1, 3, 7] {
        attempt(&mut service, 1, CUT, now + seconds * SECOND);
        assert_eq!(service.since(), now, "after {seconds} s");
    }
    service.handle_timeout(now + 15 * SECOND);
    assert_eq!((service.state(), service.since()), (State::Recovering, now));
    attempt(&mut service, 1, Ended::Answered, now + 15 * SECOND);
    assert_eq!(service.since(), now + 15 * SECOND);
}

#[test]
fn what_was_down_before_goes_on_where_it_was() {
    let (mut service, now) = service();
    let (since, until) = (now - 600 * SECOND, now + 200 * SECOND);
    service.restore(since, 7, until, now);
    assert_eq!((service.state(), service.since()), (State::Down { until }, since));
    assert!(!service.may_send() && !service.may_cut(true, 0));
    attempt(&mut service, 1, CUT, until);
    assert_eq!(service.state(), State::Down { until: until + 128 * SECOND }, "the eighth wait");
    assert_eq!(service.outage(), Some((since, 8)));
    service.restore(now, 1, now, until);
    assert_eq!(service.outage(), Some((since, 8)), "what was found out here counts");
    attempt(&mut service, 1, Ended::Answered, until + 128 * SECOND);
    assert_eq!((service.state(), service.outage()), (State::Up, None));
}

#[test]
fn what_should_have_been_tried_meanwhile_is_tried_once() {
    for since in [10 * SECOND, 2 * Retry::default().give_up] {
        let (mut service, now) = service();
        let until = if since > 60 * SECOND { now + SECOND } else { now };
        service.restore(now - since, 9, until, now);
        service.handle_timeout(now);
        assert_eq!(service.state(), State::Recovering, "nobody could have found out");
        service.begin();
        assert!(!service.may_send(), "one probe");
        service.end(1, CUT, 5, now, u32::MAX);
        assert_eq!(service.state(), State::Down { until: now + Retry::default().cap });
        service.handle_timeout(now);
        let given_up = service.state() == State::Stopped(Cause::GaveUp);
        assert_eq!(given_up, since > 60 * SECOND);
    }
}

#[test]
fn what_another_node_found_down_before_it_was_read_waits_as_it_did() {
    let (mut service, now) = service();
    let (since, until) = (now - 60 * SECOND, now + 30 * SECOND);
    service.hear(false, now);
    service.restore(since, 6, until, now);
    assert_eq!((service.state(), service.outage()), (State::Down { until }, Some((since, 6))));
}

#[test]
fn what_is_stopped_stays_so_whatever_was_before() {
    let (mut service, now) = service();
    service.pause(now);
    service.restore(now - SECOND, 3, now + SECOND, now);
    assert_eq!((service.state(), service.outage()), (State::Stopped(Cause::Paused), None));
}

#[test]
fn where_there_is_nothing_to_send_it_is_up_when_another_node_found_it_so() {
    let (mut service, now) = service();
    service.restore(now - SECOND, 3, now, now);
    service.believe(now);
    assert_eq!((service.state(), service.outage()), (State::Up, None));
    service.begin();
    assert!(!service.may_send(), "one attempt at first");
    service.end(1, CUT, 5, now, u32::MAX);
    let until = now + 8 * SECOND;
    assert_eq!(service.state(), State::Down { until }, "the waits went on");
    service.believe(now);
    assert_eq!(service.state(), State::Down { until });
    service.handle_timeout(until);
    service.begin();
    service.believe(until);
    assert_eq!(service.state(), State::Recovering, "its own probe finds out");
}

#[test]
fn gone_waits_for_a_wake_and_paused_only_for_a_resume() {
    let (mut service, now) = service();
    attempt(&mut service, 1, Ended::Gone, now);
    assert_eq!(service.state(), State::Stopped(Cause::Gone));
    service.pause(now);
    service.wake(now);
    assert_eq!(service.state(), State::Stopped(Cause::Paused));
    service.resume(now);
    assert_eq!(service.state(), State::Recovering);
}

#[test]
fn news_of_another_node_has_it_tried_once_and_seldom() {
    let (mut service, now) = service();
    service.hear(true, now);
    assert_eq!(service.state(), State::Up);
    service.hear(false, now);
    assert_eq!(service.state(), State::Recovering, "tried before anything else is sent");
    attempt(&mut service, 1, CUT, now);
    assert_eq!(service.state(), State::Down { until: now + SECOND });
    service.hear(true, now);
    assert!(!service.may_send(), "not twice in a row");
    let later = now + SECOND;
    attempt(&mut service, 1, CUT, later);
    service.hear(true, now + NEWS_EVERY);
    assert_eq!(service.state(), State::Recovering);
    attempt(&mut service, 1, CUT, now + NEWS_EVERY);
    let third = now + NEWS_EVERY + 4 * SECOND;
    assert_eq!(service.state(), State::Down { until: third }, "the waits went on");
    service.pause(now + NEWS_EVERY);
    service.hear(true, third + NEWS_EVERY);
    assert_eq!(service.state(), State::Stopped(Cause::Paused));
}

#[test]
fn what_the_cluster_was_told_is_obeyed_and_no_wake_ends_a_pause() {
    let (mut service, now) = service();
    service.obey(None, now);
    assert_eq!((service.state(), service.wakes()), (State::Up, 0), "nothing was stopped");
    service.obey(Some(Cause::Paused), now);
    service.wake(now);
    assert_eq!(service.state(), State::Stopped(Cause::Paused));
    service.obey(Some(Cause::Gone), now);
    assert_eq!(service.state(), State::Stopped(Cause::Gone));
    service.obey(None, now);
    assert_eq!((service.state(), service.wakes()), (State::Recovering, 1));
}

#[test]
fn a_late_answer_does_not_start_what_was_stopped() {
    let (mut service, now) = service();
    service.begin();
    service.pause(now);
    service.end(1, Ended::Answered, 1, now, 0);
    assert_eq!(service.state(), State::Stopped(Cause::Paused));
}

#[test]
fn a_service_that_refuses_everything_is_stopped() {
    let (mut service, now) = service();
    for _ in 1..PARKED_IN_A_ROW {
        assert!(!service.parks(now));
    }
    service.takes();
    for _ in 1..PARKED_IN_A_ROW {
        assert!(!service.parks(now));
    }
    assert!(service.parks(now));
    assert_eq!(service.state(), State::Stopped(Cause::RefusesAll));
    service.wake(now);
    assert!(!service.may_send(), "a wake is not enough");
}
