//! What becomes of requests, whatever came before.

use segment::archive::{Adler32, Md5, Table};

use super::*;
use crate::Outcome;

const COLLECTION: &str = "c";

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A node with the only store that it ever had.
fn holder(name: &str) -> Holder {
    Holder { node: node(name), store: 7 }
}

fn name() -> Name {
    Name { collection: COLLECTION.parse().unwrap(), key: "k".parse().unwrap() }
}

fn upload(count: u64) -> Upload {
    Upload { node: node("n1"), boot: 5, count }
}

fn proposal(count: u64) -> Proposal {
    Proposal {
        upload: upload(count),
        name: name(),
        versioning: Versioning::Versioned,
        part: None,
        sequences: 1,
        size: 4,
        md5: Md5::of(b"data"),
        adler32: Adler32::of(b"data"),
        table: Table::EMPTY,
        meta: Vec::new(),
        repeat: None,
        held: vec![holder("n1"), holder("n2")],
        data: None,
    }
}

fn ask(proposal: Proposal) -> Ask {
    Ask::Final(Box::new(proposal))
}

/// A partition of three, of whom two must hold everything, and its log.
struct Log {
    known: Vec<Fact>,
    ids: UnifiedIds,
    now_ms: u64,
    unfinished: usize,
}

impl Log {
    fn new() -> Self {
        let now_ms = 1_500_000_000_000;
        Self { known: Vec::new(), ids: UnifiedIds::new(7), now_ms, unfinished: 0 }
    }

    /// Decides, and appends what was decided.
    fn ask(&mut self, ask: &Ask) -> Result<Reply, Refusal> {
        let of = match ask {
            Ask::Final(proposal) => Some(proposal.upload.clone()),
            Ask::Cancel { upload } => Some(upload.clone()),
            _ => None,
        };
        let fences = self.known.iter().filter_map(|fact| match fact {
            Fact::WriterStarted { boot, .. } => Some(*boot),
            _ => None,
        });
        let known = Known {
            facts: self.known.iter().filter(|fact| fact.at().is_some()).cloned().collect(),
            upload: self
                .known
                .iter()
                .filter(|fact| of.is_some() && fact.upload() == of.as_ref())
                .cloned()
                .collect(),
            fence: fences.max().unwrap_or(0),
            versioning: None,
            collections: 0,
            unfinished: self.unfinished,
            members: ["n1", "n2", "n3"].map(holder).to_vec(),
            commit: 2,
            now_ms: self.now_ms,
        };
        match decide(ask, &known, &mut self.ids) {
            Decision::Append(entry, reply) => {
                self.known.push(entry.fact);
                Ok(reply)
            }
            Decision::Again(reply) => Ok(reply),
            Decision::Refuse(refusal) => Err(refusal),
        }
    }

    fn version(&mut self, ask: &Ask) -> UnifiedId {
        match self.ask(ask) {
            Ok(Reply::Version(version)) => version,
            Ok(Reply::Stored(stored)) => stored.version,
            other => panic!("{other:?}"),
        }
    }

    fn start(&mut self) -> UnifiedId {
        let (name, versioning, repeat) = (name(), Versioning::Versioned, "s".to_owned());
        self.version(&Ask::Start { name, versioning, repeat })
    }

    fn part(&mut self, version: UnifiedId, part: u32, count: u64) -> Result<Reply, Refusal> {
        self.ask(&ask(Proposal { part: Some((version, part)), ..proposal(count) }))
    }
}

fn finish(version: UnifiedId) -> Ask {
    Ask::Finish { name: name(), versioning: Versioning::Versioned, version }
}

fn abort(version: UnifiedId) -> Ask {
    Ask::Abort { name: name(), versioning: Versioning::Versioned, version }
}

fn code(done: Result<Reply, Refusal>) -> Code {
    done.unwrap_err().code
}

