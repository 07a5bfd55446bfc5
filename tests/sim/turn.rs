//! A node's turn: its core hears what waits, and what the core then wants is done and looked at.

use bytes::BytesMut;
use hashring::PartitionId;
use rand::RngExt;
use replication::core::{Alarm, Event, Moving, Outcome, Step, Why};
use segment::{LogEnd, LogOp};
use wire::{Append, Kind, Message};

use crate::agenda::{Happening, ms};
use crate::chats::Floor;
use crate::client::Wish;
use crate::disk::Image;
use crate::invariants::{Process, Verdict, must};
use crate::node::{Came, Reign};
use crate::world::World;

impl World {
    /// A node's core hears everything that waits and says what to do.
    pub(crate) fn take_turn(&mut self, node: usize, boot: u64) -> Verdict {
        let now = self.agenda.now();
        let id = self.nodes[node].id.clone();
        let trace = &mut self.trace;
        let Some(life) = self.nodes[node].life_of(boot).filter(|life| !life.paused) else {
            return Ok(());
        };
        let turn = life.turn(now, |event| {
            trace.note(now, &[1, node as u64], || format!("{id} <- {event:?}"));
        })?;
        for (token, covers) in turn.barriers {
            if let Some(ask) = self.asks.ask_mut(token) {
                ask.wish = Wish::Barrier { covers: Some(covers) };
            }
        }
        let mut refused = Vec::new();
        for step in turn.steps {
            self.carry_out(node, step, &mut refused)?;
        }
        for token in refused {
            self.check_refused(node, token)?;
        }
        self.look(node)?;
        self.set_timer(node);
        self.stir(node);
        Ok(())
    }

    fn set_timer(&mut self, node: usize) {
        let jitter = self.random.random_range(1..300);
        let now = self.agenda.now();
        let Some(life) = &mut self.nodes[node].life else { return };
        let Some(timeout) = life.timeout() else { return };
        let timeout = timeout.max(now) + jitter;
        if life.timer.is_none_or(|timer| timeout < timer || timer < now) {
            life.timer = Some(timeout);
            let boot = life.boot;
            self.agenda.at(timeout, Happening::Timer { node, boot });
        }
    }

    /// What everybody may see of a node after its turn.
    fn look(&mut self, node: usize) -> Verdict {
        // Chats ask before their handlers run: as many as are being answered may come on top.
        let chats = self.setup.chats.as_ref().map_or(0, |chats| 2 * chats.habits.persons + 8);
        // So does an archive, of each request that waits for a decision.
        let objects = self.setup.objects.as_ref().map_or(0, |_| 64);
        let limit = self.setup.limits.uncommitted_entries_max + chats + objects;
        for partition in self.partitions() {
            let it = &mut self.nodes[node];
            let Some(life) = &mut it.life else { return Ok(()) };
            let view = life.look(partition, limit)?;
            if view.leading {
                self.history.leads(&it.id, (partition, view.epoch), self.agenda.now())?;
            }
            self.history.knows(&it.id, partition, view.commit, it.log(partition))?;
        }
        Ok(())
    }

