//! What a primary should do next so that its ensemble becomes the wanted one.
//!
//! One step at a time: at most one member is added and one dropped (R3). The primary of a step stays in
//! the ensemble; if it should not, it first gives the partition to a member that does. An ensemble does
//! not become smaller than it should be, and one that already is is not made smaller.

use hashring::NodeId;
use registry::Member;

use super::roster::Goes;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Everything is as it should be, or as good as it can be now.
    Nothing,
    /// Add one, drop one, or both.
    Change {
        /// Who is to be a member.
        add: Option<Member>,
        /// Who no longer.
        drop: Option<Member>,
    },
    /// Another member should lead: one of these.
    HandOver {
        /// In order of preference.
        to: Vec<NodeId>,
    },
}

/// Who holds a partition and who should.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ensembles<'a> {
    pub(super) now: &'a [Member],
    pub(super) wanted: &'a [Member],
    /// How many members there should be.
    pub(super) copies: usize,
    /// The primary.
    pub(super) me: &'a Member,
}

impl Ensembles<'_> {
    /// The next step. `goes` says whether a member that is not wanted may be dropped, `comes` whether one
    /// that is wanted can be given the log now.
    pub(super) fn aim(
        &self,
        goes: impl Fn(&Member) -> Option<Goes>,
        comes: impl Fn(&Member) -> bool,
    ) -> Aim {
        let unwanted = |member: &&Member| !self.wanted.contains(*member);
        let kept: Vec<NodeId> = self
            .wanted
            .iter()
            .filter(|member| self.now.contains(member) && *member != self.me)
            .map(|member| member.node.clone())
            .collect();
        let i_go = unwanted(&self.me) && goes(self.me).is_some();
        if i_go && !kept.is_empty() {
            return Aim::HandOver { to: kept };
        }
        let add = self.wanted.iter().find(|member| !self.now.contains(*member) && comes(member));
        let drop = self
            .now
            .iter()
            .filter(|member| *member != self.me)
            .filter(unwanted)
            .filter_map(|member| Some((goes(member)?, member)))
            .min_by_key(|(goes, _)| *goes)
            .map(|(_, member)| member);
        let (have, should) = (self.now.len(), self.copies);
        let (add, drop) = match (add, drop) {
            (Some(add), drop) if have < should => (Some(add), drop.filter(|_| false)),
            (Some(add), Some(drop)) => (Some(add), Some(drop)),
            // I should go, and nobody who stays is here yet: one more for a while.
            (Some(add), None) if i_go && have == should => (Some(add), None),
            (None, Some(drop)) if have > should => (None, Some(drop)),
            _ => return Aim::Nothing,
        };
        Aim::Change { add: add.cloned(), drop: drop.cloned() }
    }

    /// The ensemble after a change, in the order that is wanted, the others behind.
    pub(super) fn after(&self, add: Option<&Member>, drop: Option<&Member>) -> Vec<Member> {
        let mut members: Vec<Member> =
            self.now.iter().filter(|member| Some(*member) != drop).chain(add).cloned().collect();
        let place = |member: &Member| self.wanted.iter().position(|wanted| wanted == member);
        members.sort_by_key(|member| place(member).unwrap_or(usize::MAX));
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        // "d2" is node d with another store.
        let (node, store) = name.split_at(1);
        Member { node: node.parse().unwrap(), store: store.parse().unwrap_or(1) }
    }

    fn members(names: &[&str]) -> Vec<Member> {
        names.iter().map(|name| member(name)).collect()
    }

    /// Plays the steps until nothing is left to do; what the ensemble was after each, and who led.
    fn play(
        now: &[&str],
        wanted: &[&str],
        copies: usize,
        goes: impl Fn(&Member) -> Option<Goes>,
    ) -> Vec<String> {
        let (mut now, wanted) = (members(now), members(wanted));
        let mut me = now[0].clone();
        let mut steps = Vec::new();
        loop {
            let ensembles = Ensembles { now: &now, wanted: &wanted, copies, me: &me };
            let next = match ensembles.aim(&goes, |_| true) {
                Aim::Nothing => return steps,
                Aim::Change { add, drop } => {
                    assert!(drop.as_ref() != Some(&me) && (add.is_some() || drop.is_some()));
                    ensembles.after(add.as_ref(), drop.as_ref())
                }
                Aim::HandOver { to } => {
                    me = now.iter().find(|member| member.node == to[0]).unwrap().clone();
                    now.clone()
                }
            };
            now = next;
            let names: Vec<&str> = now.iter().map(|member| member.node.as_str()).collect();
            steps.push(format!("{} by {}", names.concat(), me.node));
            assert!(steps.len() < 20, "{steps:?}");
        }
    }

    fn anyone(_: &Member) -> Option<Goes> {
        Some(Goes::Elsewhere)
    }

    #[test]
    fn an_ensemble_becomes_the_wanted_one_a_step_at_a_time() {
        assert_eq!(play(&["a", "b", "c"], &["a", "b", "c"], 3, anyone), [] as [&str; 0]);
        assert_eq!(play(&["a", "b", "c"], &["a", "d", "b"], 3, anyone), ["adb by a"]);
        assert_eq!(play(&["a", "b", "c"], &["d", "a", "e"], 3, anyone), ["dac by a", "dae by a"]);
        assert_eq!(play(&["a"], &["a", "b", "c"], 3, anyone), ["ab by a", "abc by a"]);
        assert_eq!(play(&["a", "b", "c"], &["a", "b"], 2, anyone), ["ab by a"], "fewer copies");
    }

    #[test]
    fn a_primary_that_should_go_gives_it_to_one_that_stays() {
        let steps = play(&["a", "b", "c"], &["b", "c", "d"], 3, anyone);
        assert_eq!(steps, ["abc by b", "bcd by b"]);
        let steps = play(&["a"], &["b"], 1, anyone);
        assert_eq!(steps, ["ba by a", "ba by b", "b by b"], "one more for a while");
        let steps = play(&["a", "b"], &["c", "d"], 2, anyone);
        assert_eq!(steps.last().unwrap(), "cd by c", "{steps:?}");
    }

    #[test]
    fn without_enough_candidates_what_is_there_stays() {
        assert_eq!(play(&["a", "b", "c"], &["a", "b"], 3, anyone), [] as [&str; 0]);
        assert_eq!(play(&["a", "b"], &["a"], 3, anyone), [] as [&str; 0]);
        assert_eq!(play(&["a", "b", "c"], &["a", "d"], 3, anyone), ["adc by a"]);
    }

    #[test]
    fn a_member_that_may_not_go_yet_is_waited_for() {
        let goes = |member: &Member| (member.node.as_str() != "c").then_some(Goes::Elsewhere);
        assert_eq!(play(&["a", "b", "c"], &["a", "b", "d"], 3, goes), [] as [&str; 0]);
        assert_eq!(play(&["a", "c"], &["a", "b", "d"], 3, goes), ["abc by a"]);
    }

    #[test]
    fn who_is_lost_is_replaced_before_who_is_only_elsewhere() {
        let goes = |member: &Member| {
            Some(if member.node.as_str() == "c" { Goes::Lost } else { Goes::Elsewhere })
        };
        let steps = play(&["a", "b", "c"], &["a", "d", "e"], 3, goes);
        assert_eq!(steps, ["adb by a", "ade by a"]);
        let steps = play(&["a", "b", "d"], &["a", "b", "d2"], 3, anyone);
        assert_eq!(steps, ["abd by a"], "the same node with another store");
    }

    #[test]
    fn who_cannot_come_is_passed_over() {
        let (now, wanted) = (members(&["a", "b", "c"]), members(&["d", "e", "a"]));
        let ensembles = Ensembles { now: &now, wanted: &wanted, copies: 3, me: &member("a") };
        let aim = ensembles.aim(anyone, |member| member.node.as_str() == "e");
        let change = Aim::Change { add: Some(member("e")), drop: Some(member("b")) };
        assert_eq!(aim, change);
        assert_eq!(ensembles.aim(anyone, |_| false), Aim::Nothing);
    }
}