#[test]
fn a_final_needs_enough_members_of_the_ensemble_that_hold_it() {
    let mut log = Log::new();
    for held in [&[][..], &["n1"], &["n1", "n1"], &["n1", "stranger"]] {
        let held = held.iter().map(|name| holder(name)).collect();
        let refused = log.ask(&ask(Proposal { held, ..proposal(1) })).unwrap_err();
        assert_eq!(refused.code, Code::NoQuorum);
        assert_eq!(refused.outcome, Some(Outcome::NotCommitted));
    }
    assert!(log.known.is_empty());
    log.version(&ask(proposal(1)));
    let Some(Fact::Final(made)) = log.known.pop() else { panic!("no final") };
    assert_eq!(made.holders, [node("n1"), node("n2")]);
    // One that brings its bytes needs nobody.
    let data = Some(bytes::Bytes::from_static(b"data"));
    log.version(&ask(Proposal { held: Vec::new(), data, ..proposal(2) }));
}

/// G12: a member that came back with another store under its name between holding and the final was counted,
/// and the object was on one node only.
#[test]
fn a_member_whose_store_was_replaced_holds_nothing() {
    let mut log = Log::new();
    let wiped = Holder { store: 6, ..holder("n2") };
    let refused =
        log.ask(&ask(Proposal { held: vec![holder("n1"), wiped.clone()], ..proposal(1) }));
    assert_eq!(code(refused), Code::NoQuorum);
    assert!(log.known.is_empty());
    let held = vec![holder("n1"), wiped, holder("n3")];
    log.version(&ask(Proposal { held, ..proposal(1) }));
    let Some(Fact::Final(made)) = log.known.pop() else { panic!("no final") };
    assert_eq!(made.holders, [node("n1"), node("n3")], "who is named has it");
}

#[test]
fn the_same_upload_and_the_same_request_get_the_first_answer() {
    let mut log = Log::new();
    let repeat = || Some("r".to_owned());
    let first = log.version(&ask(Proposal { repeat: repeat(), ..proposal(1) }));
    assert_eq!(log.version(&ask(proposal(1))), first, "the same upload");
    assert_eq!(log.version(&ask(Proposal { repeat: repeat(), ..proposal(2) })), first);
    let md5 = Md5::of(b"othe");
    let other = log.ask(&ask(Proposal { repeat: repeat(), md5, ..proposal(3) }));
    assert_eq!(code(other), Code::IdempotencyConflict);
    assert_eq!(log.known.len(), 1);
}

/// G-S2 and G-S3: no final after a cancel or a fence; a final before either stays.
#[test]
fn nothing_becomes_final_behind_a_cancel_or_a_fence() {
    let mut log = Log::new();
    let before = log.version(&ask(proposal(1)));
    assert_eq!(log.ask(&Ask::Cancel { upload: upload(2) }), Ok(Reply::Never));
    assert_eq!(code(log.ask(&ask(proposal(2)))), Code::NoQuorum);
    assert_eq!(log.ask(&Ask::Cancel { upload: upload(1) }), Ok(Reply::Done), "it is final");
    let fence = |boot| Ask::Fence { node: node("n1"), boot };
    log.ask(&fence(5)).unwrap();
    log.version(&ask(proposal(3)));
    log.ask(&fence(6)).unwrap();
    let many = log.known.len();
    log.ask(&fence(6)).unwrap();
    log.ask(&fence(4)).unwrap();
    assert_eq!(code(log.ask(&ask(proposal(4)))), Code::NoQuorum);
    assert_eq!(log.known.len(), many);
    assert_eq!(log.ask(&Ask::Cancel { upload: upload(3) }), Ok(Reply::Done), "final before that");
    assert_eq!(log.ask(&Ask::Cancel { upload: upload(4) }), Ok(Reply::Never));
    assert_eq!(log.known.len(), many + 1, "the fence may stand in another log");
    assert_eq!(log.ask(&Ask::Cancel { upload: upload(4) }), Ok(Reply::Never), "again");
    assert_eq!(log.known.len(), many + 1);
    assert_eq!(log.version(&ask(proposal(1))), before, "what was final stays");
}

