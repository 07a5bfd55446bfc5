//! What the registry of a stage makes of compare-and-sets, and who hears of it.

use hashring::PartitionId;
use registry::{PartitionRecord, PartitionState};
use replication::core::{CasResult, Event};

use crate::stage::Stage;

/// How the registry treats compare-and-sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cas {
    Done,
    /// Done, but the answer is lost.
    DoneUnknown,
    Lost,
    /// Those that open a record are lost, the others done.
    NoOpening,
    /// Done, and the others do not hear of those that open a record.
    OpeningUnheard,
    /// Done, and the others hear of none.
    Unheard,
}

impl Cas {
    /// Whether a record is written that opens, or does not.
    fn writes(self, opens: bool) -> bool {
        match self {
            Self::Lost => false,
            Self::NoOpening => !opens,
            Self::Done | Self::DoneUnknown | Self::OpeningUnheard | Self::Unheard => true,
        }
    }

    /// Whether everybody hears of it once it is.
    fn is_heard(self, opens: bool) -> bool {
        match self {
            Self::Done | Self::NoOpening => true,
            Self::OpeningUnheard => !opens,
            Self::Unheard | Self::DoneUnknown | Self::Lost => false,
        }
    }
}

impl Stage {
    pub(crate) fn compare_and_set(
        &mut self,
        partition: PartitionId,
        expect: Option<u64>,
        record: PartitionRecord,
    ) -> CasResult {
        let opens = record.state == PartitionState::Open;
        if !self.cas.writes(opens) {
            return CasResult::Unknown;
        }
        let current = self.records.get(&partition).cloned();
        if current.as_ref().map(|(_, version)| *version) != expect {
            return CasResult::Lost { current };
        }
        let version = expect.map_or(0, |version| version + 1);
        self.records.insert(partition, (record.clone(), version));
        if self.cas.is_heard(opens) {
            let names: Vec<String> = self.nodes.keys().map(ToString::to_string).collect();
            for name in names {
                let record = record.clone();
                self.tell(&name, Event::Record { partition, record, version });
            }
        }
        match self.cas {
            Cas::DoneUnknown => CasResult::Unknown,
            _ => CasResult::Won { version },
        }
    }
}
