//! Places for readers who wait on this node, and how many of them each caller has.
//!
//! A reader who waits costs little, but not nothing, so there are so many places and no more. Whoever has as many as are
//! still free gets no other: one caller can have half of them, the next half of what is left, and somebody who has none
//! finds one nearly always. Who calls is said by the node that took the request, as a number.

use std::collections::HashMap;
use std::sync::Mutex;

use metrics::{Counter, Gauge, counter, gauge};

use crate::lock::locked;

/// The places of one node.
pub(crate) struct Waiting {
    most: usize,
    taken: Mutex<Taken>,
    waiting: Gauge,
    full: Counter,
    greedy: Counter,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of those who have any; as many at most as there are places.
    of: HashMap<u64, usize>,
}

/// One place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiting: &'a Waiting,
    caller: u64,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// The caller has as many as are free.
    Greedy,
}

impl Waiting {
    /// So many places, all of them free.
    pub(crate) fn new(most: usize) -> Self {
        let turned_away =
            |of: &'static str| counter!("carillon_readers_turned_away_total", "of" => of);
        Self {
            most,
            taken: Mutex::default(),
            waiting: gauge!("carillon_readers_waiting"),
            full: turned_away("all"),
            greedy: turned_away("caller"),
        }
    }

    /// A place for `caller`; 0 is nobody in particular, and is not counted.
    pub(crate) fn take(&self, caller: u64) -> Result<Place<'_>, NoPlace> {
        let mut taken = locked(&self.taken);
        let free = self.most.saturating_sub(taken.all);
        if free == 0 {
            self.full.increment(1);
            return Err(NoPlace::Full);
        }
        if caller != 0 {
            let own = taken.of.get(&caller).copied().unwrap_or_default();
            if own >= free {
                self.greedy.increment(1);
                return Err(NoPlace::Greedy);
            }
            taken.of.insert(caller, own + 1);
        }
        taken.all += 1;
        self.waiting.increment(1.0);
        Ok(Place { waiting: self, caller })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = locked(&self.waiting.taken);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.of.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.caller);
            }
        }
        self.waiting.waiting.decrement(1.0);
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{NoPlace, Waiting};
    use crate::lock::locked;

    #[test]
    fn nobody_gets_a_place_who_has_as_many_as_are_free() {
        let waiting = Waiting::new(8);
        let all = |caller| std::iter::from_fn(|| waiting.take(caller).ok()).collect::<Vec<_>>();
        let (first, second, third) = (all(1), all(2), all(3));
        assert_eq!((first.len(), second.len(), third.len()), (4, 2, 1));
        assert_eq!(waiting.take(1).err(), Some(NoPlace::Greedy));
        let last = waiting.take(4).unwrap();
        assert_eq!(waiting.take(5).err(), Some(NoPlace::Full));
        drop(second);
        assert_eq!(waiting.take(1).err(), Some(NoPlace::Greedy), "two are free");
        assert!(waiting.take(2).is_ok() && waiting.take(3).is_ok());
        drop((first, third, last));
        let taken = locked(&waiting.taken);
        assert!(taken.all == 0 && taken.of.is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn nobody_in_particular_may_have_all() {
        let waiting = Waiting::new(3);
        let all: Vec<_> = (0..3).map(|_| waiting.take(0).unwrap()).collect();
        assert_eq!(waiting.take(0).err(), Some(NoPlace::Full));
        drop(all);
        assert!(locked(&waiting.taken).of.is_empty());
    }
}
