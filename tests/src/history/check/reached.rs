//! How far something was known to have come before a moment: all that real-time order needs.

/// Points in time with a number reached at each.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// By time; each number is the highest up to there.
    highest: Vec<(u64, u64)>,
}

impl Reached {
    pub(super) fn new(points: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut highest: Vec<(u64, u64)> = points.into_iter().collect();
        highest.sort_unstable();
        let mut most = 0;
        for (_, number) in &mut highest {
            most = most.max(*number);
            *number = most;
        }
        Self { highest }
    }

    /// The highest number reached strictly before `moment`.
    pub(super) fn before(&self, moment: u64) -> Option<u64> {
        let until = self.highest.partition_point(|(at, _)| *at < moment);
        let last = until.checked_sub(1)?;
        self.highest.get(last).map(|(_, number)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::Reached;

    #[test]
    fn only_what_was_before_counts_and_the_highest_of_it() {
        let reached = Reached::new([(30, 2), (10, 5), (20, 1)]);
        assert_eq!(reached.before(10), None);
        assert_eq!(reached.before(11), Some(5));
        assert_eq!(reached.before(31), Some(5));
        assert_eq!(Reached::default().before(9), None);
    }
}
