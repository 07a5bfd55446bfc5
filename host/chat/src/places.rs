//! Where the messages of a chat stand in its partition's log.
//!
//! Eight bytes a message: the log seq of the entry it is in. Its index in that entry follows from its
//! neighbours, and its epoch from a short list of runs, because epochs only rise. Only committed messages
//! are here.

use model::Cursor;

/// The log places of a chat's messages 1, 2, 3 …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    entries: Vec<u64>,
    /// For each epoch with messages: the epoch, and its last message. Both rise.
    runs: Vec<(u64, u64)>,
}

/// Where one message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry, by its seq in the log.
    pub(crate) entry: u64,
    /// Which of the entry's messages.
    pub(crate) index: usize,
}

impl Places {
    /// One more message, in the entry `entry` that `epoch` made. Returns its cursor.
    pub(crate) fn push(&mut self, epoch: u64, entry: u64) -> Cursor {
        self.entries.push(entry);
        let seq = self.count();
        match self.runs.last_mut() {
            Some((last, end)) if *last == epoch => *end = seq,
            _ => self.runs.push((epoch, seq)),
        }
        Cursor { epoch, seq }
    }

    /// All of it in pieces of at most `most` messages of one epoch: how far the entry of each is from that of
    /// the message before, or from 0.
    pub(crate) fn rises(&self, most: usize) -> impl Iterator<Item = (u64, Vec<u64>)> {
        let mut runs = self.runs.iter().copied().peekable();
        let mut rises = self.entries.iter().scan(0, |before, entry| {
            let rise = entry - *before;
            *before = *entry;
            Some(rise)
        });
        let mut given = 0;
        std::iter::from_fn(move || {
            let (epoch, end) = *runs.peek()?;
            let left = usize::try_from(end - given).unwrap_or(usize::MAX);
            let piece: Vec<u64> = rises.by_ref().take(left.min(most)).collect();
            given += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if given == end {
                runs.next();
            }
            Some((epoch, piece))
        })
    }

    /// Adds a piece of what [`Places::rises`] gave. `None` if it cannot be one: some of it may be added then.
    pub(crate) fn extend(&mut self, epoch: u64, rises: &[u64]) -> Option<()> {
        if self.runs.last().is_some_and(|(last, _)| epoch < *last) {
            return None;
        }
        for rise in rises {
            let entry = self.entries.last().copied().unwrap_or(0).checked_add(*rise)?;
            self.push(epoch, entry);
        }
        Some(())
    }

    /// The entries that hold messages, rising; one that holds several comes as often.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().copied()
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// The cursor of the last message; the default before the first.
    pub(crate) fn head(&self) -> Cursor {
        self.runs
            .last()
            .map_or_else(Cursor::default, |(epoch, seq)| Cursor { epoch: *epoch, seq: *seq })
    }

    /// The cursor of message `seq`; the default for 0.
    pub(crate) fn cursor(&self, seq: u64) -> Cursor {
        let run = self.runs.partition_point(|(_, end)| *end < seq);
        match self.runs.get(run) {
            Some((epoch, _)) if seq > 0 => Cursor { epoch: *epoch, seq },
            _ => Cursor::default(),
        }
    }

    /// Where message `seq` is.
    pub(crate) fn place(&self, seq: u64) -> Option<Place> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        let entry = *self.entries.get(at)?;
        let before = self.entries.get(..at)?;
        let index = before.iter().rev().take_while(|other| **other == entry).count();
        Some(Place { entry, index })
    }

    /// The number of the message at `index` of the entry `entry`.
    pub(crate) fn number(&self, entry: u64, index: u32) -> Option<u64> {
        let first = self.entries.partition_point(|other| *other < entry);
        let at = first.checked_add(usize::try_from(index).ok()?)?;
        let there = self.entries.get(at).is_some_and(|found| *found == entry);
        there.then(|| u64::try_from(at + 1).ok())?
    }

    /// After which message somebody stands who holds `cursor`. One that was withdrawn stands after the
    /// last message that is not beyond it in seq nor in epoch: what they have seen of it is gone, and what
    /// took its place is new to them.
    pub(crate) fn resolve(&self, cursor: Cursor) -> u64 {
        let runs = self.runs.partition_point(|(epoch, _)| *epoch <= cursor.epoch);
        let known = runs.checked_sub(1).and_then(|last| self.runs.get(last));
        known.map_or(0, |(_, end)| cursor.seq.min(*end))
    }
}

#[cfg(test)]
mod tests {
    use model::Cursor;

    use super::{Place, Places};

    /// Epoch 1: messages 1 and 2 in entry 5, 3 in entry 6; epoch 4: message 4 in entry 9.
    fn places() -> Places {
        let mut places = Places::default();
        for (epoch, entry) in [(1, 5), (1, 5), (1, 6), (4, 9)] {
            places.push(epoch, entry);
        }
        places
    }

    #[test]
    fn a_message_is_found_by_its_number() {
        let places = places();
        assert_eq!(places.place(1), Some(Place { entry: 5, index: 0 }));
        assert_eq!(places.place(2), Some(Place { entry: 5, index: 1 }));
        assert_eq!(places.place(4), Some(Place { entry: 9, index: 0 }));
        assert_eq!((places.place(0), places.place(5)), (None, None));
        assert_eq!((places.number(5, 0), places.number(5, 1)), (Some(1), Some(2)));
        assert_eq!(
            (places.number(9, 0), places.number(5, 2), places.number(7, 0)),
            (Some(4), None, None)
        );
        assert_eq!(places.cursor(3), Cursor { epoch: 1, seq: 3 });
        assert_eq!(places.head(), Cursor { epoch: 4, seq: 4 });
        assert_eq!(places.cursor(0), Cursor::default());
        assert_eq!(Places::default().head(), Cursor::default());
    }

    #[test]
    fn pieces_of_places_make_the_same_places_again() {
        for most in 1..6 {
            let mut again = Places::default();
            let pieces: Vec<_> = places().rises(most).collect();
            assert!(pieces.iter().all(|(_, rises)| (1..=most).contains(&rises.len())));
            assert!(pieces.iter().all(|(epoch, rises)| again.extend(*epoch, rises).is_some()));
            assert_eq!(again, places());
        }
        assert_eq!(Places::default().rises(3).count(), 0);
        assert_eq!(places().extend(3, &[1]), None, "epochs rise");
        assert_eq!(places().extend(4, &[u64::MAX]), None);
    }

    #[test]
    fn a_withdrawn_cursor_goes_on_where_its_epoch_ended() {
        let places = places();
        let resolve = |epoch, seq| places.resolve(Cursor { epoch, seq });
        assert_eq!(resolve(0, 0), 0);
        assert_eq!(resolve(1, 2), 2);
        assert_eq!(resolve(1, 4), 3, "message 4 of epoch 1 was withdrawn");
        assert_eq!(resolve(3, 9), 3, "nothing of epoch 3 stayed");
        assert_eq!(resolve(4, 4), 4);
        assert_eq!(resolve(4, 2), 2, "nobody is given this one, and it skips nothing");
        assert_eq!(resolve(0, 7), 0);
    }
}
