//! What a chat's entries make of it.

use std::sync::Arc;

use model::{
    Attrs, Body, Change, Chat, ChatStatus, ChatToken, Cursor, Decision, Entry, Kept, Lineup,
    Message, MessageId, Participant, Plan, Reference, Route,
};

const TOKEN: ChatToken = ChatToken([1; 16]);

fn entry(turn: u64, time_ms: u64, changes: Vec<Change>) -> Entry {
    Entry { chat: TOKEN, turn, time_ms, changes, remembered: None }
}

fn fold(entries: &[Entry]) -> Chat {
    entries.iter().fold(Chat::new(TOKEN), |mut chat, entry| {
        chat.apply(entry);
        chat
    })
}

fn create(max_duration_s: Option<u64>, max_participants: Option<u32>) -> Change {
    Change::Create { max_duration_s, max_participants, attrs: Attrs::new() }
}

fn join(id: &str) -> Change {
    Change::Join { id: id.to_owned(), role: String::new(), attrs: Attrs::new() }
}

fn leave(id: &str) -> Change {
    Change::Leave { id: id.to_owned() }
}

fn status(id: &str, status: &str) -> Change {
    Change::MemberStatus { id: id.to_owned(), status: status.to_owned() }
}

fn note(key: &str, value: Option<&[u8]>) -> Change {
    Change::Note { plugin: "p".to_owned(), key: key.to_owned(), value: value.map(<[u8]>::to_vec) }
}

fn end() -> Change {
    Change::End { reason: String::new() }
}

fn message(sender: &str) -> Change {
    said(sender, "text")
}

fn said(sender: &str, kind: &str) -> Change {
    Change::Message(Arc::new(Message {
        id: MessageId([0; 16]),
        sender: sender.to_owned(),
        kind: kind.to_owned(),
        route: Route::Everyone,
        body: Body::Text("hello".to_owned()),
        archive: None,
        attrs: Attrs::new(),
        time_ms: 0,
        sent_ms: None,
        stamps: Vec::new(),
    }))
}

/// A chat after these changes, each a turn of its own, at 100, 200, 300 …
fn after(changes: Vec<Change>) -> Chat {
    let turns: Vec<Entry> = (0..)
        .zip(changes)
        .map(|(turn, change)| entry(turn, (turn + 1) * 100, vec![change]))
        .collect();
    fold(&turns)
}

#[test]
fn a_chat_goes_forward_only() {
    let cases = [
        (vec![], (ChatStatus::Pending, None, None)),
        (vec![Change::Start], (ChatStatus::Started, Some(200), None)),
        (vec![Change::Start, Change::Start], (ChatStatus::Started, Some(200), None)),
        (vec![Change::Start, end()], (ChatStatus::Ended, Some(200), Some(300))),
        (vec![end(), Change::Start, end()], (ChatStatus::Ended, None, Some(200))),
    ];
    for (changes, wanted) in cases {
        let chat = after([vec![create(None, None)], changes.clone()].concat());
        assert_eq!((chat.status, chat.started_ms, chat.ended_ms), wanted, "{changes:?}");
    }
}

#[test]
fn an_ordinal_is_never_given_twice() {
    let chat = after(vec![
        create(None, None),
        join("alice"),
        join("bob"),
        leave("alice"),
        join("alice"),
        join("bob"),
    ]);
    let ordinals: Vec<(&str, u32)> =
        chat.roster.values().map(|member| (member.id.as_str(), member.ordinal)).collect();
    assert_eq!(ordinals, [("alice", 3), ("bob", 2)]);
}

#[test]
fn a_message_says_that_its_sender_is_there() {
    let chat = after(vec![create(None, None), join("alice"), message("alice"), message("bob")]);
    assert_eq!(chat.messages, 2);
    assert_eq!(chat.roster.get("alice").unwrap().heard_ms, 300);
    assert_eq!(chat.roster.len(), 1);
}

#[test]
fn who_is_not_there_has_no_status() {
    let chat = after(vec![create(None, None), join("a"), status("a", "x"), status("b", "y")]);
    assert_eq!(chat.roster.get("a").unwrap().status, "x");
    assert!(!chat.roster.contains_key("b"));
}

