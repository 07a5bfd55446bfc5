//! Histories that no correct cluster makes, one for each thing that must never be.

use super::story::{Story, at, content, id, ok, refused, seen, stored, unknown};
use crate::history::{Act, Content, Durability, Operation, Outcome, Reading, Seen, Verdict};

fn all() -> [Seen; 3] {
    [seen("a", 1, 1), seen("b", 1, 2), seen("c", 1, 3)]
}

#[test]
fn a_good_history_is_not_flagged() {
    let mut story = Story::good();
    story.ends(&all());
    story.is_flagged(&[]);
    let counts = story.judged().counts;
    assert_eq!((counts.quorum, counts.messages, counts.surveys, counts.reads), (3, 3, 3, 1));
}

#[test]
fn an_acknowledged_message_is_gone() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 1));
    story.send((30, 40), "b", ok("b", 1, 2));
    story.ends(&[seen("a", 1, 1)]);
    story.is_flagged(&[Verdict::Lost]);
}

#[test]
fn one_member_lacks_an_acknowledged_message() {
    let mut story = Story::good();
    story.ends_at("n1", &all());
    story.ends_at("n2", &all()[..2]);
    // It was read, too.
    story.is_flagged(&[Verdict::Lost, Verdict::Diverged, Verdict::Phantom]);
}

#[test]
fn a_message_that_nobody_sent() {
    let mut story = Story::good();
    story.ends(&[all().as_slice(), &[seen("ghost", 1, 4)]].concat());
    story.is_flagged(&[Verdict::Phantom]);
}

#[test]
fn a_message_that_was_shown_and_is_gone() {
    let mut story = Story::good();
    story.send((80, 90), "d", unknown());
    story.read((91, 95), Some(at(1, 3)), &[seen("d", 1, 4)]);
    story.ends(&all());
    story.is_flagged(&[Verdict::Phantom]);
}

#[test]
fn a_message_that_was_shown_before_it_was_sent() {
    let mut story = Story::default();
    story.read((5, 8), None, &[seen("a", 1, 1)]);
    story.send((10, 20), "a", unknown());
    story.ends(&[seen("a", 1, 1)]);
    story.is_flagged(&[Verdict::Phantom, Verdict::Inverted]);
}

#[test]
fn a_message_that_is_there_twice() {
    let mut story = Story::good();
    let mut again = seen("c", 1, 4);
    again.id = id("another");
    story.ends(&[all().as_slice(), &[again]].concat());
    story.is_flagged(&[Verdict::Duplicate]);
}

#[test]
fn one_id_for_two_messages() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 1));
    story.send((11, 22), "b", unknown());
    let twin = Seen { id: id("a"), ..seen("b", 1, 2) };
    story.ends(&[seen("a", 1, 1), twin]);
    story.is_flagged(&[Verdict::Duplicate]);
}

#[test]
fn one_place_was_seen_with_two_contents() {
    let mut story = Story::default();
    story.send((10, 20), "a", unknown());
    story.send((11, 21), "b", unknown());
    story.read((30, 40), None, &[seen("a", 1, 1)]);
    story.read((30, 40), None, &[seen("b", 1, 1)]);
    story.ends(&[seen("b", 1, 1)]);
    story.is_flagged(&[Verdict::Forked, Verdict::Phantom]);
}

#[test]
fn an_acknowledged_place_is_anothers() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 1));
    story.send((11, 21), "b", ok("b", 1, 1));
    story.ends(&[seen("a", 1, 1), seen("b", 1, 2)]);
    story.is_flagged(&[Verdict::Forked, Verdict::Duplicate]);
}

#[test]
fn a_number_is_missing_in_the_end() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 1));
    story.send((30, 40), "b", ok("b", 1, 3));
    story.ends(&[seen("a", 1, 1), seen("b", 1, 3)]);
    story.is_flagged(&[Verdict::Gap]);
}

#[test]
fn a_page_leaves_one_out() {
    let mut story = Story::good();
    story.read((80, 90), Some(at(1, 1)), &[seen("c", 1, 3)]);
    story.ends(&all());
    story.is_flagged(&[Verdict::Gap]);
}

#[test]
fn a_page_says_that_there_is_nothing_where_there_is_more() {
    let mut story = Story::good();
    story.read((80, 90), Some(at(1, 1)), &[]);
    let Some(Operation { act: Act::Read(Reading { page: Some(page), .. }), .. }) =
        story.0.last_mut()
    else {
        panic!("it is a read");
    };
    page.head = at(1, 3);
    story.ends(&all());
    story.is_flagged(&[Verdict::Gap]);
}

#[test]
fn what_was_sent_later_stands_before() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 2));
    story.send((30, 40), "b", ok("b", 1, 1));
    story.ends(&[seen("b", 1, 1), seen("a", 1, 2)]);
    story.is_flagged(&[Verdict::Inverted]);
}

#[test]
fn an_unknown_send_stands_before_what_had_ended() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 1, 2));
    story.send((30, 40), "b", unknown());
    story.ends(&[seen("b", 1, 1), seen("a", 1, 2)]);
    story.is_flagged(&[Verdict::Inverted]);
}

#[test]
fn an_epoch_falls() {
    let mut story = Story::default();
    story.send((10, 100), "a", ok("a", 2, 1));
    story.send((10, 100), "b", ok("b", 1, 2));
    story.ends(&[seen("a", 2, 1), seen("b", 1, 2)]);
    story.is_flagged(&[Verdict::Inverted]);
}

#[test]
fn a_refused_message_is_read() {
    let mut story = Story::good();
    story.send((80, 90), "no", refused());
    story.ends(&[all().as_slice(), &[seen("no", 1, 4)]].concat());
    story.is_flagged(&[Verdict::RefusedRead]);
}

