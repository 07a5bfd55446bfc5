//! Faults as they strike a world, and the healing of all of them.

use std::mem;

use hashring::PartitionId;
use rand::RngExt;
use replication::core::Event;

use crate::agenda::{Happening, Time, ms};
use crate::disk::{Disk, Pace, image};
use crate::faults::{self, Fault, Kind};
use crate::invariants::Verdict;
use crate::network::pair;
use crate::node::Came;
use crate::registry::Gate;
use crate::world::World;

impl World {
    /// Trouble of a kind comes. Half of it hits whoever leads, where it hurts most.
    pub(crate) fn trouble(&mut self, kind: Kind) -> Verdict {
        if matches!(kind, Kind::Lose | Kind::Alter | Kind::Rot) {
            if self.setup.losses == 0 {
                return Ok(());
            }
            self.setup.losses -= 1;
        }
        let partition = PartitionId(self.random.random_range(0..self.setup.partitions));
        let any = self.random.random_range(0..self.nodes.len());
        let leader = self.leader(partition).filter(|_| self.random.random_bool(0.5));
        let whom = (leader.unwrap_or(any), self.nodes.len());
        let faults = faults::of_kind(&mut self.random, kind, whom, self.agenda.now());
        for (at, fault) in faults.into_iter().filter(|(at, _)| *at < self.setup.healed) {
            self.agenda.at(at, Happening::Fault(fault));
        }
        Ok(())
    }

    /// A fault strikes, or ends.
    pub(crate) fn strike(&mut self, fault: Fault) -> Verdict {
        self.trace.note(self.agenda.now(), &[3], || format!("fault: {fault:?}"));
        match fault {
            Fault::Crash { node, down } => self.crash_for(node, down),
            Fault::Damage { node, down, entries } => {
                self.crash_for(node, down)?;
                self.damage(node, entries);
                Ok(())
            }
            Fault::Alter { node, down } => {
                self.crash_for(node, down)?;
                self.alter(node);
                Ok(())
            }
            Fault::Rot { node } => {
                self.rot(node);
                Ok(())
            }
            Fault::Wipe { node, down } => {
                self.crash_for(node, down)?;
                self.wipe(node);
                Ok(())
            }
            Fault::CrashAll { down } => {
                (0..self.nodes.len()).try_for_each(|node| self.crash_for(node, down))
            }
            Fault::Drain { node } => {
                if let Some(life) = &mut self.nodes[node].life {
                    life.draining = true;
                    if let Some(floor) = &life.floor {
                        floor.chats.drain();
                    }
                }
                self.stir(node);
                self.tell(node, Came::Event(Event::Drain));
                Ok(())
            }
            Fault::Heal => self.heal(),
            other => {
                self.strike_gently(other);
                Ok(())
            }
        }
    }

    /// Faults that end no process.
    fn strike_gently(&mut self, fault: Fault) {
        match fault {
            Fault::Break { pair } => self.network.end(&mut self.agenda, pair, None),
            Fault::Cut { from, to } => self.network.cut(&mut self.agenda, from, to),
            Fault::Uncut { from, to } => self.network.heal(&mut self.agenda, from, to),
            Fault::Isolate { node } => self.isolate(node),
            Fault::Join { node } => self.join(node),
            Fault::Pause { node } => self.pause(node),
            Fault::Resume { node } => self.resume(node),
            Fault::Pace { node, pace } => self.pace(node, pace),
            Fault::Full { node, full } => self.tell(node, Came::Event(Event::WriterFull(full))),
            Fault::Session { node, up } => self.session(node, up),
            Fault::Clock { node, wall } => self.nodes[node].wall = wall,
            Fault::Freeze { node } => {
                let it = &mut self.nodes[node];
                it.wall.frozen = Some(it.wall.ms(self.agenda.now()));
            }
            Fault::Leave { node, leaving } => self.set_leaving(node, leaving),
            Fault::Ring { node, on } => self.set_on_ring(node, on),
            Fault::Vanish { partition } if partition < self.setup.partitions => {
                self.registry.delete(&mut self.agenda, PartitionId(partition));
            }
            Fault::Ready { node, ready } => self.tell(node, Came::Event(Event::Ready(ready))),
            Fault::HandOver { partition } if partition < self.setup.partitions => {
                let partition = PartitionId(partition);
                if let Some(node) = self.leader(partition) {
                    self.tell(node, Came::Event(Event::HandOver { partition }));
                }
            }
            _ => {}
        }
    }

