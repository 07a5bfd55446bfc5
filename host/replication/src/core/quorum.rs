//! How many must hold what.

use registry::Member;

/// How many of the last open epoch's ensemble a seal needs, so that it meets every commit of that epoch.
pub(super) fn seal(ensemble: usize, commit: u8) -> usize {
    (ensemble + 1).saturating_sub(usize::from(commit)).max(1)
}

/// The seq that at least `count` of these hold; 0 if there are not so many.
pub(super) fn held_by(held: &mut [u64], count: usize) -> u64 {
    held.sort_unstable_by(|a, b| b.cmp(a));
    count.checked_sub(1).and_then(|at| held.get(at)).copied().unwrap_or(0)
}

/// A commit quorum that an ensemble can meet.
pub(super) fn commit(wanted: u8, ensemble: &[Member]) -> u8 {
    wanted.clamp(1, u8::try_from(ensemble.len()).unwrap_or(u8::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seal_meets_every_commit() {
        for (ensemble, commit, needed) in
            [(1, 1, 1), (2, 1, 2), (2, 2, 1), (3, 1, 3), (3, 2, 2), (3, 3, 1), (5, 3, 3)]
        {
            assert_eq!(seal(ensemble, commit), needed);
            assert!(needed + usize::from(commit) > ensemble);
        }
    }

    #[test]
    fn what_two_hold_is_the_second_highest() {
        assert_eq!(held_by(&mut [3, 9, 5], 1), 9);
        assert_eq!(held_by(&mut [3, 9, 5], 2), 5);
        assert_eq!(held_by(&mut [3, 9, 5], 3), 3);
        assert_eq!(held_by(&mut [3, 9, 5], 4), 0);
        assert_eq!(held_by(&mut [3, 9, 5], 0), 0);
    }
}
