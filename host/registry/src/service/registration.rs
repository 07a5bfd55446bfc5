//! What to do about one path that a program wants set, or gone.
//!
//! Pure: told what is wanted and what stands there, it says the next step. The driver is
//! [`super::keeping`].

use super::data::{Map, says};

/// Whether a registration goes with its program or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes when the session of the program ends, and is made again until it is unset.
    Ephemeral,
    /// It stays, and may be changed by others afterwards.
    Persistent,
}

/// What is wanted of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That this stands there.
    Set { kind: Kind, bytes: Vec<u8>, own: Map },
    /// That nothing stands there; of what others hold ephemerally only if it was not this program's
    /// ephemeral itself.
    Gone { was: Option<Kind> },
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The session it goes with; 0: none.
    pub(crate) owner: i64,
    pub(crate) data: Option<Map>,
    pub(crate) version: i32,
}

/// Sessions of this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    pub(crate) current: i64,
    /// Ended, but the ensemble may not have noticed yet.
    pub(crate) earlier: Vec<i64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: it is as wanted.
    Done,
    Create,
    /// Put the data where something stands.
    Write {
        version: i32,
    },
    /// Remove it, and look again.
    Remove {
        version: Option<i32>,
    },
    /// Somebody else's stands there: wait until it goes. 0: it goes with nobody.
    Wait {
        owner: i64,
    },
}

/// The next step. `applied`: this wish was fulfilled once already, in whatever session.
pub(crate) fn step(wish: &Wish, applied: bool, seen: Option<&Seen>, sessions: &Sessions) -> Step {
    let ours =
        |owner: i64| owner != 0 && (owner == sessions.current || sessions.earlier.contains(&owner));
    match (wish, seen) {
        (Wish::Gone { .. }, None) => Step::Done,
        (Wish::Gone { was: Some(Kind::Ephemeral) }, Some(seen)) if !ours(seen.owner) => Step::Done,
        (Wish::Gone { .. }, Some(_)) => Step::Remove { version: None },
        // What stays belongs to everybody once it is there.
        (Wish::Set { kind: Kind::Persistent, .. }, _) if applied => Step::Done,
        (Wish::Set { .. }, None) => Step::Create,
        (Wish::Set { kind: Kind::Ephemeral, bytes, .. }, Some(seen)) => {
            if seen.owner == sessions.current && seen.owner != 0 {
                let same = super::data::decode(bytes) == seen.data;
                return if same { Step::Done } else { Step::Write { version: seen.version } };
            }
            // Of a session that the ensemble will end soon: with it the new data would vanish.
            if ours(seen.owner) {
                return Step::Remove { version: Some(seen.version) };
            }
            Step::Wait { owner: seen.owner }
        }
        (Wish::Set { kind: Kind::Persistent, own, .. }, Some(seen)) => {
            if ours(seen.owner) {
                Step::Remove { version: Some(seen.version) }
            } else if seen.owner != 0 {
                Step::Wait { owner: seen.owner }
            } else if says(seen.data.as_ref(), own) {
                Step::Done
            } else {
                Step::Write { version: seen.version }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Seen, Sessions, Step, Wish, step};
    use crate::service::data::{Data, Stamp, decode};

    const OURS: i64 = 7;
    const EARLIER: i64 = 6;
    const THEIRS: i64 = 99;

    fn sessions() -> Sessions {
        Sessions { current: OURS, earlier: vec![EARLIER] }
    }

    fn bytes(text: &str, pid: u32) -> Vec<u8> {
        Data::from(text).encode(&Stamp { pid, created: "now".to_owned() })
    }

    fn set(kind: Kind) -> Wish {
        Wish::Set { kind, bytes: bytes("x", 1), own: Data::from("x").own() }
    }

    fn seen(owner: i64, text: &str, pid: u32) -> Option<Seen> {
        Some(Seen { owner, data: decode(&bytes(text, pid)), version: 3 })
    }

    fn check(wish: &Wish, applied: bool, seen: Option<&Seen>, expected: Step) {
        assert_eq!(step(wish, applied, seen, &sessions()), expected, "{wish:?} {seen:?}");
    }

    #[test]
    fn an_ephemeral_is_kept_as_it_was_set() {
        let wish = set(Kind::Ephemeral);
        for applied in [false, true] {
            check(&wish, applied, None, Step::Create);
            check(&wish, applied, seen(OURS, "x", 1).as_ref(), Step::Done);
            check(&wish, applied, seen(OURS, "y", 1).as_ref(), Step::Write { version: 3 });
            check(&wish, applied, seen(OURS, "x", 2).as_ref(), Step::Write { version: 3 });
        }
    }

    #[test]
    fn an_ephemeral_of_an_ended_session_of_ours_is_made_anew() {
        let remove = Step::Remove { version: Some(3) };
        check(&set(Kind::Ephemeral), true, seen(EARLIER, "x", 1).as_ref(), remove);
    }

    #[test]
    fn what_others_hold_is_waited_for_and_not_fought_over() {
        let ephemeral = set(Kind::Ephemeral);
        check(&ephemeral, true, seen(THEIRS, "x", 1).as_ref(), Step::Wait { owner: THEIRS });
        check(&ephemeral, true, seen(0, "x", 1).as_ref(), Step::Wait { owner: 0 });
        let persistent = set(Kind::Persistent);
        check(&persistent, false, seen(THEIRS, "x", 1).as_ref(), Step::Wait { owner: THEIRS });
    }

    #[test]
    fn what_stays_is_written_once_and_only_when_it_says_something_else() {
        let wish = set(Kind::Persistent);
        check(&wish, false, None, Step::Create);
        check(&wish, false, seen(0, "x", 2).as_ref(), Step::Done);
        check(&wish, false, seen(0, "y", 1).as_ref(), Step::Write { version: 3 });
        check(&wish, true, seen(0, "y", 1).as_ref(), Step::Done);
        check(&wish, true, None, Step::Done);
        check(&wish, false, seen(OURS, "x", 1).as_ref(), Step::Remove { version: Some(3) });
    }

    #[test]
    fn taking_back_removes_what_is_ours_or_nobodys() {
        let was = |was| Wish::Gone { was };
        check(&was(None), false, None, Step::Done);
        check(&was(None), false, seen(THEIRS, "x", 1).as_ref(), Step::Remove { version: None });
        let ephemeral = was(Some(Kind::Ephemeral));
        check(&ephemeral, false, seen(OURS, "x", 1).as_ref(), Step::Remove { version: None });
        check(&ephemeral, false, seen(EARLIER, "x", 1).as_ref(), Step::Remove { version: None });
        check(&ephemeral, false, seen(THEIRS, "x", 1).as_ref(), Step::Done);
        let persistent = was(Some(Kind::Persistent));
        check(&persistent, false, seen(0, "x", 1).as_ref(), Step::Remove { version: None });
    }
}