#[test]
fn a_message_that_was_certainly_not_committed_is_read() {
    let mut story = Story::good();
    story.send((80, 90), "no", Outcome::NotCommitted { code: "no-quorum".to_owned() });
    story.ends(&[all().as_slice(), &[seen("no", 1, 4)]].concat());
    story.is_flagged(&[Verdict::RefusedRead]);
}

#[test]
fn the_same_key_later_makes_it_possible() {
    let mut story = Story::good();
    story.send((80, 90), "d", Outcome::NotCommitted { code: "no-quorum".to_owned() });
    story.send((91, 95), "d", ok("d", 2, 4));
    story.send((96, 99), "d", stored("d", 2, 4, Durability::Quorum, true));
    story.ends(&[all().as_slice(), &[seen("d", 2, 4)]].concat());
    story.is_flagged(&[]);
    assert_eq!(story.judged().counts.replays, 1);
}

#[test]
fn a_repeat_is_answered_otherwise() {
    let mut story = Story::good();
    story.send((80, 90), "c", stored("c", 2, 4, Durability::Quorum, true));
    story.ends(&all());
    story.is_flagged(&[Verdict::KeySplit, Verdict::Duplicate]);
}

#[test]
fn one_key_has_two_messages() {
    let mut story = Story::default();
    story.send_as((10, 20), "k", "a", ok("a", 1, 1));
    story.send_as((30, 40), "k", "b", unknown());
    story.ends(&[seen("a", 1, 1), seen("b", 1, 2)]);
    story.is_flagged(&[Verdict::KeySplit]);
}

#[test]
fn an_answer_is_older_than_its_cursor() {
    let mut story = Story::good();
    story.read((80, 90), None, &all()[..2]);
    let Some(Operation { act: Act::Read(reading), .. }) = story.0.last_mut() else {
        panic!("it is a read");
    };
    reading.seen = Some(at(1, 3));
    story.ends(&all());
    story.is_flagged(&[Verdict::Session]);
}

#[test]
fn a_plain_read_may_be_old_and_a_confirmed_one_may_not() {
    let mut story = Story::good();
    story.read((80, 90), None, &all()[..2]);
    story.ends(&all());
    story.is_flagged(&[]);
    story.confirmed((80, 90), &all()[..2]);
    story.is_flagged(&[Verdict::Stale]);
}

#[test]
fn a_confirmed_read_misses_what_another_was_shown() {
    let mut story = Story::default();
    story.send((10, 100), "a", ok("a", 1, 1));
    story.confirmed((20, 30), &[seen("a", 1, 1)]);
    story.confirmed((40, 50), &[]);
    story.ends(&[seen("a", 1, 1)]);
    story.is_flagged(&[Verdict::Stale]);
}

#[test]
fn an_epoch_that_was_over_acknowledges() {
    let mut story = Story::default();
    story.send((10, 20), "a", ok("a", 2, 1));
    story.send((30, 40), "b", ok("b", 1, 2));
    story.ends(&[seen("a", 2, 1), seen("b", 1, 2)]);
    story.is_flagged(&[Verdict::LateAck, Verdict::Inverted]);
    // A repeat is told what was decided before.
    let mut story = Story::default();
    story.send((5, 8), "b", unknown());
    story.send((10, 20), "a", ok("a", 2, 2));
    story.send((30, 40), "b", stored("b", 1, 1, Durability::Quorum, true));
    story.ends(&[seen("b", 1, 1), seen("a", 2, 2)]);
    story.is_flagged(&[]);
}

#[test]
fn what_only_the_primary_acknowledged_may_vanish_and_is_counted() {
    let mut story = Story::good();
    story.send((80, 90), "d", stored("d", 1, 4, Durability::Local, false));
    story.send((100, 110), "e", ok("e", 2, 4));
    story.ends(&[all().as_slice(), &[seen("e", 2, 4)]].concat());
    story.is_flagged(&[]);
    assert_eq!(story.judged().counts.local_lost, 1);
}

#[test]
fn members_differ_in_what_nobody_knows_of() {
    let mut story = Story::good();
    story.send((80, 90), "d", unknown());
    story.ends_at("n1", &all());
    story.ends_at("n2", &[all().as_slice(), &[seen("d", 1, 4)]].concat());
    story.is_flagged(&[Verdict::Diverged, Verdict::Phantom]);
}

#[test]
fn a_chat_that_nobody_could_read_is_not_a_good_one() {
    Story::good().is_flagged(&[Verdict::Unread]);
}

#[test]
fn a_body_under_two_keys_cannot_be_judged() {
    let mut story = Story::good();
    story.send_as((80, 90), "other", "a", unknown());
    story.ends(&all());
    story.is_flagged(&[Verdict::Malformed]);
}

#[test]
fn an_operation_survives_its_line() {
    let mut story = Story::good();
    story.send((80, 90), "d", unknown());
    story.send((80, 90), "e", stored("e", 0x1f, 4, Durability::Local, true));
    story.send((80, 90), "f", refused());
    story.read((80, 90), Some(at(1, 1)), &[]);
    story.ends(&all());
    story.0[0].ended = None;
    let folder = tempfile::TempDir::new().unwrap();
    let mut writer = crate::history::Writer::create(folder.path(), 7).unwrap();
    for operation in &story.0 {
        writer.write(operation).unwrap();
    }
    assert_eq!(crate::history::load(folder.path()).unwrap(), story.0);
    let line = serde_json::to_value(&story.0[1]).unwrap();
    for field in ["t_inv", "t_ret", "op", "chat", "client", "key", "w", "outcome", "id", "cursor"] {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
    assert_eq!(content("a"), Content::of("alice", "a"));
}
