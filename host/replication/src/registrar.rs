//! Compare-and-sets that the core wants, in batches, and what became of them.
//!
//! A write whose answer was lost is not lost: its record carries a nonce of its own. If that nonce
//! stands in the registry the write was won, whoever was told otherwise. If the old version still
//! stands there it may yet come, so the result stays unknown and the core tries the same again.

use std::sync::Arc;

use hashring::PartitionId;
use registry::{Cas, CasError, PartitionRecord, Session, Value, partition_key};
use runtime::Stop;
use tokio::sync::mpsc;

use crate::core::{CasResult, Event};
use crate::inbox::{Command, Inbox};

/// Batches that wait while one is under way: the core asks for each partition once, so one batch is
/// usual. Beyond it the core is told that the result is unknown, and asks again.
pub(crate) const BATCHES_WAITING_MAX: usize = 64;

/// One compare-and-set.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) partition: PartitionId,
    pub(crate) expect: Option<u64>,
    pub(crate) record: PartitionRecord,
}

impl Wish {
    /// How it ended, as an event.
    pub(crate) fn done(&self, result: CasResult) -> Event {
        Event::CasDone { partition: self.partition, nonce: self.record.nonce, result }
    }
}

/// Writes what is wished for until the node stops.
pub(crate) async fn run(
    session: Arc<Session>,
    mut wishes: mpsc::Receiver<Vec<Wish>>,
    inbox: Inbox,
    stop: Stop,
) {
    let mut batches = Vec::new();
    loop {
        tokio::select! { biased;
            () = stop.stopped() => return,
            taken = wishes.recv_many(&mut batches, BATCHES_WAITING_MAX) => if taken == 0 { return },
        }
        let batch: Vec<Wish> = batches.drain(..).flatten().collect();
        for (wish, result) in write(&session, batch).await {
            if inbox.send(Command::Event(wish.done(result))).await.is_err() {
                return;
            }
        }
    }
}

async fn write(session: &Session, batch: Vec<Wish>) -> Vec<(Wish, CasResult)> {
    let writes = batch
        .iter()
        .map(|wish| Cas {
            key: partition_key(wish.partition),
            expect: wish.expect,
            data: Some(registry::encode(&wish.record)),
        })
        .collect();
    let mut done = Vec::with_capacity(batch.len());
    match session.cas_many(writes).await {
        Ok(results) => {
            for (wish, result) in batch.into_iter().zip(results) {
                let result = match result {
                    Ok(version) => CasResult::Won { version },
                    Err(CasError { current }) => found(&wish, current),
                };
                done.push((wish, result));
            }
        }
        Err(error) => {
            tracing::warn!(%error, records = batch.len(), "a compare-and-set has no answer");
            let mut reachable = true;
            for wish in batch {
                let mut result = CasResult::Unknown;
                // Once one has no answer the others would only wait for theirs.
                if reachable {
                    match session.get(&partition_key(wish.partition)).await {
                        Ok(current) => result = found(&wish, current),
                        Err(_unreachable) => reachable = false,
                    }
                }
                done.push((wish, result));
            }
        }
    }
    done
}

/// What it means that `current` stands there after `wish` was tried.
fn found(wish: &Wish, current: Option<Value>) -> CasResult {
    let Some(current) = current else {
        // One that is to be created may yet come; one that is to be replaced cannot.
        return match wish.expect {
            None => CasResult::Unknown,
            Some(_) => CasResult::Lost { current: None },
        };
    };
    if wish.expect == Some(current.version) {
        return CasResult::Unknown;
    }
    match registry::decode::<PartitionRecord>(&current.data) {
        Ok(record) if record.nonce == wish.record.nonce => {
            CasResult::Won { version: current.version }
        }
        Ok(record) => CasResult::Lost { current: Some((record, current.version)) },
        Err(error) => {
            tracing::error!(partition = %wish.partition, %error, "the registry's record is no record");
            CasResult::Lost { current: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(nonce: u64) -> PartitionRecord {
        let member = registry::Member { node: "n1".parse().unwrap(), store: 1 };
        PartitionRecord { nonce, ..PartitionRecord::first(vec![member], 1) }
    }

    fn stands(nonce: u64, version: u64) -> Option<Value> {
        Some(Value { data: registry::encode(&record(nonce)), version })
    }

    #[test]
    fn a_write_is_known_by_its_nonce_whatever_was_answered() {
        let wish = Wish { partition: PartitionId(3), expect: Some(4), record: record(77) };
        assert!(matches!(found(&wish, stands(77, 5)), CasResult::Won { version: 5 }));
        assert!(matches!(found(&wish, stands(78, 5)), CasResult::Lost { current: Some((_, 5)) }));
        assert!(matches!(found(&wish, stands(70, 4)), CasResult::Unknown), "it may yet come");
        assert!(matches!(found(&wish, None), CasResult::Lost { current: None }));
        let anew = Wish { partition: PartitionId(3), expect: None, record: record(77) };
        assert!(matches!(found(&anew, stands(77, 0)), CasResult::Won { version: 0 }));
        assert!(matches!(found(&anew, None), CasResult::Unknown), "it may yet come");
        let foreign = Some(Value { data: b"{}".to_vec(), version: 6 });
        assert!(matches!(found(&wish, foreign), CasResult::Lost { current: None }));
    }

    #[tokio::test]
    async fn a_batch_is_written_and_each_result_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry::Registry::embedded(folder.path()).unwrap();
        let session = registry.session(&"a".parse().unwrap());
        let put = |partition| Cas {
            key: partition_key(PartitionId(partition)),
            expect: None,
            data: Some(registry::encode(&record(0))),
        };
        let versions = session.cas_many(vec![put(0), put(1)]).await.unwrap();
        let versions: Vec<u64> = versions.into_iter().map(Result::unwrap).collect();
        let wish = |partition, expect| Wish {
            partition: PartitionId(partition),
            expect: Some(expect),
            record: record(9),
        };
        let done = write(&session, vec![wish(0, versions[0]), wish(1, 12_345)]).await;
        assert!(matches!(done[0].1, CasResult::Won { .. }), "{done:?}");
        assert!(
            matches!(&done[1].1, CasResult::Lost { current: Some((found, _)) } if found.nonce == 0)
        );
        session.set_cut(true);
        let done = write(&session, vec![wish(1, versions[1])]).await;
        assert!(matches!(done[0].1, CasResult::Unknown), "{done:?}");
    }
}
