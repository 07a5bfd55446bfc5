//! What clients do by themselves: sends with every number of acks, alone and in bursts; barriers;
//! confirmations; and sends to nodes that do not lead.

use hashring::PartitionId;
use rand::RngExt;
use replication::core::Event;

use crate::agenda::Happening;
use crate::client::{Ask, Wish, payload};
use crate::invariants::Verdict;
use crate::node::Came;
use crate::world::World;

impl World {
    /// A client does one thing and plans the next.
    pub(crate) fn load(&mut self) -> Verdict {
        let Some((shortest, longest)) = self.setup.load.filter(|_| self.busy) else {
            return Ok(());
        };
        let delay = self.random.random_range(shortest..=longest);
        self.agenda.after(delay, Happening::Load);
        self.open_asks()?;
        let partition = PartitionId(self.random.random_range(0..self.setup.partitions));
        let node = self.random.random_range(0..self.nodes.len());
        let what = self.random.random_range(0..100);
        let Some(life) = self.nodes[node].awake() else { return Ok(()) };
        let leads = life.reigns.get(&partition).map(|reign| reign.epoch);
        match (what, leads) {
            (0..=3, _) => self.send_nowhere(node, partition),
            (4..=14, _) => {
                self.confirm(node, partition);
            }
            (15..=25, Some(epoch)) => {
                self.barrier(node, partition, epoch);
            }
            (26..=28, Some(_)) => {
                for _ in 0..self.random.random_range(2..60) {
                    self.send_some(node, partition);
                }
            }
            (_, Some(_)) => self.send_some(node, partition),
            (_, None) => {
                // Most clients find the leader.
                if let Some(node) = self.leader(partition) {
                    self.send_some(node, partition);
                }
            }
        }
        Ok(())
    }

    /// A send as the chats do it: only where it is let in.
    fn send_some(&mut self, node: usize, partition: PartitionId) {
        let acks = self.random.random_range(1..=self.setup.copies);
        let acks = u8::try_from(acks).unwrap_or(u8::MAX);
        let view = self.view(node, partition);
        let limit = self.setup.limits.uncommitted_entries_max as u64;
        let Some(reign) = self.nodes[node].awake().and_then(|life| life.reigns.get(&partition))
        else {
            return;
        };
        // Sends that the core did not hear of yet are not in its view: the driver's queue is not
        // longer than what the core lets be under way.
        let waiting = reign.next - 1 - view.end.min(reign.next - 1);
        if view.admits(acks).is_ok() && view.end + waiting - view.commit < limit {
            self.submit(node, partition, acks);
        }
    }

    /// A send to the wrong place, as after a change that the sender has not seen. It is refused.
    fn send_nowhere(&mut self, node: usize, partition: PartitionId) {
        let view = self.view(node, partition);
        let Some(life) = self.nodes[node].awake() else { return };
        let (epoch, seq) = if life.reigns.contains_key(&partition) {
            (view.epoch.saturating_sub(1), view.end + 1)
        } else {
            (view.epoch, view.end + 1)
        };
        let token = self.asks.next();
        let payload = payload(token, 20);
        let ask = Ask {
            node,
            boot: life.boot,
            partition,
            epoch,
            wish: Wish::Entry { seq, acks: 1 },
            payload: payload.clone(),
            asked: self.agenda.now(),
            outcome: None,
        };
        self.asks.push(ask);
        let event = Event::Submit { token, partition, epoch, seq, payload, acks: 1 };
        self.tell(node, Came::Event(event));
    }
}
