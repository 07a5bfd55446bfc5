//! One component on its way from one node, piece by piece: what is asked next, decided from what was answered.
//!
//! A node gives a few pieces at once; when many nodes fetch the same component, each is told again and again
//! that it is too early. That is patience, not failure: as long as pieces come, it goes on. What ends it is a node
//! that says nothing, or that has no time for so long that something is wrong there.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashring::NodeId;
use runtime::Backoff;

use crate::Digest;
use crate::artefacts::{ARTEFACT_BYTES_MAX, Artefact};

/// How often a piece is asked for again of a node that says nothing: each time it is waited for.
const SILENT_MAX: u32 = 5;
/// How often in a row a node may have no time for a piece: a minute and a half by the pauses below, in which the
/// slowest disk gives hundreds.
const BUSY_MAX: u32 = 100;
/// The pauses before a piece is asked for again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(2);

/// What a node answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A piece, the length of the whole, and the component's signatures.
    Piece { total: u64, bytes: Bytes, signatures: Option<Bytes> },
    /// It does not have the component.
    Unknown,
    /// It has no time.
    Busy,
    /// Nothing, or nothing that is understood.
    Silence,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask for the piece at this offset.
    Ask(u64),
    /// The same, after a while.
    AskAfter(Duration, u64),
    /// It is here.
    Done(Artefact),
    /// It does not come from there.
    End(Ended),
}

/// Why a component does not come from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is not there.
    Unknown,
    /// The node says nothing.
    Silent,
    /// It is there, and the node never had the time.
    Busy,
    /// What came is another one, or too long.
    Damaged,
}

/// Why no node gives a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// Nobody who could be asked has it. Nothing was kept; it is pushed again.
    #[error(
        "no node that can be reached has the component {0}: push it again, or start a node that has it"
    )]
    Nowhere(Digest),
    /// It is there, and did not come whole. Nothing was kept; it is asked for again.
    #[error("node {node} has the component {digest}, and {why}: ask again")]
    NotGiven {
        /// Where.
        node: NodeId,
        /// Which.
        digest: Digest,
        /// What happened.
        why: &'static str,
    },
}

/// A component on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    digest: Digest,
    component: BytesMut,
    pauses: Backoff,
    /// Since the last piece.
    silent: u32,
    busy: u32,
}

impl Transfer {
    pub(crate) fn new(digest: Digest) -> Self {
        let pauses = Backoff::new(PAUSE_FIRST, PAUSE_CAP);
        Self { digest, component: BytesMut::new(), pauses, silent: 0, busy: 0 }
    }

    /// The first piece, or the next.
    pub(crate) fn offset(&self) -> u64 {
        u64::try_from(self.component.len()).unwrap_or(u64::MAX)
    }

    /// A node answered; `dice` is a random number.
    pub(crate) fn heard(&mut self, heard: Heard, dice: u32) -> Next {
        match heard {
            Heard::Piece { total, bytes, signatures } => {
                (self.silent, self.busy) = (0, 0);
                self.pauses.reset();
                self.piece(total, &bytes, signatures)
            }
            Heard::Unknown => Next::End(Ended::Unknown),
            Heard::Busy if self.busy >= BUSY_MAX => Next::End(Ended::Busy),
            Heard::Silence if self.silent >= SILENT_MAX => Next::End(Ended::Silent),
            Heard::Busy => {
                self.busy += 1;
                self.again(dice)
            }
            Heard::Silence => {
                self.silent += 1;
                self.again(dice)
            }
        }
    }

    fn again(&mut self, dice: u32) -> Next {
        Next::AskAfter(self.pauses.next(dice), self.offset())
    }