    fn carry_out(&mut self, node: usize, step: Step, refused: &mut Vec<u64>) -> Verdict {
        let now = self.agenda.now();
        if self.nodes[node].life.is_none() {
            return Ok(());
        }
        if !matches!(step, Step::Viewed { .. }) {
            let id = &self.nodes[node].id;
            self.trace.note(now, &[2, node as u64], || format!("{id} -> {step:?}"));
        }
        let by = self.nodes[node].process();
        match step {
            Step::Write { ticket, ops } => self.write(node, ticket, ops),
            Step::Send { to, message } => {
                let to = self.index_of(&to);
                must(to.is_some_and(|to| to != node), "I15", || format!("to whom? {message:?}"))?;
                self.send(node, to.unwrap_or(node), message)
            }
            Step::Cas { partition, expect, record } => {
                self.registry.ask(&mut self.agenda, (node, by.boot), (partition, expect), record);
                Ok(())
            }
            Step::Read { partition, request, from, entries_max, bytes_max } => {
                self.counts.reads += 1;
                let (boot, max) = (by.boot, (entries_max, bytes_max));
                let delay = self.random.random_range(50..3_000);
                let read = Happening::Read { node, boot, partition, request, from, max };
                self.agenda.after(delay, read);
                Ok(())
            }
            Step::ReadBase { .. } | Step::Keep { .. } => self.base_step(node, by.boot, step),
            Step::Opened { partition, epoch, seq } => {
                self.opened(node, &by, (partition, epoch, seq))
            }
            Step::Committed { partition, epoch, seq } => {
                self.committed(node, &by, (partition, epoch, seq))
            }
            Step::Closed { partition, epoch } => {
                let life = self.nodes[node].life.as_mut();
                let reign = life.and_then(|life| life.reigns.remove(&partition));
                let led = reign.is_some_and(|reign| reign.epoch == epoch);
                if let Some(floor) = self.floor(node) {
                    floor.closed(partition, epoch);
                }
                if let Some(vault) = self.vault(node) {
                    vault.closed(partition, epoch);
                }
                must(led, "I5", || format!("{by:?} closed {partition:?} {epoch}, not open"))
            }
            Step::Answer { token, outcome } => self.answered(node, &by, token, outcome, refused),
            Step::Viewed { partition } => {
                self.show(node, partition);
                Ok(())
            }
            Step::Moving { how, .. } => {
                self.counts.moved += u64::from(how == Moving::Done);
                self.counts.given_up += u64::from(how == Moving::GivenUp);
                Ok(())
            }
            Step::PutAside { partition, after, .. } => {
                let done = !self.random.random_ratio(self.setup.unread_per_mille, 1000);
                self.tell(node, Came::Event(Event::PutAside { partition, after, done }));
                Ok(())
            }
            Step::Mended { .. } => {
                self.counts.mended += 1;
                Ok(())
            }
            Step::Stop { reason } => must(false, "I12", || format!("{by:?} stops: {reason:?}")),
            Step::Alarm { partition, alarm } => {
                let altered = self.nodes.iter().any(|it| it.disk.was_altered);
                let good = alarm != Alarm::Divergent || altered;
                must(good, "I1", || format!("{by:?} sees divergent logs of {partition:?}"))
            }
        }
    }

    fn write(&mut self, node: usize, ticket: u64, ops: Vec<LogOp>) -> Verdict {
        let store = self.nodes[node].disk.store;
        for op in &ops {
            match op {
                LogOp::Append { partition, entries } => {
                    for entry in entries {
                        self.trace.bytes(&entry.chain.0);
                        self.history.appended(*partition, entry)?;
                    }
                }
                LogOp::Cut { partition, after } => {
                    self.counts.cuts += 1;
                    let log = self.nodes[node].log(*partition);
                    let mends = ops.iter().any(
                        |op| matches!(op, LogOp::Doubt { partition: of, .. } if of == partition),
                    );
                    match mends {
                        true => {
                            let record = self.registry.current(*partition);
                            self.history.mends(store, *partition, *after, record)?;
                        }
                        false => self.history.cut(store, *partition, log, *after)?,
                    }
                }
                // R30: a log begins where it is committed; R31: with what is on the disk by then.
                LogOp::Base { partition, base } => {
                    let it = &self.nodes[node];
                    let what = || format!("{} begins {partition:?} at {base:?}", it.id);
                    must(self.history.is_true(*partition, *base), "R30", what)?;
                    must(it.disk.has_file(*partition, *base), "R31", what)?;
                }
                LogOp::Promise { .. } | LogOp::Doubt { .. } | LogOp::Release { .. } => {}
                LogOp::Commit { partition, seq } => {
                    let it = &self.nodes[node];
                    self.history.knows(&it.id, *partition, *seq, it.log(*partition))?;
                }
            }
        }
        let written = self.nodes[node].disk.submit(ticket, ops);
        must(written.is_ok(), "I1", || format!("store {store}: {written:?}"))?;
        self.begin_write(node);
        Ok(())
    }

    /// The writer of a node begins with what is queued, if it can.
    pub(crate) fn begin_write(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        let boot = it.disk.boot;
        if let Some(delay) = it.disk.begin(&mut self.random) {
            self.agenda.after(delay, Happening::Written { node, boot });
        }
    }

    /// The writer of a node is done with a batch.
    pub(crate) fn written(&mut self, node: usize, boot: u64) -> Verdict {
        if self.nodes[node].life_of(boot).is_none() {
            return Ok(());
        }
        if let Some((ticket, done)) = self.nodes[node].disk.finish() {
            self.book(node, &done)?;
            self.tell(node, Came::Event(Event::Written { ticket }));
            self.begin_write(node);
        }
        Ok(())
    }