#[test]
fn notes_are_kept_and_forgotten() {
    let chat = after(vec![create(None, None), note("a", Some(b"1")), note("b", Some(b"2"))]);
    assert_eq!(chat.notes["p"].len(), 2);
    let chat = after(vec![create(None, None), note("a", Some(b"1")), note("a", None)]);
    assert!(chat.notes.is_empty());
}

#[test]
fn a_chat_is_over_after_its_duration_and_the_grace_or_never() {
    const GRACE: u64 = 360_000;
    let started = after(vec![create(Some(60), None), Change::Start]);
    let expires = 200 + 60_000 + GRACE;
    assert_eq!(started.over_ms(expires, GRACE), None);
    assert_eq!(started.over_ms(expires + 1, GRACE), Some(expires));
    assert_eq!(started.over_ms(expires, 0), Some(200 + 60_000));
    for never in [
        vec![create(Some(60), None)],
        vec![create(Some(0), None), Change::Start],
        vec![create(None, None), Change::Start],
    ] {
        assert_eq!(after(never).over_ms(u64::MAX, GRACE), None);
    }
    let ended = after(vec![create(None, None), Change::Start, end()]);
    assert_eq!(ended.over_ms(0, GRACE), Some(300));
}

/// A chat of the original that started at 1000 s and lasted 600 s: not expired at 1960.0, expired at 1960.001;
/// one without a start or a duration never was.
#[test]
fn the_expiry_of_the_original() {
    const GRACE: u64 = 360_000;
    let chat = |started_ms, max_duration_s| Chat {
        started_ms,
        max_duration_s,
        ..Chat::new(ChatToken([1; 16]))
    };
    let started = chat(Some(1_000_000), Some(600));
    assert_eq!(started.over_ms(1_960_000, GRACE), None);
    assert_eq!(started.over_ms(1_960_001, GRACE), Some(1_960_000));
    for never in
        [chat(None, Some(600)), chat(Some(1_000_000), Some(0)), chat(Some(1_000_000), None)]
    {
        assert_eq!(never.over_ms(u64::MAX, GRACE), None);
    }
}

#[test]
fn room_is_counted_by_who_is_there() {
    assert!(after(vec![create(None, None), join("a")]).has_room());
    assert!(!after(vec![create(None, Some(1)), join("a")]).has_room());
    assert!(after(vec![create(None, Some(1)), join("a"), leave("a")]).has_room());
    assert!(!after(vec![create(None, Some(0))]).has_room());
}

/// The next of a row of numbers that look random and are the same in every run.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
}

fn any_change(seed: &mut u64) -> Change {
    let name = match next(seed) % 3 {
        0 => "a",
        1 => "b",
        _ => "c",
    };
    match next(seed) % 9 {
        0 => message(name),
        1 | 2 => join(name),
        3 => leave(name),
        4 => status(name, "connected"),
        5 => note(name, Some(b"v")),
        6 => note(name, None),
        7 => Change::ChatAttr { name: name.to_owned(), value: "v".to_owned() },
        _ if next(seed).is_multiple_of(4) => end(),
        _ => Change::Start,
    }
}

#[test]
fn the_same_entries_make_the_same_chat() {
    for seed in 0..300 {
        let mut dice = seed;
        let mut entries = vec![entry(0, 10, vec![create(Some(60), Some(2))])];
        for turn in 1..next(&mut dice) % 40 {
            let changes = (0..next(&mut dice) % 4).map(|_| any_change(&mut dice)).collect();
            entries.push(entry(turn, next(&mut dice) % 1000, changes));
        }
        let whole = fold(&entries);
        // A chat that somebody looked at on the way is no other chat.
        let mut watched = Chat::new(TOKEN);
        let mut seen = Vec::new();
        for entry in &entries {
            watched.apply(entry);
            seen.push(watched.clone());
        }
        assert_eq!(whole, watched, "seed {seed}");
        // The clock never goes back, and nobody has another's ordinal.
        let clock = seen.windows(2).all(|pair| pair[0].clock_ms <= pair[1].clock_ms);
        assert!(clock, "seed {seed}");
        let mut ordinals: Vec<u32> = whole.roster.values().map(|member| member.ordinal).collect();
        ordinals.sort_unstable();
        let before = ordinals.len();
        ordinals.dedup();
        assert_eq!(before, ordinals.len(), "seed {seed}");
        assert!(ordinals.iter().all(|ordinal| (1..=whole.joined).contains(ordinal)), "seed {seed}");
    }
}