    fn crash_for(&mut self, node: usize, down: Time) -> Verdict {
        self.crash(node)?;
        self.agenda.after(down, Happening::Restart { node });
        Ok(())
    }

    /// The process of a node is gone without a word.
    pub(crate) fn crash(&mut self, node: usize) -> Verdict {
        let it = &mut self.nodes[node];
        let Some(life) = it.life.take() else { return Ok(()) };
        let boot = life.boot;
        if let Some(vault) = &life.vault {
            vault.abandon();
        }
        drop(life);
        self.counts.crashes += 1;
        let done = it.disk.crash(&mut self.random);
        self.registry.disconnect(node);
        self.network.crashed(&mut self.agenda, node);
        self.floor_gone(node, boot);
        self.vault_gone(node, boot);
        self.book(node, &done)
    }

    /// A node starts again, if it is not running.
    pub(crate) fn restart(&mut self, node: usize) {
        let now = self.agenda.now();
        let it = &mut self.nodes[node];
        if it.life.is_some() {
            return;
        }
        if it.disk.pace == Pace::Hung {
            it.disk.pace = Pace::Normal;
        }
        let boot = it.start(&self.setup, now);
        self.learn(node);
        self.trace.note(now, &[4, node as u64, boot], || format!("n{} starts, {boot}", node + 1));
        self.agenda.after(ms(1), Happening::Session { node, boot });
        self.registers(node);
        // A core that waits for nothing else has a timer.
        self.tell(node, Came::Event(Event::Tick));
        for pair in self.network.pairs() {
            if pair.0 == node || pair.1 == node {
                self.network.redial(&mut self.agenda, pair);
            }
        }
    }

    /// The last entries of a stopped node's log of each partition are gone. The book does not strike
    /// them out: whoever heard of them before counts them still, and is right to.
    pub(crate) fn damage(&mut self, node: usize, entries: usize) {
        for partition in self.partitions() {
            self.nodes[node].disk.damage(partition, entries);
        }
    }

    /// The log of a stopped node says something else from a place on that every member has on its disk. As with
    /// damage the book does not strike out what was there.
    pub(crate) fn alter(&mut self, node: usize) {
        for partition in self.partitions() {
            if let Some(first) = self.common(node, partition) {
                self.nodes[node].disk.alter(partition, first);
            }
        }
    }

    /// An entry of a node's log that every member has cannot be read any more; something looks there soon.
    pub(crate) fn rot(&mut self, node: usize) {
        for partition in self.partitions() {
            if let Some(seq) = self.common(node, partition) {
                self.nodes[node].disk.rot(partition, seq);
                self.tell(node, Came::Event(Event::Unreadable { partition, seq }));
            }
        }
    }

    /// What cannot be read on a node is found, whatever was forgotten since.
    fn scrub(&mut self, node: usize) {
        for partition in self.partitions() {
            let first =
                image(&self.nodes[node].disk.durable, partition).unreadable.first().copied();
            if let Some(seq) = first {
                self.tell(node, Came::Event(Event::Unreadable { partition, seq }));
            }
        }
    }

    /// A committed place that is on the disks of all members, this node one of them, and in its log: a file
    /// that a log stands on has other checks.
    pub(crate) fn common(&mut self, node: usize, partition: PartitionId) -> Option<u64> {
        let record = self.registry.current(partition).clone();
        let disk = &self.nodes[node].disk;
        let shown = self.history.shown(partition);
        let base = image(&disk.durable, partition).base.seq;
        if !record.names(&self.nodes[node].id, disk.store) || shown <= base {
            return None;
        }
        let seq = self.random.random_range(base + 1..=shown);
        let holds = |store: u64| {
            let disk = self.nodes.iter().map(|it| &it.disk).find(|it| it.store == store);
            let end = disk.and_then(|disk| image(&disk.durable, partition).at(seq));
            end.is_some_and(|end| self.history.is_true(partition, end))
        };
        record.ensemble.iter().all(|member| holds(member.store)).then_some(seq)
    }

