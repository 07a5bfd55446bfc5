//! Which chats have something to do by themselves, and when.
//!
//! One entry a chat, however much it waits for, and none for the chats that wait for nothing. A chat that is
//! looked at too early only says when it is to be looked at again; so of two times the earlier one counts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use hashring::PartitionId;
use model::ChatToken;
use runtime::Instant;
use tokio::sync::Notify;

use crate::lock::locked;

/// The chats of a node that are to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    inner: Mutex<Inner>,
    /// The first entry is another one.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    order: BTreeSet<(Instant, PartitionId, ChatToken)>,
    of: HashMap<ChatToken, Instant>,
}

impl Agenda {
    /// `token` is to be looked at by then.
    pub(crate) fn wake(&self, partition: PartitionId, token: ChatToken, at: Instant) {
        let first = {
            let inner = &mut *locked(&self.inner);
            match inner.of.get(&token).copied() {
                Some(before) if before <= at => return,
                Some(before) => _ = inner.order.remove(&(before, partition, token)),
                None => {}
            }
            inner.of.insert(token, at);
            inner.order.insert((at, partition, token));
            inner.order.first().is_some_and(|(_, _, first)| *first == token)
        };
        if first {
            self.earlier.notify_one();
        }
    }

    /// Takes the next chat, when its time has come. Cancel-safe.
    pub(crate) async fn next(&self) -> (PartitionId, ChatToken) {
        loop {
            let earlier = self.earlier.notified();
            match self.take(runtime::now()) {
                Ok(taken) => return taken,
                Err(None) => earlier.await,
                Err(Some(at)) => tokio::select! {
                    biased;
                    () = earlier => {}
                    () = runtime::sleep_until(at) => {}
                },
            }
        }
    }

    /// Takes a chat whose time has come, if there is one; or says when the next one's comes.
    pub(crate) fn take(&self, now: Instant) -> Result<(PartitionId, ChatToken), Option<Instant>> {
        let inner = &mut *locked(&self.inner);
        let Some(&(at, partition, token)) = inner.order.first() else { return Err(None) };
        if at > now {
            return Err(Some(at));
        }
        inner.order.pop_first();
        inner.of.remove(&token);
        Ok((partition, token))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hashring::PartitionId;
    use model::ChatToken;

    use super::Agenda;

    #[test]
    fn a_chat_stands_there_once_and_by_its_earliest_time() {
        let (agenda, now) = (Agenda::default(), runtime::now());
        let at = |ms| now + Duration::from_millis(ms);
        let (one, two) = (ChatToken([1; 16]), ChatToken([2; 16]));
        let partition = PartitionId(0);
        assert_eq!(agenda.take(at(0)), Err(None));
        agenda.wake(partition, one, at(30));
        agenda.wake(partition, two, at(20));
        agenda.wake(partition, one, at(40));
        agenda.wake(partition, one, at(10));
        assert_eq!(agenda.take(at(5)), Err(Some(at(10))));
        assert_eq!(agenda.take(at(50)), Ok((partition, one)));
        assert_eq!(agenda.take(at(50)), Ok((partition, two)));
        assert_eq!(agenda.take(at(50)), Err(None));
    }
}