#[test]
fn what_all_participants_take_is_what_each_of_them_does() {
    let all = |chat: &Chat| chat.roster.values().map(Participant::bytes).sum::<usize>();
    let joins = |role: &str, attrs: &[&str]| Change::Join {
        id: "bob".to_owned(),
        role: role.to_owned(),
        attrs: attrs.iter().map(|name| ((*name).to_owned(), "v".to_owned())).collect(),
    };
    let pair = |value: &str| Change::MemberAttr {
        id: "bob".to_owned(),
        name: "colour".to_owned(),
        value: value.to_owned(),
    };
    let mut chat = after(vec![create(None, None), joins("guest", &["a", "b"])]);
    let mut before = 0;
    for change in [
        joins("", &[]),
        status("bob", "unavailable"),
        status("nobody", "unavailable"),
        pair("red"),
        pair("a much longer one"),
        joins("host", &["a"]),
        status("bob", ""),
    ] {
        chat.change(&change, 5);
        assert_eq!(chat.roster_bytes, all(&chat), "{change:?}");
        before = chat.roster_bytes;
    }
    assert!(before > 0);
    let mut again = Chat { roster_bytes: 0, ..chat.clone() };
    again.weigh();
    assert_eq!(again, chat);
    chat.change(&leave("bob"), 6);
    assert_eq!(chat.roster_bytes, 0);
}

#[test]
fn the_generation_of_a_chat_only_rises() {
    let lineup = Lineup { generation: 5, handlers: Vec::new() };
    let chat = after(vec![create(None, None), Change::Lineup(Arc::new(lineup))]);
    assert_eq!(chat.generation, 5);
    let chat = after(vec![create(None, None), Change::Generation(3), Change::Generation(2)]);
    assert_eq!(chat.generation, 3);
}

fn planned(policy: &str, keep_ms: Option<u64>) -> Change {
    Change::Planned(Arc::new(Plan { policy: policy.to_owned(), keep_ms, ..Plan::default() }))
}

#[test]
fn a_chat_is_planned_for_once_and_kept_once() {
    let mut chat = fold(&[entry(0, 10, vec![create(None, None)])]);
    chat.change(&Change::Kept { archive: Some(1) }, 11);
    assert!(chat.keeping.is_none(), "nothing was planned");
    chat.change(&planned("first", Some(9)), 12);
    assert!(!chat.is_kept());
    for change in
        [planned("second", None), Change::Kept { archive: Some(7) }, Change::Kept { archive: None }]
    {
        chat.change(&change, 13);
    }
    let keeping = chat.keeping.as_ref().unwrap();
    assert_eq!((keeping.plan.policy.as_str(), keeping.plan.keep_ms), ("first", Some(9)));
    assert_eq!(keeping.kept, Some(Kept { archive: Some(7) }));
}

#[test]
fn who_has_a_plan_is_forgotten_when_it_is_carried_out_and_not_before() {
    let end = Change::End { reason: String::new() };
    let chat = || fold(&[entry(0, 10, vec![create(None, None)]), entry(1, 100, vec![end.clone()])]);
    let mut plain = chat();
    assert!(plain.may_be_forgotten(150, Some(50), false));
    assert!(
        !plain.may_be_forgotten(149, Some(50), false) && !plain.may_be_forgotten(150, None, false)
    );
    assert!(!plain.may_be_forgotten(u64::MAX, Some(0), true), "a policy plans, and has not");
    plain.change(&planned("p", Some(70)), 110);
    assert!(!plain.may_be_forgotten(u64::MAX, Some(0), true), "it is not carried out");
    assert!(
        !plain.may_be_forgotten(u64::MAX, Some(0), false),
        "whether or not a policy plans by now"
    );
    plain.change(&Change::Kept { archive: None }, 120);
    assert!(
        plain.may_be_forgotten(170, Some(50), true) && !plain.may_be_forgotten(169, Some(50), true)
    );
    assert!(!plain.may_be_forgotten(199, Some(100), true), "the node keeps longer");
}

