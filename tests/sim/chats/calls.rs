//! Requests that one node sends on to another, over the connection between them.
//!
//! As in service: before it left, nothing can have happened; after that, only an answer tells. A call ends
//! with its connection, and with the time its asker has.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::NodeId;
use rand::RngExt;
use replication::{ANSWER_BYTES_MAX, ForwardError, NotRun, RequestHead};
use tokio::sync::oneshot;

use crate::agenda::{Happening, ms};
use crate::network::Passage;
use crate::world::World;

/// How many of a thousand calls find a node busy.
const BUSY_PER_MILLE: u32 = 3;

/// All that are open.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(super) open: BTreeMap<u64, Call>,
    count: u64,
}

impl Calls {
    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Nobody waits any more for what a process asked.
    pub(super) fn gone(&mut self, node: usize, boot: u64) {
        self.open.retain(|_, call| (call.from, call.from_boot) != (node, boot));
    }
}

type Reply = oneshot::Sender<Result<Bytes, ForwardError>>;

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    from: usize,
    from_boot: u64,
    to: usize,
    generation: u64,
    head: RequestHead,
    body: Bytes,
    answer: Option<Result<Bytes, NotRun>>,
    reply: Option<Reply>,
}

impl World {
    /// A node sends a request on.
    pub(crate) fn call(
        &mut self,
        node: usize,
        boot: u64,
        to: NodeId,
        (head, body): (RequestHead, Bytes),
        reply: Reply,
    ) {
        let peer = self.index_of(&to);
        let life = self.nodes[node].life.as_ref();
        let generation = life.zip(peer).and_then(|(life, peer)| life.peers.get(&peer)).copied();
        let (Some(peer), Some(generation)) = (peer, generation) else {
            drop(reply.send(Err(ForwardError::NotRun { to, why: None })));
            self.stir(node);
            return;
        };
        let call = self.calls.number();
        let wait = ms(head.wait_ms.into());
        self.calls.open.insert(
            call,
            Call {
                from: node,
                from_boot: boot,
                to: peer,
                generation,
                head,
                body,
                answer: None,
                reply: Some(reply),
            },
        );
        let delay = self.network.delay();
        self.agenda.after(delay, Happening::CallArrives { call });
        self.agenda.after(wait, Happening::CallLate { call });
    }

    /// It would arrive now.
    pub(super) fn call_arrives(&mut self, number: u64) {
        let Some(call) = self.calls.open.get_mut(&number) else { return };
        let (from, to) = (call.from, call.to);
        match self.network.passage(from, to, call.generation) {
            Passage::Lost => return,
            Passage::Held => {
                let delay = ms(self.random.random_range(20..200));
                self.agenda.after(delay, Happening::CallArrives { call: number });
                return;
            }
            Passage::Free => {}
        }
        let (head, body) = (call.head, std::mem::take(&mut call.body));
        let asker = self.nodes[from].id.clone();
        let Some(life) = &self.nodes[to].life else { return };
        if self.random.random_ratio(BUSY_PER_MILLE, 1000) {
            return self.call_answered(number, Err(NotRun::Busy));
        }
        if let Some(floor) = &life.floor {
            floor.answer(number, asker, head, body);
        } else if let Some(vault) = &life.vault {
            vault.answer(number, asker, head, body);
        }
        self.stir(to);
    }

    /// The other node answers.
    pub(crate) fn call_answered(&mut self, number: u64, answer: Result<Bytes, NotRun>) {
        let Some(call) = self.calls.open.get_mut(&number) else { return };
        call.answer = Some(answer);
        let delay = self.network.delay();
        self.agenda.after(delay, Happening::CallReturns { call: number });
    }

    /// The answer would arrive now.
    pub(super) fn call_returns(&mut self, number: u64) {
        let Some(call) = self.calls.open.get(&number) else { return };
        match self.network.passage(call.to, call.from, call.generation) {
            Passage::Lost => return,
            Passage::Held => {
                let delay = ms(self.random.random_range(20..200));
                self.agenda.after(delay, Happening::CallReturns { call: number });
                return;
            }
            Passage::Free => {}
        }
        let to = self.nodes[call.to].id.clone();
        let answer = self.calls.open.get_mut(&number).and_then(|call| call.answer.take());
        let answer = match answer {
            Some(Ok(bytes)) if bytes.len() <= ANSWER_BYTES_MAX => Ok(bytes),
            Some(Err(why)) => Err(ForwardError::NotRun { to, why: Some(why) }),
            Some(Ok(_)) | None => Err(ForwardError::Lost { to }),
        };
        self.call_ends(number, answer);
    }

    /// Its asker has no more time.
    pub(super) fn call_late(&mut self, number: u64) {
        let call = self.calls.open.get(&number);
        let Some(to) = call.map(|call| self.nodes[call.to].id.clone()) else { return };
        self.call_ends(number, Err(ForwardError::Late { to }));
    }

    /// A connection of a node ended, and its calls with it.
    pub(crate) fn calls_lost(&mut self, node: usize, peer: usize, generation: u64) {
        let over = self.calls.open.iter().filter(|(_, call)| {
            (call.from, call.to) == (node, peer) && call.generation <= generation
        });
        let over: Vec<u64> = over.map(|(number, _)| *number).collect();
        for number in over {
            let to = self.nodes[peer].id.clone();
            self.call_ends(number, Err(ForwardError::Lost { to }));
        }
    }

    fn call_ends(&mut self, number: u64, answer: Result<Bytes, ForwardError>) {
        let Some(mut call) = self.calls.open.remove(&number) else { return };
        if let Some(reply) = call.reply.take() {
            drop(reply.send(answer));
        }
        self.stir(call.from);
    }
}
