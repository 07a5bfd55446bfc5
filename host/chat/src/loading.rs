//! Folds a partition's committed log into its chats, when this node begins to lead it.
//!
//! In pages, on a task of its own, so that neither memory nor the driver of replication notices. An entry
//! that cannot be understood was written by a newer version, or is damaged: then nothing of the partition
//! is served here, because every chat in it could be missing something.

use model::encode::v1;
use replication::core::PartitionView;

use crate::Sabotage;
use crate::ledger::Ledger;
use crate::reign::{Phase, Reign};

/// Entries and bytes of one page: a page is folded in about a millisecond.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The first byte of a payload that is replication's own: the record of the epoch.
const OPENING: u8 = 0;

/// Why a log could not be folded. The partition is not served by this node until it leads it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    /// The log has no entry there, or cannot be read. What the disk says is in the log before.
    #[error("entry {seq} cannot be read")]
    Missing {
        /// The first one.
        seq: u64,
    },
    /// An entry of another version, or a broken one. A newer node can lead the partition.
    #[error("entry {seq} cannot be understood: {source}")]
    Strange {
        /// Which.
        seq: u64,
        /// In which way.
        source: v1::DecodeError,
    },
}

/// Folds everything up to `seq`; then the reign serves, or is broken.
pub(crate) async fn load(ledger: &dyn Ledger, reign: &Reign, seq: u64, sabotage: Sabotage) {
    let began = runtime::now();
    let (partition, epoch) = (reign.partition, reign.epoch);
    match fold(ledger, reign, seq, sabotage).await {
        Ok(()) => {
            for conversation in reign.conversations() {
                conversation.loaded();
            }
            reign.set_phase(Phase::Serving);
            let ms = (runtime::now() - began).as_millis();
            tracing::debug!(%partition, epoch, entries = seq, ms, "serving");
        }
        Err(_fault) if reign.closed().is_stopped() => {}
        Err(fault) => {
            reign.set_phase(Phase::Broken);
            let PartitionView { role, .. } = *ledger.view(partition);
            tracing::error!(%partition, epoch, ?role, %fault, "ALARM: this partition is not served here");
        }
    }
}

async fn fold(
    ledger: &dyn Ledger,
    reign: &Reign,
    seq: u64,
    sabotage: Sabotage,
) -> Result<(), Fault> {
    let mut next = 1;
    while next <= seq {
        let page = ledger.read(reign.partition, next, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await;
        let page = page.filter(|page| !page.is_empty() && !reign.closed().is_stopped());
        for logged in page.ok_or(Fault::Missing { seq: next })? {
            if logged.seq > seq {
                return Ok(());
            }
            if logged.seq != next {
                return Err(Fault::Missing { seq: next });
            }
            next += 1;
            if logged.payload.first() == Some(&OPENING) {
                continue;
            }
            let mut entry = v1::decode(&logged.payload)
                .map_err(|source| Fault::Strange { seq: logged.seq, source })?;
            if sabotage.forget_keys {
                entry.remembered = None;
            }
            let conversation = reign.conversation_or_new(entry.chat);
            conversation.load(logged.epoch, logged.seq, &entry);
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}