/// G-S9: a clock that goes 25 hours forth and back; versions rise.
#[test]
fn versions_rise_whatever_the_clock_does_and_whoever_makes_them() {
    let mut log = Log::new();
    let mut last = UnifiedId(0);
    for (count, hours) in (1..).zip([0, 25, 0, 1, 25, 0]) {
        log.now_ms = 1_500_000_000_000 + hours * 3_600_000;
        if count == 4 {
            // Another node takes over: it knows what the log says.
            log.ids = UnifiedIds::new(7);
        }
        let made = log.version(&ask(proposal(count)));
        assert!(made > last, "{made} after {last}");
        assert_eq!(made.shard(), 7);
        last = made;
    }
    let (name, versioning) = (name(), Versioning::Versioned);
    let delete = Ask::Delete { name, versioning, target: None, repeat: "d".to_owned() };
    let deleted = log.version(&delete);
    assert!(deleted > last);
    assert_eq!(log.version(&delete), deleted, "again");
}

#[test]
fn a_delete_of_one_version_names_one_that_there_is() {
    let mut log = Log::new();
    let made = log.version(&ask(proposal(1)));
    let delete = |target, repeat: &str| Ask::Delete {
        name: name(),
        versioning: Versioning::Versioned,
        target,
        repeat: repeat.to_owned(),
    };
    assert_eq!(code(log.ask(&delete(Some(UnifiedId(3)), "a"))), Code::UnknownVersion);
    let deleted = log.version(&delete(Some(made), "b"));
    assert_eq!(log.version(&delete(Some(made), "c")), deleted);
    assert_eq!(code(log.ask(&delete(None, "b"))), Code::IdempotencyConflict);
}

/// G-S17: whichever of finish and abort comes first in the log decides; an abort hides what is whole.
#[test]
fn finish_and_abort_race_in_the_log() {
    let mut log = Log::new();
    let version = log.start();
    assert_eq!(log.start(), version, "again");
    assert_eq!(code(log.ask(&finish(version))), Code::WrongOrder, "no part");
    log.part(version, 2, 1).unwrap();
    assert_eq!(code(log.ask(&finish(version))), Code::WrongOrder, "part 1 is missing");
    log.part(version, 1, 2).unwrap();
    for (part, refused) in [(0, Code::InvalidRequest), (10_001, Code::InvalidRequest)] {
        assert_eq!(code(log.part(version, part, 3)), refused);
    }
    assert_eq!(code(log.part(UnifiedId(9), 1, 3)), Code::UnknownVersion);
    let mut other = Log { known: log.known.clone(), ids: log.ids.clone(), ..Log::new() };
    // Finish first.
    assert_eq!(log.version(&finish(version)), version);
    assert_eq!(log.version(&finish(version)), version, "again");
    assert_eq!(code(log.part(version, 3, 4)), Code::AlreadyFinal);
    log.part(version, 2, 5).unwrap();
    assert_eq!(log.version(&abort(version)), version);
    // Abort first.
    assert_eq!(other.version(&abort(version)), version);
    assert_eq!(code(other.ask(&finish(version))), Code::AlreadyFinal);
    assert_eq!(code(other.part(version, 3, 6)), Code::AlreadyFinal);
}

/// An archive of parts that nobody finished stayed for ever, and its parts with it.
#[test]
fn an_archive_of_parts_is_given_up_when_nothing_came_of_it_for_long_and_not_before() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut log = Log::new();
    let (version, began) = (log.start(), log.now_ms);
    let give_up = |before_ms| Ask::GiveUp {
        name: name(),
        versioning: Versioning::Versioned,
        version,
        before_ms,
    };
    assert_eq!(log.ask(&give_up(began - 1)), Ok(Reply::Done), "it has just begun");
    log.now_ms = began + 6 * DAY;
    log.part(version, 1, 1).unwrap();
    // Whoever looked before the part came asks in vain: the log has it.
    log.now_ms = began + 8 * DAY;
    let many = log.known.len();
    assert_eq!(log.ask(&give_up(began + DAY)), Ok(Reply::Done), "a part came");
    assert_eq!(log.known.len(), many);
    log.now_ms = began + 13 * DAY;
    assert_eq!(log.ask(&give_up(began + 6 * DAY)), Ok(Reply::Version(version)));
    assert_eq!(log.ask(&give_up(began + 6 * DAY)), Ok(Reply::Done), "again");
    assert_eq!(code(log.part(version, 2, 2)), Code::AlreadyFinal);
    assert_eq!(code(log.ask(&finish(version))), Code::AlreadyFinal);
    // What is whole is nobody's to give up.
    let mut log = Log::new();
    let version = log.start();
    log.part(version, 1, 1).unwrap();
    log.version(&finish(version));
    let late = Ask::GiveUp {
        name: name(),
        versioning: Versioning::Versioned,
        version,
        before_ms: u64::MAX - 1,
    };
    assert_eq!(log.ask(&late), Ok(Reply::Done));
    let visible = segment::archive::visible(Versioning::Versioned, &events(&log.known));
    assert_eq!(visible.len(), 1);
}