    fn send(&mut self, node: usize, to: usize, message: Message) -> Verdict {
        let mut bytes = BytesMut::new();
        let encoded = wire::codec::encode(Kind::Message, &message, &mut bytes);
        must(encoded.is_ok(), "I15", || format!("a message is too long: {encoded:?}"))?;
        self.trace.bytes(&bytes);
        let beat = matches!(message, Message::Beat(_) | Message::BeatAnswer(_));
        self.counts.words += u64::from(!beat);
        self.counts.fetches += u64::from(matches!(message, Message::Fetch(_)));
        self.check_claims(node, &message)?;
        let it = &self.nodes[node];
        let life = it.life.as_ref();
        match life.and_then(|life| life.peers.get(&to)).copied() {
            Some(generation) => {
                self.network.send(&mut self.agenda, (node, to), generation, message);
                Ok(())
            }
            None => {
                let lost = life.is_some_and(|life| life.lost.contains(&to));
                let text = || format!("{} sends to {to}, not connected: {message:?}", it.id);
                must(lost, "I15", text)
            }
        }
    }

    /// A node may only say what is so.
    fn check_claims(&mut self, node: usize, message: &Message) -> Verdict {
        let it = &self.nodes[node];
        let store = it.disk.store;
        match message {
            Message::Append(append) => self.check_append(it.log(append.partition), append),
            Message::Ack(ack) => {
                let primary = self.primary_of(ack.partition, ack.epoch);
                let log = primary.map(|primary| self.nodes[primary].log(ack.partition));
                let claim = (ack.partition, ack.epoch, ack.matched);
                self.history.acknowledges(store, claim, it.durable(ack.partition), log)
            }
            Message::SealAnswer(answer) => answer.sealed.iter().try_for_each(|sealed| {
                let end = LogEnd {
                    epoch: sealed.end.epoch,
                    seq: sealed.end.seq,
                    chain: segment::Chain(sealed.end.chain),
                };
                let durable = it.durable(sealed.partition);
                self.history.sealed(store, (sealed.partition, sealed.epoch, end), durable)
            }),
            _ => Ok(()),
        }
    }

    /// R6: what is sent is in the sender's log; I15: and not too much of it.
    fn check_append(&self, log: &Image, append: &Append) -> Verdict {
        let here =
            |entry: &wire::Entry| log.at(entry.seq).is_some_and(|end| end.chain.0 == entry.chain);
        let what = || format!("{:?} {} after {:?}", append.partition, append.epoch, append.prev);
        must(append.entries.iter().all(here), "R6", || format!("sent, not written: {}", what()))?;
        let many = append.entries.len() > self.setup.limits.append_entries_max;
        must(!many, "I15", || format!("{} entries in an append", append.entries.len()))
    }

    /// The node that leads an epoch or takes over in it, if that process still does.
    fn primary_of(&self, partition: PartitionId, epoch: u64) -> Option<usize> {
        let record = self.registry.of_epoch(partition, epoch)?;
        let process = Process { node: record.primary.clone()?, boot: record.boot };
        self.life_of(&process).filter(|node| self.nodes[*node].log(partition).promised() == epoch)
    }

    fn opened(&mut self, node: usize, by: &Process, at: (PartitionId, u64, u64)) -> Verdict {
        let (partition, epoch, seq) = at;
        self.counts.opened += 1;
        let record = self.registry.of_epoch(partition, epoch);
        let now = self.agenda.now();
        self.history.opened(by, at, record, self.nodes[node].log(partition), now)?;
        self.feed(partition)?;
        if let Some(floor) = self.floor(node) {
            floor.opened(partition, epoch, seq);
        }
        if let Some(vault) = self.vault(node) {
            vault.opened(partition, epoch, seq);
        }
        let reign = Reign { epoch, next: seq + 1, given: seq, committed: seq };
        let life = self.nodes[node].life.as_mut();
        let before = life.and_then(|life| life.reigns.insert(partition, reign));
        must(before.is_none(), "I5", || {
            format!("{by:?} opened {partition:?} {epoch} over {before:?}")
        })
    }

    fn committed(&mut self, node: usize, by: &Process, at: (PartitionId, u64, u64)) -> Verdict {
        let (partition, epoch, seq) = at;
        let life = self.nodes[node].life.as_mut();
        let reign = life.and_then(|life| life.reigns.get_mut(&partition));
        let rises = reign.is_some_and(|reign| {
            let rises = reign.epoch == epoch && reign.committed < seq;
            reign.committed = seq;
            rises
        });
        must(rises, "I5", || format!("{by:?} says {partition:?} {epoch} {seq} committed"))?;
        let Some(record) = self.registry.of_epoch(partition, epoch) else { return Ok(()) };
        self.history.committed(by, at, record, self.nodes[node].log(partition))?;
        self.feed(partition)?;
        if let Some(floor) = self.floor(node) {
            floor.committed(partition, epoch, seq);
        }
        if let Some(vault) = self.vault(node) {
            vault.committed(partition, epoch, seq);
        }
        Ok(())
    }