    fn piece(&mut self, total: u64, bytes: &Bytes, signatures: Option<Bytes>) -> Next {
        let whole = usize::try_from(total).ok().filter(|total| *total <= ARTEFACT_BYTES_MAX);
        let Some(whole) = whole else { return Next::End(Ended::Damaged) };
        self.component.extend_from_slice(bytes);
        if self.component.len() < whole && !bytes.is_empty() {
            return Next::Ask(self.offset());
        }
        let component = std::mem::take(&mut self.component).freeze();
        match Digest::of(&component) == self.digest {
            true => Next::Done(Artefact { component, signatures }),
            false => Next::End(Ended::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use bytes::Bytes;

    use super::{BUSY_MAX, Ended, Heard, Next, SILENT_MAX, Transfer};
    use crate::Digest;
    use crate::fetching::PIECES_AT_ONCE;

    const PIECE: usize = 16;
    const PIECES: usize = 64;

    fn component() -> Bytes {
        (0..PIECE * PIECES).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    fn piece(of: &Bytes, offset: u64) -> Heard {
        let at = usize::try_from(offset).unwrap();
        let bytes = of.slice(at..(at + PIECE).min(of.len()));
        Heard::Piece { total: of.len() as u64, bytes, signatures: None }
    }

    /// Pieces that each take a while to be given, at most so many at once; how long it took all to have it.
    fn fetched_by(nodes: usize) -> Duration {
        const GIVING: Duration = Duration::from_millis(50);
        let (of, mut dice) = (component(), 12345_u32);
        let mut transfers: Vec<Transfer> =
            (0..nodes).map(|_| Transfer::new(Digest::of(&of))).collect();
        // When each asks, and for what; and until when the holder is at which piece.
        let mut asks: BTreeMap<(Duration, usize), u64> =
            (0..nodes).map(|node| ((Duration::ZERO, node), 0)).collect();
        let mut giving: Vec<Duration> = Vec::new();
        let mut last = Duration::ZERO;
        while let Some(((now, node), offset)) = asks.pop_first() {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            giving.retain(|until| *until > now);
            let given = giving.len() < PIECES_AT_ONCE;
            let (heard, answered) = match given {
                true => (piece(&of, offset), now + GIVING),
                false => (Heard::Busy, now),
            };
            giving.extend(given.then_some(answered));
            match transfers[node].heard(heard, dice) {
                Next::Ask(offset) => _ = asks.insert((answered, node), offset),
                Next::AskAfter(pause, offset) => {
                    asks.insert((answered + pause.max(Duration::from_nanos(1)), node), offset);
                }
                Next::Done(artefact) => {
                    assert_eq!(artefact.component, of);
                    last = answered;
                }
                Next::End(why) => panic!("node {node} of {nodes} at {offset}: {why:?}"),
            }
        }
        last
    }

    /// Six nodes fetched one component of the seventh, which gave four pieces at once: each of them was too
    /// early five times before it had all, and the swap was refused because nobody had the component.
    #[test]
    fn many_nodes_have_it_of_one_who_gives_few_pieces_at_once() {
        for nodes in [1, 4, 5, 6, 12, 30] {
            let took = fetched_by(nodes);
            let least = Duration::from_millis(50) * u32::try_from(PIECES).unwrap();
            assert!(took >= least && took < least * 30, "{nodes}: {took:?}");
        }
    }

    #[test]
    fn a_node_that_says_nothing_or_never_has_the_time_is_given_up() {
        let of = component();
        for (heard, most, why) in
            [(Heard::Silence, SILENT_MAX, Ended::Silent), (Heard::Busy, BUSY_MAX, Ended::Busy)]
        {
            let mut transfer = Transfer::new(Digest::of(&of));
            // Pieces in between begin the count anew.
            for _ in 0..3 {
                for _ in 0..most {
                    let next = transfer.heard(heard.clone(), 7);
                    assert!(matches!(next, Next::AskAfter(..)), "{next:?}");
                }
                let next = transfer.heard(piece(&of, transfer.offset()), 7);
                assert_eq!(next, Next::Ask(transfer.offset()));
            }
            for _ in 0..most {
                transfer.heard(heard.clone(), 7);
            }
            assert_eq!(transfer.heard(heard, 7), Next::End(why));
        }
    }

    #[test]
    fn what_is_not_there_or_another_component_ends_at_once() {
        let of = component();
        let mut transfer = Transfer::new(Digest::of(&of));
        assert_eq!(transfer.heard(Heard::Unknown, 0), Next::End(Ended::Unknown));
        let mut transfer = Transfer::new(Digest::of(b"another"));
        let whole = Heard::Piece { total: of.len() as u64, bytes: of.clone(), signatures: None };
        assert_eq!(transfer.heard(whole, 0), Next::End(Ended::Damaged));
        let mut transfer = Transfer::new(Digest::of(&of));
        let endless = Heard::Piece { total: u64::MAX, bytes: of.clone(), signatures: None };
        assert_eq!(transfer.heard(endless, 0), Next::End(Ended::Damaged));
        let mut transfer = Transfer::new(Digest::of(&of));
        let short = Heard::Piece { total: of.len() as u64, bytes: Bytes::new(), signatures: None };
        assert_eq!(transfer.heard(short, 0), Next::End(Ended::Damaged));
    }
}