#[test]
fn a_chat_counts_the_bytes_of_its_messages_and_knows_when_the_last_was_said() {
    let mut chat = fold(&[entry(0, 10, vec![create(None, None)])]);
    assert_eq!((chat.bytes, chat.said_ms), (0, 10));
    chat.apply(&entry(1, 30, vec![message("alice"), message("bob")]));
    chat.apply(&entry(2, 50, vec![join("carol")]));
    assert_eq!((chat.messages, chat.said_ms), (2, 30));
    assert!(chat.bytes > 0 && chat.bytes.is_multiple_of(2));
}

#[test]
fn what_is_noted_beside_a_message_goes_with_it() {
    let decided = |id: u8| Change::Decided {
        plugin: "m".to_owned(),
        decision: Decision {
            at: Cursor::default(),
            message: MessageId([id; 16]),
            version: "1".to_owned(),
            verdict: "pass".to_owned(),
            notes: vec![("was".to_owned(), "a secret".to_owned())],
        },
    };
    let (reason, by) = (String::new(), String::new());
    let redact = Change::Redact { id: MessageId([1; 16]), number: 1, reason, by };
    let chat = fold(&[
        entry(0, 1, vec![create(None, None)]),
        entry(1, 2, vec![decided(1), decided(2)]),
        entry(2, 3, vec![redact]),
    ]);
    let notes: Vec<usize> = chat.decisions["m"].iter().map(|one| one.notes.len()).collect();
    assert_eq!(notes, [0, 1]);
}

#[test]
fn who_is_unavailable_because_that_was_said_is_told_from_who_is_silent() {
    let chat = fold(&[
        entry(0, 1, vec![create(None, None), join("alice"), join("bob"), join("carol")]),
        entry(1, 2, vec![status("alice", "unavailable"), message("alice")]),
        entry(2, 3, vec![status("bob", "unavailable"), said("system", "user.status")]),
        entry(3, 4, vec![status("carol", "unavailable"), status("nobody", "unavailable")]),
    ]);
    let absent: Vec<&str> = chat.absent.iter().map(String::as_str).collect();
    assert_eq!(absent, ["alice", "carol"]);
    let later = fold(&[
        entry(0, 1, vec![create(None, None), join("alice"), join("carol")]),
        entry(1, 2, vec![status("alice", "unavailable"), status("carol", "unavailable")]),
        entry(2, 3, vec![status("alice", "connected"), leave("carol")]),
    ]);
    assert!(later.absent.is_empty());
}

#[test]
fn a_chat_knows_which_messages_have_attachments_and_what_is_to_go() {
    let showing = |collection: &str, version| {
        let Change::Message(plain) = message("alice") else { unreachable!() };
        let (collection, key) = (collection.to_owned(), "t/bell.jpg".to_owned());
        let archive = Some(Arc::new(Reference { collection, key, version }));
        Change::Message(Arc::new(Message { archive, ..Message::clone(&plain) }))
    };
    let redact = |number| Change::Redact {
        id: MessageId([0; 16]),
        number,
        reason: String::new(),
        by: String::new(),
    };
    let detach = |version| Change::Detach { key: "t/bell.jpg".to_owned(), version };
    let mut changes = vec![
        create(None, None),
        message("alice"),
        showing("attachments", 7),
        showing("photos", 7),
        showing("attachments", 7),
        showing("attachments", 8),
    ];
    let named = |chat: &Chat| chat.attached.named().collect::<Vec<_>>();
    let chat = after(changes.clone());
    assert_eq!(named(&chat), [(2, 7), (4, 7), (5, 8)]);
    assert!(chat.attached.is_named_beside(2, 7) && !chat.attached.is_named_beside(5, 8));
    changes.extend([redact(2), redact(3), redact(9), redact(5), detach(8), end()]);
    let chat = after(changes.clone());
    assert_eq!((named(&chat), chat.attached.is_going(8)), (vec![(4, 7)], true));
    assert!(!chat.attached.is_named_beside(4, 7));
    assert!(!chat.may_be_forgotten(u64::MAX, Some(0), false), "something is to go");
    changes.extend([Change::Detached { version: 8 }, Change::Detached { version: 7 }]);
    let chat = after(changes);
    assert_eq!(chat.attached.going().count(), 0);
    assert!(chat.may_be_forgotten(u64::MAX, Some(0), false));
}
