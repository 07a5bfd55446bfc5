//! Visibility by tables, and against a model that asks every event about every version.

use proptest::prelude::*;

use super::*;
use Versioning::{Unversioned, Versioned};

/// A final whole archive. Times are ten times the version, so that they tell who hid what.
fn f(version: u64) -> Event {
    part(version, 0)
}

fn part(version: u64, part: u32) -> Event {
    let size = 100 + u64::from(part);
    Event::Final { version: UnifiedId(version), part, size, time_ms: version * 10 }
}

fn finished(version: u64, parts: u32, time_ms: u64) -> Event {
    Event::Finished { version: UnifiedId(version), parts, time_ms }
}

fn aborted(version: u64, time_ms: u64) -> Event {
    Event::Aborted { version: UnifiedId(version), time_ms }
}

/// A general tombstone.
fn t(version: u64) -> Event {
    Event::Tombstone { version: UnifiedId(version), target: None, time_ms: version * 10 }
}

/// A specific one.
fn t_of(target: u64, version: u64) -> Event {
    let target = Some(UnifiedId(target));
    Event::Tombstone { version: UnifiedId(version), target, time_ms: version * 10 }
}

fn floor(version: u64) -> Event {
    Event::Floor { version: UnifiedId(version), time_ms: 7 }
}

fn seen(versioning: Versioning, events: &[Event]) -> Vec<u64> {
    let forwards: Vec<u64> = visible(versioning, events).iter().map(|found| found.id.0).collect();
    let turned: Vec<Event> = events.iter().rev().copied().collect();
    let backwards: Vec<u64> = visible(versioning, &turned).iter().map(|found| found.id.0).collect();
    assert_eq!(forwards, backwards, "the order in which events become known decides nothing");
    forwards
}

#[test]
fn unversioned_the_latest_is_seen_until_it_is_deleted() {
    assert_eq!(seen(Unversioned, &[f(1), f(2)]), [2]);
    assert_eq!(seen(Unversioned, &[f(1), f(2), t(3)]), [] as [u64; 0]);
    assert_eq!(seen(Unversioned, &[f(1), f(2), t(3), f(4)]), [4]);
}

#[test]
fn unversioned_a_deleted_archive_still_hides_what_it_replaced() {
    // The tombstone of 3 hides 1 and 2, and 4 is deleted by name.
    assert_eq!(seen(Unversioned, &[f(1), f(2), t(3), f(4), t_of(4, 5)]), [] as [u64; 0]);
    assert_eq!(seen(Unversioned, &[f(1), f(2), t_of(2, 3)]), [] as [u64; 0]);
}

#[test]
fn versioned_a_specific_tombstone_shows_the_one_before() {
    assert_eq!(seen(Versioned, &[f(1), f(2), t_of(2, 3)]), [1]);
    assert_eq!(seen(Versioned, &[f(1), f(2), f(4)]), [1, 2, 4]);
}

#[test]
fn versioned_a_general_tombstone_hides_everything_earlier_and_nothing_later() {
    assert_eq!(seen(Versioned, &[f(1), f(2), t(3), f(4)]), [4]);
    assert_eq!(seen(Versioned, &[t(3), f(3), f(4)]), [3, 4]);
}

#[test]
fn a_late_hand_off_does_not_reappear_in_an_unversioned_collection() {
    // 1 and 3 are collected; a floor is what is left of them. Then 2 arrives.
    assert_eq!(seen(Unversioned, &[f(1), f(3), t_of(3, 4), f(2)]), [] as [u64; 0]);
    assert_eq!(seen(Unversioned, &[t_of(3, 4), floor(3), f(2)]), [] as [u64; 0]);
    assert_eq!(seen(Unversioned, &[floor(3), f(3), f(4)]), [4]);
}

#[test]
fn conjoined_parts_are_invisible_until_they_are_finished() {
    let parts = [part(5, 2), part(5, 1)];
    assert_eq!(seen(Versioned, &parts), [] as [u64; 0]);
    assert_eq!(versions(Versioned, &parts)[0].standing, Standing::Pending);
    let whole = [part(5, 2), part(5, 1), finished(5, 2, 60)];
    let found = &visible(Versioned, &whole)[0];
    assert_eq!((found.id, found.size, found.time_ms), (UnifiedId(5), 203, 50));
}

/// N14: the original returned parts in any order, and copies of parts twice.
#[test]
fn n14_parts_come_in_order_and_each_once() {
    let events = [part(5, 3), part(5, 1), part(5, 2), part(5, 1), finished(5, 3, 60), part(5, 3)];
    let found = visible(Versioned, &events);
    assert_eq!(found[0].parts, [1, 2, 0]);
    assert_eq!(found[0].size, 306);
}

#[test]
fn a_conjoined_archive_that_was_aborted_is_invisible() {
    let parts = [part(5, 1), part(5, 2)];
    let both = |more: &[Event]| [&parts[..], more].concat();
    assert_eq!(seen(Versioned, &both(&[aborted(5, 70)])), [] as [u64; 0]);
    let after = both(&[finished(5, 2, 60), aborted(5, 70)]);
    assert_eq!(seen(Versioned, &after), [] as [u64; 0]);
    assert_eq!(versions(Versioned, &after)[0].standing, Standing::Hidden { since_ms: 70 });
}