    /// The data directory of a stopped node is a new one.
    pub(crate) fn wipe(&mut self, node: usize) {
        let boot = self.nodes[node].disk.boot;
        let mut disk = Disk::new(self.next_store);
        disk.boot = boot;
        self.next_store += 1;
        self.nodes[node].disk = disk;
    }

    pub(crate) fn isolate(&mut self, node: usize) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.network.cut(&mut self.agenda, node, peer);
            self.network.cut(&mut self.agenda, peer, node);
        }
    }

    pub(crate) fn join(&mut self, node: usize) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.network.heal(&mut self.agenda, node, peer);
            self.network.heal(&mut self.agenda, peer, node);
        }
    }

    /// A process stands still: what comes waits.
    pub(crate) fn pause(&mut self, node: usize) {
        let Some(life) = &mut self.nodes[node].life else { return };
        life.paused = true;
        for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
            self.network.silence(&mut self.agenda, pair(node, peer));
        }
    }

    /// It goes on, and hears what came, or first that time passed.
    pub(crate) fn resume(&mut self, node: usize) {
        let now = self.agenda.now();
        let Some(life) = &mut self.nodes[node].life else { return };
        if !mem::take(&mut life.paused) {
            return;
        }
        life.running = now;
        life.waking = false;
        if now.is_multiple_of(2) {
            life.inbox.push_front(Came::Event(Event::Tick));
        }
        self.tell(node, Came::Event(Event::Tick));
        self.stir(node);
        self.network.speaks(node);
    }

    pub(crate) fn pace(&mut self, node: usize, pace: Pace) {
        self.nodes[node].disk.pace = pace;
        if pace == Pace::Hung {
            return;
        }
        if self.nodes[node].disk.busy() {
            let boot = self.nodes[node].disk.boot;
            self.agenda.after(ms(1), Happening::Written { node, boot });
        } else {
            self.begin_write(node);
        }
    }

    pub(crate) fn session(&mut self, node: usize, up: bool) {
        let Some(life) = &self.nodes[node].life else { return };
        if up {
            let boot = life.boot;
            self.agenda.after(ms(5), Happening::Session { node, boot });
        } else if self.registry.is_up(node) {
            self.registry.disconnect(node);
            self.tell(node, Came::Event(Event::SessionDown));
        }
    }

    /// Everything is well again, and everybody runs.
    pub(crate) fn heal(&mut self) -> Verdict {
        self.network.heal_all(&mut self.agenda);
        self.registry.manners.unknown_per_mille = 0;
        self.registry.manners.stale_per_mille = 0;
        self.setup.unread_per_mille = 0;
        for partition in self.partitions() {
            // An operator puts back what nobody was there to write anew.
            if self.registry.is_gone(partition) {
                self.registry.put_back(&mut self.agenda, partition, 0);
            }
        }
        if let Some(chats) = &mut self.setup.chats {
            (chats.busy_per_mille, chats.lost_per_mille) = (0, 0);
        }
        for node in 0..self.nodes.len() {
            // Who drains is about to end, and takes nothing any more.
            if self.nodes[node].life.as_ref().is_some_and(|life| life.draining) {
                self.crash(node)?;
            }
            self.registry.gate(&mut self.agenda, node, Gate::Through);
            self.resume(node);
            self.pace(node, Pace::Normal);
            self.restart(node);
            if let Some(life) = &self.nodes[node].life
                && let Some(floor) = &life.floor
            {
                floor.busy(0);
            }
            self.session(node, true);
            self.set_on_ring(node, true);
            self.set_leaving(node, false);
            self.tell(node, Came::Event(Event::WriterFull(false)));
            self.tell(node, Came::Event(Event::Ready(true)));
            self.scrub(node);
        }
        Ok(())
    }
}
