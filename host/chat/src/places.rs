//! Where the messages of a chat stand in its partition's log.
//!
//! The log seq of the entry each message is in. Those only rise, mostly by little, so what is kept is the first of
//! each 128 and by how much every other is beyond the one before it, in as few bytes as that takes: one or two for
//! a message. Its index in the entry follows from its neighbours, and its epoch from a short list of runs, because
//! epochs only rise. Only committed messages are here.

use model::Cursor;

/// Messages of a chunk: so many are looked through to find one.
const CHUNK: usize = 128;

/// Bits of a byte of a rise; the last one says that another byte follows.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

/// The log places of a chat's messages 1, 2, 3 …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    full: Vec<Chunk<Box<[u8]>>>,
    /// The last ones.
    open: Chunk<Vec<u8>>,
    count: usize,
    /// The last message's.
    last: Place,
    /// For each epoch with messages: the epoch, and its last message. Both rise.
    runs: Vec<(u64, u64)>,
}

/// Messages that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chunk<R> {
    first: Place,
    /// How far each of the others is from the one before it.
    rises: R,
}

/// Where one message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The entry, by its seq in the log.
    pub(crate) entry: u64,
    /// Which of the entry's messages.
    pub(crate) index: usize,
}

impl Place {
    /// The place of the next message, which is in the entry `entry`.
    fn next(self, entry: u64) -> Self {
        let index = if entry == self.entry { self.index + 1 } else { 0 };
        Self { entry, index }
    }
}

impl<R: AsRef<[u8]>> Chunk<R> {
    fn places(&self) -> Rising<'_> {
        Rising { next: Some(self.first), rises: self.rises.as_ref() }
    }
}

/// The places of a chunk.
struct Rising<'a> {
    next: Option<Place>,
    rises: &'a [u8],
}

impl Iterator for Rising<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let place = self.next?;
        self.next = self.rise().map(|rise| place.next(place.entry.saturating_add(rise)));
        Some(place)
    }
}

impl Rising<'_> {
    fn rise(&mut self) -> Option<u64> {
        let (mut rise, mut shift) = (0, 0);
        loop {
            let (byte, rest) = self.rises.split_first()?;
            self.rises = rest;
            rise |= u64::from(byte & !MORE).checked_shl(shift).unwrap_or_default();
            if byte & MORE == 0 {
                return Some(rise);
            }
            shift += BITS;
        }
    }
}

fn put(rises: &mut Vec<u8>, mut rise: u64) {
    loop {
        // The low bits alone.
        let low = u8::try_from(rise & u64::from(!MORE)).unwrap_or_default();
        rise >>= BITS;
        if rise == 0 {
            return rises.push(low);
        }
        rises.push(low | MORE);
    }
}

impl Places {
    /// One more message, in the entry `entry` that `epoch` made. Returns its cursor.
    pub(crate) fn push(&mut self, epoch: u64, entry: u64) -> Cursor {
        let place = match self.count {
            0 => Place { entry, index: 0 },
            _ => self.last.next(entry),
        };
        if self.count.is_multiple_of(CHUNK) {
            let fresh = Chunk { first: place, rises: Vec::new() };
            let Chunk { first, rises } = std::mem::replace(&mut self.open, fresh);
            if self.count > 0 {
                self.full.push(Chunk { first, rises: rises.into_boxed_slice() });
            }
        } else {
            put(&mut self.open.rises, entry.saturating_sub(self.last.entry));
        }
        (self.last, self.count) = (place, self.count + 1);
        let seq = self.count();
        match self.runs.last_mut() {
            Some((last, end)) if *last == epoch => *end = seq,
            _ => {
                // Most chats never have another one.
                self.runs.reserve_exact(1);
                self.runs.push((epoch, seq));
            }
        }
        Cursor { epoch, seq }
    }

    /// All of it in pieces of at most `most` messages of one epoch: how far the entry of each is from that of
    /// the message before, or from 0.
    pub(crate) fn rises(&self, most: usize) -> impl Iterator<Item = (u64, Vec<u64>)> {
        let mut runs = self.runs.iter().copied().peekable();
        let mut rises = self.entries().scan(0, |before, entry| {
            let rise = entry - *before;
            *before = entry;
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
            let entry = self.last.entry.checked_add(*rise)?;
            self.push(epoch, entry);
        }
        Some(())
    }

    /// The entries that hold messages, rising; one that holds several comes as often.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u64> {
        let full = self.full.iter().flat_map(Chunk::places);
        let open = (self.count > 0).then(|| self.open.places());
        full.chain(open.into_iter().flatten()).map(|place| place.entry)
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.count).unwrap_or(u64::MAX)
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

    /// The places of a chunk, by its number.
    fn chunk(&self, number: usize) -> Option<Rising<'_>> {
        match self.full.get(number) {
            Some(full) => Some(full.places()),
            None => (number == self.full.len() && self.count > 0).then(|| self.open.places()),
        }
    }

    /// Where message `seq` is.
    pub(crate) fn place(&self, seq: u64) -> Option<Place> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.chunk(at / CHUNK)?.nth(at % CHUNK)
    }

    /// The number of the message at `index` of the entry `entry`.
    pub(crate) fn number(&self, entry: u64, index: u32) -> Option<u64> {
        let wanted = Place { entry, index: usize::try_from(index).ok()? };
        let is_after = |place: &Place| (place.entry, place.index) > (entry, wanted.index);
        let mut after = self.full.partition_point(|chunk| !is_after(&chunk.first));
        if after == self.full.len() && self.count > 0 && !is_after(&self.open.first) {
            after += 1;
        }
        // In the last chunk that does not begin after it, if anywhere.
        let number = after.checked_sub(1)?;
        let at = self.chunk(number)?.position(|place| place == wanted)?;
        u64::try_from(number * CHUNK + at + 1).ok()
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

    /// Rises of every size, and entries with many messages, over several chunks.
    #[test]
    fn however_many_there_are_each_is_found_and_takes_a_byte_or_two() {
        let mut places = Places::default();
        let (mut entries, mut entry) = (Vec::new(), 7);
        for number in 0..1_000_u64 {
            entry += match number {
                300 => 1 << 40,
                301 => 0x7f,
                302 => 0x80,
                380..520 => 0,
                _ => number % 3,
            };
            entries.push(entry);
            let cursor = places.push(1, entry);
            assert_eq!(cursor.seq, number + 1);
        }
        assert_eq!(places.entries().collect::<Vec<_>>(), entries);
        for (seq, entry) in (1..).zip(&entries) {
            let first = entries.partition_point(|other| other < entry);
            let index = usize::try_from(seq).unwrap() - 1 - first;
            assert_eq!(places.place(seq), Some(Place { entry: *entry, index }), "{seq}");
            assert_eq!(places.number(*entry, u32::try_from(index).unwrap()), Some(seq));
            let all = entries.partition_point(|other| other <= entry) - first;
            assert_eq!(places.number(*entry, u32::try_from(all).unwrap()), None);
        }
        assert_eq!(
            (places.number(0, 0), places.number(6, 0), places.number(u64::MAX, 0)),
            (None, None, None)
        );
        assert_eq!(places.place(1_001), None);
        let mut again = Places::default();
        assert!(places.rises(90).all(|(epoch, rises)| again.extend(epoch, &rises).is_some()));
        assert_eq!(again, places);
        let bytes: usize = places.full.iter().map(|chunk| chunk.rises.len()).sum();
        assert!(bytes <= 1_010, "{bytes} bytes for {} messages", 7 * 128);
    }
}
