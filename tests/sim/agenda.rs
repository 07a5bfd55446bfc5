//! What will happen when: the only order there is in a simulated world.
//!
//! Two things that happen at one instant happen in the order in which they were planned, so that a run
//! is a function of its seed.

use std::collections::BTreeMap;

use hashring::PartitionId;
use wire::Message;

use crate::bases::BaseWork;
use crate::chats::book::Heard;
use crate::faults::{Fault, Kind};

/// Microseconds since the world began.
pub(crate) type Time = u64;

/// Milliseconds as [`Time`].
pub(crate) const fn ms(milliseconds: u64) -> Time {
    milliseconds * 1000
}

/// Something that will happen. `boot` names the process life it is meant for: a later life of the node
/// does not hear of it.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A node takes what waits for it.
    Wake { node: usize, boot: u64 },
    /// A core asked to be woken about now.
    Timer { node: usize, boot: u64 },
    /// A message reaches the other side of its connection.
    Arrive { from: usize, to: usize, generation: u64, message: Message },
    /// `node` learns that its connection to `peer` stands.
    Linked { node: usize, peer: usize, generation: u64 },
    /// `node` learns that its connection to `peer` is gone.
    Unlinked { node: usize, peer: usize, generation: u64 },
    /// Two nodes try to connect.
    Dial { pair: (usize, usize) },
    /// A connection over which nothing came since the silence `silence` began is given up.
    Idle { pair: (usize, usize), generation: u64, silence: u64 },
    /// The disk finished its batch.
    Written { node: usize, boot: u64 },
    /// A read of a log is done.
    Read {
        node: usize,
        boot: u64,
        partition: PartitionId,
        request: u64,
        from: u64,
        max: (usize, usize),
    },
    /// A compare-and-set reaches the registry.
    CasArrives { node: usize, boot: u64, cas: u64 },
    /// Its result reaches the node.
    CasAnswered { node: usize, boot: u64, cas: u64 },
    /// The node's watch of a partition fires.
    Watch { node: usize, session: u64, partition: PartitionId },
    /// The node's registry session is made.
    Session { node: usize, boot: u64 },
    /// The disk has done something about what logs stand on.
    BaseWorked { node: usize, boot: u64, work: BaseWork },
    /// The log of a node begins later.
    Trims,
    /// A client does something.
    Load,
    /// Trouble of a kind comes.
    Trouble(Kind),
    /// Something goes wrong, or well again.
    Fault(Fault),
    /// A crashed node is started again.
    Restart { node: usize },
    /// A node hears who is on the ring.
    Roster { node: usize },
    /// The chats of a node go on.
    Floor { node: usize, boot: u64 },
    /// The disk has done something for the chats.
    DiskWorked { work: u64 },
    /// A request reaches the node that it was sent on to.
    CallArrives { call: u64 },
    /// Its answer comes back.
    CallReturns { call: u64 },
    /// Its asker waits no longer.
    CallLate { call: u64 },
    /// A client of the chats does something.
    Person { person: usize },
    /// A node learns which generation of the handlers is live.
    Learn { node: usize, boot: u64 },
    /// The archive of a node goes on.
    Vault { node: usize, boot: u64 },
    /// The writer of a node's archive does what waits.
    Shelve { node: usize, boot: u64 },
    /// A frame of a stream would arrive on its side, 0 or 1.
    Carried { way: u64, side: usize },
    /// A log was read for an archive.
    ObjectsRead { read: u64 },
    /// A client of the archive does something.
    Keeper { keeper: usize },
    /// A client of the chats is told.
    Heard { operation: u64, heard: Box<Heard> },
}

/// Everything that will happen, by time and then by the order of planning.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    planned: BTreeMap<(Time, u64), Happening>,
    count: u64,
    now: Time,
}

impl Agenda {
    /// Plans something, `delay` from now.
    pub(crate) fn after(&mut self, delay: Time, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    /// Plans something at an instant; at once, if that is over.
    pub(crate) fn at(&mut self, time: Time, happening: Happening) {
        self.count += 1;
        self.planned.insert((time.max(self.now), self.count), happening);
    }

    /// Moves time on to what happens next, if that is not after `until`; else to `until`.
    pub(crate) fn next(&mut self, until: Time) -> Option<Happening> {
        match self.planned.first_key_value() {
            Some((&(time, _), _)) if time <= until => {
                self.now = time;
                self.planned.pop_first().map(|(_, happening)| happening)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }
}
