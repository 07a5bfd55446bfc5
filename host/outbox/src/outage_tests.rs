//! What stands in the registry, and when something is written there, or read once more.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn outage() -> Outage {
    let node = "n1".parse().unwrap();
    let target = "0123456789abcdef".to_owned();
    Outage { format: 1, born: 2, since_ms: 100_000, step: 7, next_ms: 260_000, node, target }
}

/// When this breaks, what stands in registries is no longer readable.
#[test]
fn a_record_has_the_json_it_always_had() {
    let json = r#"{"format":1,"born":2,"since_ms":100000,"step":7,"next_ms":260000,"node":"n1","target":"0123456789abcdef"}"#;
    assert_eq!(String::from_utf8(registry::encode(&outage())).unwrap(), json);
    assert_eq!(Outage::decode(json.as_bytes()), Some(outage()));
    assert_eq!(Outage::decode(json.replace(":1,", ":2,").as_bytes()), None, "a newer one's");
    let never = json.replace(r#""born":2"#, &format!(r#""born":{}"#, COUNT_MAX + 1));
    assert_eq!(Outage::decode(never.as_bytes()), None, "no node wrote that");
    assert_eq!(Outage::decode(b"{}"), None);
    let before = json.replace(r#","target":"0123456789abcdef""#, "");
    let before = Outage::decode(before.as_bytes()).unwrap();
    assert!(!before.is_of(2, &outage().target), "nobody knows where it was");
    assert!(outage().is_of(2, &outage().target) && !outage().is_of(3, &outage().target));
    assert!(!outage().is_of(2, "0123456789abcdee"));
}

#[test]
fn what_one_node_wrote_another_goes_on_from() {
    let now = runtime::now();
    let seen = Seen { since: now - 60 * SECOND, step: 7, until: now + 100 * SECOND };
    let written = seen.outage(2, "n1".parse().unwrap(), now, 160_000);
    assert_eq!(written, Outage { target: String::new(), ..outage() });
    let later = outage().seen(Retry::default(), now, 200_000);
    let (since, until) = (now - 100 * SECOND, now + 60 * SECOND);
    assert_eq!(later, Seen { since, step: 7, until });
}

#[test]
fn a_clock_that_is_wrong_puts_nothing_off_for_long() {
    let now = runtime::now();
    let before = outage().seen(Retry::default(), now, 0);
    assert_eq!((before.since, before.until), (now, now + 260 * SECOND));
    let never = Outage { next_ms: u64::MAX, ..outage() };
    assert_eq!(never.seen(Retry::default(), now, 0).until, now + RETRY_AFTER_MAX);
    let long_ago = outage().seen(Retry::default(), now, 10_000_000);
    assert_eq!(long_ago.until, now, "it is tried at once");
}

/// Tells of an outage that lasts for `hours`, looked at twice a second and tried as it would be; how often something is
/// written.
fn writes(hours: u32, retry: Retry, fails: bool) -> usize {
    let (mut memory, mut now) = (Memory::default(), runtime::now());
    memory.is_needless();
    let (since, end) = (now, now + hours * 3600 * SECOND);
    let (mut step, mut until, mut written) = (1, now + retry.first, 0);
    while now < end {
        if now >= until {
            (step, until) =
                (step + 1, now + retry.first.saturating_mul(1 << step.min(20)).min(retry.cap));
        }
        match memory.begins(Some(Seen { since, step, until }), retry, now) {
            Some(Does::Write(seen)) => {
                written += 1;
                match fails {
                    true => memory.fails(now, u32::MAX),
                    false => memory.is_done(Some(seen.step)),
                }
            }
            Some(Does::Remove) => panic!("it is not over"),
            None => {}
        }
        now += SECOND / 2;
    }
    written
}

#[test]
fn an_outage_of_three_days_is_written_no_oftener_than_one_of_an_hour() {
    let retry = Retry::default();
    let (hour, days) = (writes(1, retry, false), writes(72, retry, false));
    assert!(hour == days && (5..=10).contains(&days), "{hour}, {days}");
    let quick = Retry { first: SECOND / 10, cap: SECOND, ..retry };
    assert_eq!(writes(1, quick, false), 1, "the waits are long by then");
    let failing = writes(1, retry, true);
    assert!((10..=25).contains(&failing), "{failing}: it is tried again, more and more rarely");
}

#[test]
fn what_lasts_a_moment_costs_nothing_and_what_is_over_is_taken_away() {
    let (mut memory, now) = (Memory::default(), runtime::now());
    let retry = Retry::default();
    let seen = Seen { since: now, step: 1, until: now + SECOND };
    let soon = now + SECOND;
    assert_eq!(memory.begins(Some(seen), retry, now + NOTE_AFTER), None, "nothing was read");
    memory.is_needless();
    assert_eq!(memory.begins(Some(seen), retry, soon), None);
    assert_eq!(memory.begins(None, retry, soon), None);
    assert_eq!(memory.begins(Some(seen), retry, now + NOTE_AFTER), Some(Does::Write(seen)));
    memory.ends();
    assert_eq!(memory.begins(None, retry, now + NOTE_AFTER), None, "one thing at a time");
    memory.is_done(Some(1));
    assert_eq!(memory.begins(None, retry, now + NOTE_AFTER), Some(Does::Remove));
}

#[test]
fn what_cannot_be_read_is_read_again_and_keeps_nobody_waiting_for_long() {
    let (mut memory, began) = (Memory::default(), runtime::now());
    let (retry, mut now) = (Retry::default(), began);
    let mut tries = 0;
    while !memory.is_clear() {
        assert!(memory.reads(now) && !memory.reads(now), "at each look, one at a time");
        memory.is_unread(now, u32::MAX);
        (now, tries) = (now + SECOND / 2, tries + 1);
    }
    assert_eq!((tries, now - began), (21, READ_MAX + SECOND / 2));
    let seen = Seen { since: began, step: 1, until: now };
    assert_eq!(memory.begins(Some(seen), retry, now), None, "nobody knows what stands there");
    assert!(!memory.reads(now), "more rarely from now on");
    now += SECOND;
    assert!(memory.reads(now));
    assert!(!memory.is_known(Some(7)), "things have been sent meanwhile");
    memory.ends();
    assert_eq!(memory.begins(None, retry, now), Some(Does::Remove));
    memory.fails(now, u32::MAX);
    assert_eq!(memory.begins(None, retry, now), None);
    assert_eq!(memory.begins(None, retry, now + SECOND), Some(Does::Remove), "until it is done");
}
