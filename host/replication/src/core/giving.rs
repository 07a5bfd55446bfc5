//! What a log's beginning stands on, as its primary gives it to one member that lacks entries before it.
//!
//! It goes in pieces ahead of the answers, as entries do. The first piece is as good as a question: who was
//! given some of it before says how much is there, and it goes on from there.

use std::time::Duration;

use bytes::Bytes;
use segment::{Base, LogEnd};

use super::Time;

/// A base on its way to one member.
#[derive(Debug)]
pub(super) struct Giving {
    /// What is known of it; the primary's disk tells with the first piece.
    base: Base,
    /// So much of it the member has.
    pub(super) have: u64,
    /// The next piece begins here.
    next: u64,
    /// Nothing is sent ahead before the member has said how much it has.
    known: bool,
    /// A piece is being read.
    reading: bool,
    /// When something was last sent or answered.
    since: Time,
    /// When the member last had more of it than before.
    further: Time,
}

/// Who has not come further for so long is not waited for.
const STALLED: Duration = Duration::from_secs(10);

impl Giving {
    /// Nothing of the base at `place` is given yet.
    pub(super) fn new(place: LogEnd, now: Time) -> Self {
        let base = Base { place, ..Base::default() };
        Self { base, have: 0, next: 0, known: false, reading: false, since: now, further: now }
    }

    /// Which base.
    pub(super) fn place(&self) -> LogEnd {
        self.base.place
    }

    /// How long its contents are; 0 before that is known.
    pub(super) fn total(&self) -> u64 {
        self.base.bytes
    }

    /// From where a piece is to be read now, if one is.
    pub(super) fn read(&mut self, now: Time, window: usize, resend: Duration) -> Option<u64> {
        let waits = if self.known {
            let ahead = usize::try_from(self.next - self.have).unwrap_or(usize::MAX);
            ahead >= window || self.next >= self.base.bytes
        } else {
            self.base.bytes > 0
        };
        let late = now.saturating_sub(self.since) >= resend;
        if self.reading || (waits && !late) {
            return None;
        }
        if waits {
            // No answer for too long: asked again from where it is known to be.
            self.restart();
        }
        self.reading = true;
        self.since = now;
        Some(self.next)
    }

    /// A piece was read; `None` if it is of no use.
    pub(super) fn piece(
        &mut self,
        base: Base,
        at: u64,
        piece: Option<Bytes>,
        now: Time,
    ) -> Option<Bytes> {
        if !std::mem::take(&mut self.reading) || base.place != self.base.place || at != self.next {
            return None;
        }
        let piece = piece?;
        self.base = base;
        self.next += u64::try_from(piece.len()).unwrap_or(0);
        self.since = now;
        Some(piece)
    }

    /// Whether the member still takes it.
    pub(super) fn goes_on(&self, now: Time) -> bool {
        now.saturating_sub(self.further) < STALLED
    }

    /// What it is.
    pub(super) fn base(&self) -> Base {
        self.base
    }

    /// The member has so much.
    pub(super) fn has(&mut self, have: u64, now: Time) {
        let have = have.min(self.base.bytes);
        // It has more than it was sent, from before; or less than it had, and lost the rest.
        if !self.known || have > self.next || have < self.have {
            self.next = have;
        }
        if have > self.have {
            self.further = now;
        }
        self.have = have;
        self.known = true;
        self.since = now;
    }

    /// What is under way may be lost: it is asked again how much is there.
    pub(super) fn restart(&mut self) {
        self.next = self.have;
        self.known = false;
        self.reading = false;
        self.base.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESEND: Duration = Duration::from_secs(1);

    fn base() -> Base {
        Base { place: LogEnd { seq: 9, ..LogEnd::default() }, bytes: 100, ..Base::default() }
    }

    fn give(giving: &mut Giving, now: Time) -> Option<(u64, usize)> {
        let at = giving.read(now, 30, RESEND)?;
        let length = 10.min(100 - usize::try_from(at).unwrap());
        let piece = giving.piece(base(), at, Some(Bytes::from(vec![0; length])), now)?;
        Some((at, piece.len()))
    }

    #[test]
    fn the_first_piece_is_a_question_and_then_as_many_are_ahead_as_may_be() {
        let mut giving = Giving::new(base().place, Time::ZERO);
        assert_eq!(give(&mut giving, Time::ZERO), Some((0, 10)));
        assert_eq!(give(&mut giving, Time::ZERO), None, "it has not answered");
        giving.has(10, Time::ZERO);
        for at in [10, 20, 30] {
            assert_eq!(give(&mut giving, Time::ZERO), Some((at, 10)));
        }
        assert_eq!(give(&mut giving, Time::ZERO), None, "enough is ahead");
        giving.has(100, Time::ZERO);
        assert_eq!(give(&mut giving, Time::ZERO), None, "it has all");
        assert_eq!(give(&mut giving, RESEND), Some((100, 0)), "and has said nothing since");
    }

    #[test]
    fn who_has_some_of_it_is_given_the_rest_and_who_lost_it_all_of_it() {
        let mut giving = Giving::new(base().place, Time::ZERO);
        give(&mut giving, Time::ZERO);
        giving.has(70, Time::ZERO);
        assert_eq!(give(&mut giving, Time::ZERO), Some((70, 10)));
        giving.restart();
        assert_eq!(give(&mut giving, Time::ZERO), Some((70, 10)));
        giving.has(0, Time::ZERO);
        assert_eq!(give(&mut giving, Time::ZERO), Some((0, 10)));
        let mut other = Giving::new(LogEnd::default(), Time::ZERO);
        assert_eq!(give(&mut other, Time::ZERO), None, "the disk has another by now");
    }
}