#[test]
fn a_finished_archive_without_one_of_its_parts_is_never_shown_in_part() {
    let found = versions(Versioned, &[part(5, 1), part(5, 3), finished(5, 3, 60)]);
    assert_eq!(found[0].standing, Standing::Incomplete);
}

#[test]
fn a_conjoined_archive_replaces_earlier_ones_once_it_is_finished() {
    let begun = [f(1), part(2, 1)];
    assert_eq!(seen(Unversioned, &begun), [1]);
    assert_eq!(seen(Unversioned, &[begun[0], begun[1], finished(2, 1, 30)]), [2]);
    // Deleted afterwards, it has replaced what it replaced.
    let aborted = [begun[0], begun[1], finished(2, 1, 30), aborted(2, 40)];
    assert_eq!(seen(Unversioned, &aborted), [] as [u64; 0]);
}

#[test]
fn what_was_started_before_and_finished_after_a_later_one_is_hidden_at_once() {
    let events = [part(2, 1), f(3), finished(2, 1, 90)];
    assert_eq!(seen(Unversioned, &events), [3]);
    assert_eq!(seen(Versioned, &events), [2, 3]);
    assert_eq!(seen(Versioned, &[part(2, 1), t(3), finished(2, 1, 90)]), [] as [u64; 0]);
}

#[test]
fn a_version_is_hidden_since_the_first_that_hides_it() {
    let found = versions(Unversioned, &[f(1), f(2), t(3), f(4)]);
    let standing: Vec<Standing> = found.iter().map(|found| found.standing).collect();
    let hidden = |since_ms| Standing::Hidden { since_ms };
    assert_eq!(standing, [hidden(20), hidden(30), Standing::Visible]);
}

/// The rules once more, each asked of every event: slow, and with nothing clever in it.
fn naive(versioning: Versioning, events: &[Event], version: u64) -> bool {
    let version = UnifiedId(version);
    let complete = |wanted: UnifiedId| {
        events.iter().any(|event| match event {
            Event::Final { version, part: 0, .. } | Event::Finished { version, .. } => {
                *version == wanted
            }
            _ => false,
        })
    };
    let has_part = |wanted: u32| {
        events.iter().any(|event| {
            matches!(event, Event::Final { version: found, part, .. } if *found == version && *part == wanted)
        })
    };
    let parts = events.iter().find_map(|event| match event {
        Event::Finished { version: found, parts, .. } if *found == version => Some(*parts),
        _ => None,
    });
    let whole = has_part(0) || parts.is_some_and(|parts| (1..=parts).all(has_part));
    let hidden = events.iter().any(|event| match *event {
        Event::Tombstone { version: by, target: None, .. } => by > version,
        Event::Tombstone { target: Some(target), .. } => target == version,
        Event::Aborted { version: by, .. } => by == version,
        Event::Floor { version: by, .. } => by >= version,
        Event::Final { version: by, .. } | Event::Finished { version: by, .. } => {
            versioning == Unversioned && by > version && complete(by)
        }
    });
    whole && !hidden
}

fn any_event() -> impl Strategy<Value = Event> {
    // A version is plain or conjoined for good: even ones are conjoined.
    let version = 1..12_u64;
    prop_oneof![
        4 => (version.clone(), 1..4_u32).prop_map(|(version, number)| {
            if version % 2 == 0 { part(version, number) } else { f(version) }
        }),
        2 => (1..6_u64).prop_map(|half| finished(half * 2, u32::try_from(half % 3 + 1).unwrap(), 99)),
        1 => (1..6_u64).prop_map(|half| aborted(half * 2, 98)),
        1 => version.clone().prop_map(t),
        1 => (version.clone(), version.clone()).prop_map(|(target, version)| t_of(target, version)),
        1 => version.prop_map(floor),
    ]
}

proptest! {
    #[test]
    fn the_fold_agrees_with_the_model(
        events in proptest::collection::vec(any_event(), 0..14),
        versioned in any::<bool>(),
    ) {
        let versioning = if versioned { Versioned } else { Unversioned };
        let expected: Vec<u64> =
            (1..12).filter(|version| naive(versioning, &events, *version)).collect();
        prop_assert_eq!(seen(versioning, &events), expected);
    }

    #[test]
    fn what_is_hidden_stays_hidden(
        events in proptest::collection::vec(any_event(), 0..10),
        more in proptest::collection::vec(any_event(), 0..5),
        versioned in any::<bool>(),
    ) {
        let versioning = if versioned { Versioned } else { Unversioned };
        let hidden = |events: &[Event]| -> Vec<UnifiedId> {
            let found = versions(versioning, events).into_iter();
            let found = found.filter(|found| matches!(found.standing, Standing::Hidden { .. }));
            found.map(|found| found.id).collect()
        };
        let after = hidden(&[&events[..], &more[..]].concat());
        for before in hidden(&events) {
            prop_assert!(after.contains(&before), "{} came back", before);
        }
    }
}
