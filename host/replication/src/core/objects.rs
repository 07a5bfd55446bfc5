//! Whether a member may be dropped as planned, for what is kept beside the log.
//!
//! The log that a newcomer was given says which objects there are; their bytes it fetches from others afterwards, for as
//! long as that takes. Until then it is no copy of them. So while whoever keeps objects says so, a member that is still
//! there is not dropped before as many of those who stay have all objects as must hold an entry. A member that is
//! lost, or declared gone and not there, is not waited for: in its place somebody must begin.

use std::collections::BTreeSet;
use std::time::Duration;

use hashring::NodeId;
use registry::Member;

use super::event::Event;
use super::partition::{Doing, Partition};
use super::plan::Aim;
use super::roster::Goes;
use super::shared::Shared;
use super::{Core, Time};

/// What was said of objects counts for so long: many times as long as whoever says it takes to say it again.
const FRESH: Duration = Duration::from_secs(30);

/// What a primary knows of objects.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Who has all of them, and when that was said.
    whole: Option<(Time, BTreeSet<NodeId>)>,
    /// A member that is there is to be dropped.
    pub(super) asked: bool,
}

impl Objects {
    /// Whether enough of `staying` have all objects.
    fn are_with(&self, staying: &[&Member], commit: u8, now: Time) -> bool {
        let Some((_, whole)) =
            self.whole.as_ref().filter(|(since, _)| now.saturating_sub(*since) < FRESH)
        else {
            return false;
        };
        let whole = staying.iter().filter(|member| whole.contains(&member.node)).count();
        whole >= usize::from(commit).min(staying.len())
    }
}

impl Core {
    /// Somebody keeps objects, or says who has all of a partition's.
    pub(super) fn on_objects(&mut self, event: Event) {
        match event {
            Event::AwaitObjects => self.cx.awaits_objects = true,
            Event::Objects { partition, epoch, whole } => {
                self.with(partition, |at, cx| {
                    let reigns = at.record.as_ref().is_some_and(|it| it.record.epoch == epoch);
                    if let Doing::Lead(leader) = &mut at.doing
                        && reigns
                    {
                        leader.changing.objects.whole = Some((cx.now, whole));
                    }
                });
            }
            _ => {}
        }
    }
}

impl Partition {
    /// The step, if nobody has to wait for objects before it is taken.
    pub(super) fn once_objects_allow(&mut self, cx: &Shared, aim: Aim) -> Aim {
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return aim };
        let planned = |member: &Member| {
            cx.roll.goes(member, cx.now, timings.dead) == Some(Goes::Elsewhere)
                || cx.peers.live(member, cx.now, timings.suspect)
        };
        let dropped = match &aim {
            Aim::Change { drop, .. } if cx.awaits_objects => drop.clone().filter(planned),
            _ => None,
        };
        leader.changing.objects.asked = dropped.is_some();
        let Some(dropped) = dropped else { return aim };
        let staying = leader.record.ensemble.iter().filter(|member| **member != dropped);
        let staying: Vec<&Member> = staying.collect();
        match leader.changing.objects.are_with(&staying, cx.config.commit, cx.now) {
            true => aim,
            false => Aim::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member { node: name.parse().unwrap(), store: 1 }
    }

    #[test]
    fn as_many_have_all_objects_as_must_hold_an_entry_and_that_is_no_old_story() {
        let all = ["a", "b", "c"].map(member);
        let staying: Vec<&Member> = all.iter().collect();
        let whole = |names: &[&str]| {
            let names = names.iter().map(|name| name.parse().unwrap()).collect();
            Objects { whole: Some((Time::from_secs(100), names)), asked: true }
        };
        let now = Time::from_secs(110);
        assert!(whole(&["a", "c"]).are_with(&staying, 2, now));
        assert!(!whole(&["a"]).are_with(&staying, 2, now));
        assert!(!whole(&["a", "d"]).are_with(&staying, 2, now), "d is no member");
        assert!(
            !whole(&["a", "b", "c"]).are_with(&staying, 2, Time::from_secs(130)),
            "once it was"
        );
        assert!(!Objects::default().are_with(&staying, 2, now), "nobody said anything");
        assert!(whole(&["a"]).are_with(&staying[..1], 2, now), "more do not stay");
    }
}