#[test]
fn no_more_archives_of_parts_begin_than_there_may_be_unfinished() {
    let mut log = Log::new();
    let first = log.start();
    log.unfinished = UNFINISHED_MAX;
    let start = |repeat: &str| Ask::Start {
        name: name(),
        versioning: Versioning::Versioned,
        repeat: repeat.to_owned(),
    };
    let refused = log.ask(&start("other")).unwrap_err();
    assert_eq!((refused.code, refused.outcome), (Code::Overloaded, Some(Outcome::NotCommitted)));
    assert_eq!(log.start(), first, "a repeat is answered as before");
    log.unfinished -= 1;
    assert_ne!(log.version(&start("other")), first);
}

#[test]
fn a_collection_is_made_once() {
    let made = |versioning, make| {
        let known = Known { versioning, ..Known::default() };
        let ask = Ask::Collection { name: COLLECTION.parse().unwrap(), make };
        decide(&ask, &known, &mut UnifiedIds::new(1))
    };
    use Versioning::{Unversioned, Versioned};
    let reply = |versioning, now| Reply::Made(Made { versioning, now });
    assert!(
        matches!(made(None, Some(Versioned)), Decision::Append(_, told) if told == reply(Versioned, true))
    );
    assert_eq!(made(Some(Versioned), Some(Versioned)), Decision::Again(reply(Versioned, false)));
    assert_eq!(made(Some(Versioned), None), Decision::Again(reply(Versioned, false)));
    for (known, make, refused) in [
        (Some(Versioned), Some(Unversioned), Code::CollectionExists),
        (None, None, Code::UnknownCollection),
    ] {
        assert!(matches!(made(known, make), Decision::Refuse(told) if told.code == refused));
    }
}

#[test]
fn a_chat_is_archived_once_and_in_one_piece() {
    let token = "0123456789abcdef0123456789abcdef";
    let whole = Name { collection: "chats".parse().unwrap(), key: token.parse().unwrap() };
    let chat = |count, data: &[u8]| Proposal {
        name: whole.clone(),
        repeat: Some("chat".to_owned()),
        md5: Md5::of(data),
        ..proposal(count)
    };
    let mut log = Log::new();
    let Ok(Reply::Stored(first)) = log.ask(&ask(chat(1, b"data"))) else { panic!("not stored") };
    let again = log.ask(&ask(chat(2, b"data")));
    assert_eq!(again, Ok(Reply::Stored(Stored { again: true, ..first })));
    let code = |asked: Result<Reply, Refusal>| asked.map_err(|refusal| refusal.code);
    assert_eq!(code(log.ask(&ask(chat(3, b"other")))), Err(Code::IdempotencyConflict));
    let plain = Proposal { repeat: None, ..chat(4, b"data") };
    assert_eq!(code(log.ask(&ask(plain))), Err(Code::AlreadyFinal));
    let part = Proposal { part: Some((first.version, 1)), repeat: None, ..chat(5, b"data") };
    assert_eq!(code(log.ask(&ask(part))), Err(Code::InvalidRequest));
    let beside = Name { key: format!("{token}/x").parse().unwrap(), ..whole.clone() };
    for (count, data) in [(6, b"one"), (7, b"two")] {
        let other = Proposal { name: beside.clone(), repeat: None, ..chat(count, data) };
        assert!(log.ask(&ask(other)).is_ok(), "what is beside it is like any object");
    }
}
