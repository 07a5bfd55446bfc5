//! Who stands before whom at a lock.
//!
//! Everybody who wants a lock has a child below it whose name ends in a number that the ensemble gave;
//! the lowest have it. The names are those that the common Python client gives its own locks, so that
//! programs in both languages keep each other out.

/// What is between a contender's own name and its number.
pub(crate) const MARK: &str = "__lock__";

/// Where a contender stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has the lock.
    Holds,
    /// It does not; this one, just before it, has to go first.
    Behind(String),
    /// It does not stand there any more.
    Gone,
}

/// Where `ours` stands among `names`, when `holders` may have the lock at once.
pub(crate) fn place(names: &[String], ours: &str, holders: usize) -> Place {
    let mut queue: Vec<(u64, &str)> =
        names.iter().filter_map(|name| Some((number(name)?, name.as_str()))).collect();
    queue.sort_unstable();
    let Some(index) = queue.iter().position(|(_, name)| *name == ours) else { return Place::Gone };
    let before = index.checked_sub(holders.max(1)).and_then(|before| queue.get(before));
    before.map_or(Place::Holds, |(_, name)| Place::Behind((*name).to_owned()))
}

/// The number the ensemble gave; `None` for what is no contender.
fn number(name: &str) -> Option<u64> {
    let (_, number) = name.rsplit_once(MARK)?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Place, place};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_lowest_number_holds_whatever_the_names_are() {
        let all = names(&["a__lock__0000000012", "z__lock__0000000003", "m__lock__0000000005"]);
        assert_eq!(place(&all, "z__lock__0000000003", 1), Place::Holds);
        let behind = Place::Behind("z__lock__0000000003".to_owned());
        assert_eq!(place(&all, "m__lock__0000000005", 1), behind);
        let behind = Place::Behind("m__lock__0000000005".to_owned());
        assert_eq!(place(&all, "a__lock__0000000012", 1), behind);
    }

    #[test]
    fn several_may_hold_it_at_once() {
        let all = names(&["a__lock__0000000001", "b__lock__0000000002", "c__lock__0000000003"]);
        assert_eq!(place(&all, "b__lock__0000000002", 2), Place::Holds);
        let behind = Place::Behind("a__lock__0000000001".to_owned());
        assert_eq!(place(&all, "c__lock__0000000003", 2), behind);
        assert_eq!(place(&all, "c__lock__0000000003", 3), Place::Holds);
        assert_eq!(place(&all, "a__lock__0000000001", 0), Place::Holds);
    }

    #[test]
    fn strangers_do_not_count() {
        let all = names(&["note", "x__lock__", "x__lock__-5", "a__lock__0000000007"]);
        assert_eq!(place(&all, "a__lock__0000000007", 1), Place::Holds);
        assert_eq!(place(&all, "b__lock__0000000008", 1), Place::Gone);
    }
}
