//! Bulk data between nodes: frames of streams, over the connection between them.
//!
//! Frames of one direction keep their order. A stream ends with its connection, and with either process.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hashring::NodeId;
use rand::RngExt;
use replication::{Carried, Stream};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::agenda::{Happening, ms};
use crate::network::Passage;
use crate::world::World;

/// More frames than anybody sends before it is answered: a sequence has 40.
const FRAMES_MAX: usize = 512;

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    open: BTreeMap<u64, Way>,
    count: u64,
}

/// One stream between two nodes: side 0 began it.
#[derive(Debug)]
struct Way {
    nodes: [usize; 2],
    boots: [u64; 2],
    generation: u64,
    sides: [Side; 2],
    /// What begins it, until it arrives.
    opening: Option<Bytes>,
}

/// What is known of one end of a stream.
#[derive(Debug, Default)]
struct Side {
    /// What its process says; none once that is at an end.
    says: Option<mpsc::Receiver<Carried>>,
    /// Where its process hears; none once it hears nothing more.
    hears: Option<mpsc::Sender<Carried>>,
    /// On the way to it. None: it was cut.
    coming: VecDeque<Option<Carried>>,
}

/// The ends of a stream, one for the process and one for the world.
fn ends() -> (Stream, Side) {
    let (says, said) = mpsc::channel(FRAMES_MAX);
    let (tells, hears) = mpsc::channel(FRAMES_MAX);
    let side = Side { says: Some(said), hears: Some(tells), coming: VecDeque::new() };
    (Stream::carried(says, hears), side)
}

impl World {
    /// A node begins a stream to another, if it is connected to it.
    pub(super) fn begin_stream(
        &mut self,
        node: usize,
        boot: u64,
        (to, body): (&NodeId, Bytes),
        reply: oneshot::Sender<Stream>,
    ) {
        let peer = self.index_of(to);
        let life = self.nodes[node].life.as_ref();
        let generation = life.zip(peer).and_then(|(life, peer)| life.peers.get(&peer)).copied();
        let (Some(peer), Some(generation)) = (peer, generation) else {
            drop(reply);
            self.stir_vault(node);
            return;
        };
        let Some(shelf) = &mut self.shelf else { return };
        let (stream, side) = ends();
        shelf.ways.count += 1;
        let way = shelf.ways.count;
        let open = Way {
            nodes: [node, peer],
            boots: [boot, 0],
            generation,
            sides: [side, Side::default()],
            opening: Some(body),
        };
        shelf.ways.open.insert(way, open);
        // Who stopped waiting does not want to begin.
        reply.send(stream).ok();
        let delay = self.network.delay();
        self.agenda.after(delay, Happening::Carried { way, side: 1 });
        self.stir_vault(node);
    }

    /// Takes what a node said on its streams.
    pub(super) fn listen(&mut self, node: usize) {
        let Some(shelf) = &mut self.shelf else { return };
        let mut coming = Vec::new();
        for (number, way) in &mut shelf.ways.open {
            for side in (0..2).filter(|side| way.nodes[*side] == node) {
                let [first, second] = &mut way.sides;
                let (mine, other) = if side == 0 { (first, second) } else { (second, first) };
                let Some(says) = &mut mine.says else { continue };
                loop {
                    let said = match says.try_recv() {
                        Ok(said) => Some(said),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => None,
                    };
                    let over = said.as_ref().is_none_or(|said| *said == Carried::End);
                    other.coming.push_back(said);
                    coming.push(Happening::Carried { way: *number, side: 1 - side });
                    if over {
                        mine.says = None;
                        break;
                    }
                }
            }
        }
        for happening in coming {
            let delay = self.network.delay();
            self.agenda.after(delay, happening);
        }
    }

    /// What comes next on a stream would arrive now.
    pub(super) fn carried(&mut self, number: u64, side: usize) {
        let Some(shelf) = &mut self.shelf else { return };
        let Some(way) = shelf.ways.open.get_mut(&number) else { return };
        let (from, to) = (way.nodes[1 - side], way.nodes[side]);
        match self.network.passage(from, to, way.generation) {
            Passage::Lost => return self.end_way(number),
            Passage::Held => {
                let delay = ms(self.random.random_range(20..200));
                self.agenda.after(delay, Happening::Carried { way: number, side });
                return;
            }
            Passage::Free => {}
        }
        if let (1, Some(body)) = (side, way.opening.take()) {
            let asker = self.nodes[from].id.clone();
            let Some((life, vault)) =
                self.nodes[to].life.as_ref().and_then(|life| Some((life, life.vault.as_ref()?)))
            else {
                return self.end_way(number);
            };
            let (stream, there) = ends();
            way.boots[1] = life.boot;
            let coming = std::mem::take(&mut way.sides[1].coming);
            way.sides[1] = Side { coming, ..there };
            vault.serve(asker, body, stream);
            self.stir_vault(to);
            return;
        }
        let Some(said) = way.sides[side].coming.pop_front() else { return };
        let over = said.as_ref().is_none_or(|said| *said == Carried::End);
        let heard = match (&way.sides[side].hears, said) {
            (Some(hears), Some(said)) => hears.try_send(said).is_ok(),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if over || !heard {
            way.sides[side].hears = None;
        }
        let done = |side: &Side| side.hears.is_none() && side.says.is_none();
        if way.sides.iter().all(done) && way.opening.is_none() {
            shelf.ways.open.remove(&number);
        }
        self.stir_vault(to);
    }

    /// A stream ends for both.
    fn end_way(&mut self, number: u64) {
        let Some(shelf) = &mut self.shelf else { return };
        let Some(way) = shelf.ways.open.remove(&number) else { return };
        for node in way.nodes {
            self.stir_vault(node);
        }
    }

    /// A connection of a node ended, and its streams with it.
    pub(crate) fn ways_lost(&mut self, node: usize, peer: usize, generation: u64) {
        let Some(shelf) = &mut self.shelf else { return };
        for way in shelf.ways.open.values_mut().filter(|way| way.generation <= generation) {
            for side in 0..2 {
                if (way.nodes[side], way.nodes[1 - side]) == (node, peer) {
                    (way.sides[side].says, way.sides[side].hears) = (None, None);
                }
            }
        }
        self.stir_vault(node);
    }

    /// A process is gone: the other side learns of it with the connection.
    pub(super) fn ways_gone(&mut self, node: usize, boot: u64) {
        let Some(shelf) = &mut self.shelf else { return };
        for way in shelf.ways.open.values_mut() {
            for side in 0..2 {
                if (way.nodes[side], way.boots[side]) == (node, boot) {
                    (way.sides[side].says, way.sides[side].hears) = (None, None);
                }
            }
        }
    }
}
