//! The turn of a service whose transactions follow one another in the whole cluster: `services/NAME/turn` in the
//! registry says who has it, and an ephemeral below `services/NAME/want/` who waits.
//!
//! [`Turn`] decides; here it is asked and told. An attempt carries the moment until which it may begin, because
//! between being decided and being made it may have to wait.

use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use registry::{COUNT_MAX, Cas, MemberRecord, Session};
use runtime::Instant;
use transaction::{State, Turn, TurnRecord, TurnSeen, TurnStep};

use crate::agreed::{Order, key};
use crate::desk::Access;
use crate::running::Task;
use crate::working::{Happened, Work};

/// How long giving the turn back may take when the node stops: who does not hear it takes it later.
const GIVE_BACK_MAX: Duration = Duration::from_secs(1);

/// The record of these bytes; `None`: no node wrote it.
fn turn_record(bytes: &[u8]) -> Option<TurnRecord> {
    let record: TurnRecord = serde_json::from_slice(bytes).ok()?;
    (record.term <= COUNT_MAX).then_some(record)
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Turned {
    Read(Option<TurnSeen>),
    Written(Option<u64>),
    Marked,
}

impl Task {
    /// Has its turn, or waits for it, if the service wants one transaction after another.
    pub(crate) fn take_turn(&mut self, now: Instant) {
        let terms = self.known.as_ref().map(|known| known.agreed.terms.order);
        if terms != Some(Order::Service) {
            self.turn = None;
            self.engine.set_turn(None);
            return;
        }
        let work = &self.running.work;
        if work.agreements.is_absent() {
            // There are no others.
            self.engine.set_turn(Some(true));
            return;
        }
        let turn = self.turn.get_or_insert_with(|| {
            let (node, boot) = (work.desk.node(), work.desk.boot());
            Turn::new(node.as_str(), boot, now)
        });
        // Who waits for the service itself need not have the turn meanwhile.
        let tries = matches!(self.engine.service().state(), State::Up | State::Recovering);
        let wants = self.engine.working() > 0 && tries && !self.engine.is_draining();
        turn.handle_work(wants, self.engine.sending() == 0);
        if let Some(step) = turn.poll(now) {
            self.doing.push(Box::pin(Arc::clone(work).turn(step)));
        }
        work.meters.turn.set(f64::from(u8::from(turn.is_held())));
        self.engine.set_turn(Some(turn.until().is_some_and(|until| now <= until)));
    }

    /// Something changed below the service's record.
    pub(crate) fn stirred(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.handle_news(runtime::now());
        }
    }

    /// A step is over.
    pub(crate) fn turned(&mut self, turned: Turned, now: Instant) {
        let Some(turn) = &mut self.turn else { return };
        match turned {
            Turned::Read(seen) => turn.handle_read(seen, now),
            Turned::Written(version) => turn.handle_written(version, now),
            Turned::Marked => turn.handle_marked(),
        }
    }

    /// The node stops. The turn is given back, so that nobody waits until it is missed, but not while an attempt is under
    /// way: the service may still be busy with it.
    pub(crate) fn give_turn_back(&self) -> impl Future<Output = ()> + Send + use<> {
        // Asked now: the turn was told before the engine began anything.
        let idle = self.engine.sending() == 0;
        let step = self.turn.as_ref().and_then(|turn| turn.given_back(idle));
        let work = Arc::clone(&self.running.work);
        async move {
            if let Some(step) = step {
                drop(runtime::timeout(GIVE_BACK_MAX, work.turn(step)).await);
            }
        }
    }
}

impl Work {
    async fn turn(self: Arc<Self>, step: TurnStep) -> Happened {
        let session = match self.desk.registry() {
            Access::There(session) => Some(session),
            Access::Away | Access::Absent => None,
        };
        Happened::Turned(match step {
            TurnStep::Read => Turned::Read(match session {
                Some(session) => self.read_turn(&session).await,
                None => None,
            }),
            TurnStep::Write { expect, record } => Turned::Written(match session {
                Some(session) => self.write_turn(&session, expect, &record).await,
                None => None,
            }),
            TurnStep::Mark(wanted) => {
                if let Some(session) = session {
                    self.mark(&session, wanted).await;
                }
                Turned::Marked
            }
        })
    }

    fn turn_key(&self) -> String {
        format!("{}/turn", key(&self.config.name))
    }

    fn want_prefix(&self) -> String {
        format!("{}/want/", key(&self.config.name))
    }

    async fn read_turn(&self, session: &Session) -> Option<TurnSeen> {
        let service = &self.config.name;
        let record = match session.get(&self.turn_key()).await.ok()? {
            None => None,
            Some(value) => match turn_record(&value.data) {
                Some(record) => Some((record, value.version)),
                None => {
                    tracing::warn!(
                        service,
                        "services/{service}/turn in the registry is no turn, and nobody can take it: remove it"
                    );
                    return None;
                }
            },
        };
        let holder = record.as_ref().map(|(record, _)| record.holder.as_str());
        let boot = match holder.and_then(|holder| holder.parse::<NodeId>().ok()) {
            Some(holder) => {
                let member = session.get(&registry::member_key(&holder)).await.ok()?;
                let member = member.and_then(|it| registry::decode::<MemberRecord>(&it.data).ok());
                member.map_or(0, |member| member.boot)
            }
            None => 0,
        };
        let prefix = self.want_prefix();
        let marks = session.list(&prefix).await.ok()?;
        let node = session.node().as_str();
        let names = marks.iter().filter_map(|(key, _)| key.strip_prefix(&prefix));
        let (own, others): (Vec<&str>, Vec<&str>) = names.partition(|name| *name == node);
        let (wanted, marked) = (!others.is_empty(), !own.is_empty());
        Some(TurnSeen { record, boot, wanted, marked })
    }

    async fn write_turn(
        &self,
        session: &Session,
        expect: Option<u64>,
        record: &TurnRecord,
    ) -> Option<u64> {
        let (key, data) = (self.turn_key(), Some(registry::encode(record)));
        let written = session.cas(Cas { key, expect, data }).await;
        written.ok().and_then(Result::ok)
    }

    /// What does not come to stand is seen at the next look.
    async fn mark(&self, session: &Session, wanted: bool) {
        let key = format!("{}{}", self.want_prefix(), session.node());
        let done = match wanted {
            true => session.put_ephemeral(&key, b"1".to_vec()).await.map(drop),
            false => session.remove_ephemeral(&key).await,
        };
        if let Err(error) = done {
            let service = &self.config.name;
            tracing::debug!(service, %error, "that this node waits for its turn is not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_no_node_wrote_is_none() {
        let turn = TurnRecord { holder: "n1".to_owned(), boot: 5, term: COUNT_MAX };
        assert_eq!(turn_record(&registry::encode(&turn)).as_ref(), Some(&turn));
        let later = TurnRecord { term: COUNT_MAX + 1, ..turn };
        assert_eq!(turn_record(&registry::encode(&later)), None);
        assert_eq!(turn_record(b"{}"), None);
    }
}