    /// Those above the core see another view.
    fn show(&self, node: usize, partition: PartitionId) {
        let Some(life) = &self.nodes[node].life else { return };
        if let Some(floor) = &life.floor {
            floor.show(partition, life.core.view(partition));
        }
        if let Some(vault) = &life.vault {
            vault.show(partition, life.core.view(partition));
        }
    }

    /// The chats of a node that runs.
    fn floor(&self, node: usize) -> Option<&Floor> {
        self.nodes[node].life.as_ref()?.floor.as_ref()
    }

    fn answered(
        &mut self,
        node: usize,
        by: &Process,
        token: u64,
        outcome: Outcome,
        refused: &mut Vec<u64>,
    ) -> Verdict {
        let it = &self.nodes[node];
        let mine = self.asks.ask(token).filter(|ask| ask.node == node && ask.boot == by.boot);
        let open = mine.filter(|ask| ask.outcome.is_none()).cloned();
        let Some(ask) = open else {
            return must(false, "I15", || format!("{by:?} answers {token} again, or who asked?"));
        };
        let life = it.life.as_ref();
        let reign = life.and_then(|life| life.reigns.get(&ask.partition));
        let leads = reign.is_some_and(|reign| reign.epoch == ask.epoch);
        match (outcome, ask.wish) {
            (
                Outcome::Quorum { seq } | Outcome::Local { seq },
                Wish::Entry { seq: asked, acks },
            ) => {
                must(seq == asked && leads, "I5", || {
                    format!("{by:?} answers {ask:?}: {outcome:?}")
                })?;
                let Some(record) = self.registry.of_epoch(ask.partition, ask.epoch) else {
                    return must(false, "I5", || format!("no record for {ask:?}"));
                };
                let quorum = matches!(outcome, Outcome::Quorum { .. });
                let held = (acks, quorum, it.disk.store);
                let place = (ask.partition, ask.epoch, seq);
                self.history.answered(place, &ask.payload, held, record)?;
            }
            (Outcome::Done, Wish::Barrier { covers }) => {
                self.history.passed(ask.partition, ask.epoch, covers.unwrap_or(0))?;
            }
            (Outcome::Done, Wish::Leads { above, shown }) => {
                let good =
                    reign.is_some_and(|reign| reign.epoch >= above && reign.committed >= shown);
                must(good, "I11", || format!("{by:?} confirms {ask:?} with {reign:?}"))?;
            }
            (Outcome::NotCommitted(_), Wish::Entry { .. }) => refused.push(token),
            (Outcome::NotCommitted(_) | Outcome::Unknown(_), _) => {}
            (_, wish) => {
                return must(false, "I15", || format!("{wish:?} is answered {outcome:?}"));
            }
        }
        self.counts.answered += 1;
        self.counts.unknown += u64::from(matches!(outcome, Outcome::Unknown(_)));
        self.counts.local += u64::from(matches!(outcome, Outcome::Local { .. }));
        if let Some(ask) = self.asks.ask_mut(token) {
            ask.outcome = Some(outcome);
        }
        self.reply(node, token, outcome);
        Ok(())
    }

    /// An entry that was refused is in no log, and the node does not lead that epoch: in its place it
    /// would have been taken.
    fn check_refused(&self, node: usize, token: u64) -> Verdict {
        let Some(ask) = self.asks.ask(token) else { return Ok(()) };
        let Wish::Entry { seq, .. } = ask.wish else { return Ok(()) };
        let place =
            self.nodes[node].log(ask.partition).entries.get(usize::try_from(seq - 1).unwrap_or(0));
        let there = place.is_some_and(|entry| entry.payload == ask.payload);
        must(!there, "I7", || format!("{ask:?} was refused, and is in the log"))?;
        let life = self.nodes[node].life.as_ref();
        let reign = life.and_then(|life| life.reigns.get(&ask.partition));
        let taken = reign.is_none_or(|reign| reign.epoch != ask.epoch || seq > reign.given);
        let known = matches!(ask.outcome, Some(Outcome::NotCommitted(Why::TooFewMembers)));
        must(taken || known, "I15", || format!("{ask:?} was refused in its place"))
    }

    /// Whether everybody is answered who can be.
    pub(crate) fn open_asks(&mut self) -> Result<usize, crate::invariants::Violation> {
        let nodes = &self.nodes;
        self.asks.in_time(self.agenda.now(), |node, boot| {
            let life = nodes[node].life.as_ref().filter(|life| life.boot == boot)?;
            if life.paused { Some(u64::MAX - ms(60_000)) } else { Some(life.running) }
        })
    }
}
