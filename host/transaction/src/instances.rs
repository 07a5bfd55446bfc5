//! Which instance of a service is tried, where it has several.
//!
//! They take turns. One that failed lately is tried after the others, so that a dead one costs little while there is
//! another; and if all have failed, each is tried all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use runtime::Instant;

/// So many are tried for one attempt: connecting takes up to 5 s each.
const TRIED_MAX: usize = 3;
/// One that failed goes behind the others for so long.
const ASIDE: Duration = Duration::from_secs(10);

/// What is known of the instances of one service.
#[derive(Debug, Default)]
pub struct Instances {
    failed: BTreeMap<String, Instant>,
    turn: usize,
}

impl Instances {
    /// Which of those that are there are tried, and in which order.
    pub fn order(&mut self, there: &[String], now: Instant) -> Vec<String> {
        self.failed.retain(|url, since| there.contains(url) && now < *since + ASIDE);
        self.turn = self.turn.wrapping_add(1);
        let (later, first) = there.split_at(self.turn.checked_rem(there.len()).unwrap_or(0));
        let mut order: Vec<String> = first.iter().chain(later).cloned().collect();
        // What failed longest ago is the first of those that failed; whatever did not is before.
        order.sort_by_key(|url| self.failed.get(url).copied());
        order.truncate(TRIED_MAX);
        order
    }

    /// One did not take what it was sent, and others might.
    pub fn fails(&mut self, url: &str, now: Instant) {
        self.failed.insert(url.to_owned(), now);
    }

    /// One answered.
    pub fn answers(&mut self, url: &str) {
        self.failed.remove(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn they_take_turns() {
        let (mut instances, now) = (Instances::default(), runtime::now());
        let there = urls("a b c");
        let mut first = || instances.order(&there, now)[0].clone();
        let firsts = [first(), first(), first(), first()];
        assert_eq!(firsts, ["b", "c", "a", "b"]);
    }

    #[test]
    fn one_that_failed_is_tried_last_and_after_a_while_like_the_others() {
        let (mut instances, now) = (Instances::default(), runtime::now());
        instances.fails("b", now);
        for _turn in 0..3 {
            assert_eq!(instances.order(&urls("a b c"), now)[2], "b");
        }
        let firsts = |instances: &mut Instances, now| -> Vec<String> {
            (0..3).map(|_| instances.order(&urls("a b c"), now)[0].clone()).collect()
        };
        assert!(!firsts(&mut instances, now).contains(&"b".to_owned()));
        assert!(firsts(&mut instances, now + ASIDE).contains(&"b".to_owned()));
        instances.fails("b", now);
        instances.answers("b");
        assert!(firsts(&mut instances, now).contains(&"b".to_owned()));
    }

    #[test]
    fn when_all_have_failed_all_are_tried_the_one_that_failed_first_before() {
        let (mut instances, now) = (Instances::default(), runtime::now());
        instances.fails("a", now + Duration::from_secs(1));
        instances.fails("b", now);
        assert_eq!(instances.order(&urls("a b"), now + Duration::from_secs(2)), ["b", "a"]);
    }

    #[test]
    fn none_are_none_and_many_are_not_all_tried() {
        let (mut instances, now) = (Instances::default(), runtime::now());
        assert!(instances.order(&[], now).is_empty());
        assert_eq!(instances.order(&urls("a b c d e"), now).len(), TRIED_MAX);
        instances.fails("gone", now);
        instances.order(&urls("a"), now);
        assert!(instances.failed.is_empty(), "only of those that are there something is known");
    }
}
