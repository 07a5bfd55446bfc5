//! Between what is on the wire and what is in the log: the same things under two names, because
//! neither floor knows the other.

use segment::{Chain, LogEnd, LogEntry};
use wire::{End, Entry};

/// A place, as it is sent.
pub(super) fn to_wire(end: LogEnd) -> End {
    End { epoch: end.epoch, seq: end.seq, chain: end.chain.0 }
}

/// A place, as it was sent.
pub(super) fn to_log(end: End) -> LogEnd {
    LogEnd { epoch: end.epoch, seq: end.seq, chain: Chain(end.chain) }
}

/// An entry, as it is sent.
pub(super) fn entry_to_wire(entry: LogEntry) -> Entry {
    let LogEntry { epoch, seq, chain, payload } = entry;
    Entry { epoch, seq, chain: chain.0, payload }
}

/// An entry, as it was sent.
pub(super) fn entry_to_log(entry: Entry) -> LogEntry {
    let Entry { epoch, seq, chain, payload } = entry;
    LogEntry { epoch, seq, chain: Chain(chain), payload }
}
