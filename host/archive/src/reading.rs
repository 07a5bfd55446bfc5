//! An object, read from whoever has it.
//!
//! The primary has said which version it is and who should have it. A holder that has not, or has something
//! broken, is passed over, and the next one goes on at the same place. When nobody is left that is an error,
//! never a shorter success.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hashring::NodeId;
use runtime::Instant;
use segment::archive::{At, UnifiedId};
use tokio::sync::OwnedSemaphorePermit;

use crate::archive::Archive;
use crate::request::{Name, clip};
use crate::shared::{Shared, told};
use crate::source::{Lacks, Source};
use crate::{Code, Found, Part, Refusal, meters};

/// An object being read.
pub struct Reading {
    shared: Arc<Shared>,
    name: Name,
    found: Found,
    range: Range<u64>,
    /// Parts that are not begun, with what is to be read of each.
    parts: VecDeque<(Part, Range<u64>)>,
    /// The part that is read, and what is left of it.
    part: Option<(Part, Range<u64>)>,
    /// Who may still have it.
    holders: VecDeque<NodeId>,
    source: Option<Source>,
    why: Vec<String>,
    _one: OwnedSemaphorePermit,
}

impl Archive {
    /// Begins to read what a key shows, or another version that can be seen, or a range of its bytes.
    ///
    /// # Errors
    /// Those of [`Archive::find`]; [`Code::Range`] if the range begins behind the last byte or is empty.
    pub async fn get(
        &self,
        name: &Name,
        version: Option<UnifiedId>,
        range: Option<Range<u64>>,
        until: Instant,
    ) -> Result<Reading, Refusal> {
        told(self.begin_reading(name, version, range, until).await)
    }

    async fn begin_reading(
        &self,
        name: &Name,
        version: Option<UnifiedId>,
        range: Option<Range<u64>>,
        until: Instant,
    ) -> Result<Reading, Refusal> {
        let found = self.shared.find(name, version, until).await?;
        self.open_reading(name, found, range)
    }

    /// Begins to read what was found, or a range of its bytes.
    ///
    /// # Errors
    /// [`Code::Range`] if the range begins behind the last byte or is empty, [`Code::Overloaded`].
    pub fn read(
        &self,
        name: &Name,
        found: Found,
        range: Option<Range<u64>>,
    ) -> Result<Reading, Refusal> {
        told(self.open_reading(name, found, range))
    }

    fn open_reading(
        &self,
        name: &Name,
        found: Found,
        range: Option<Range<u64>>,
    ) -> Result<Reading, Refusal> {
        let shared = Arc::clone(&self.shared);
        let one = Arc::clone(&shared.reads).try_acquire_owned().map_err(|_busy| {
            Refusal::new(Code::Overloaded, "this node reads as many objects as it can")
        })?;
        let size = found.size;
        let range = clip(range, size)
            .ok_or_else(|| Refusal::new(Code::Range, format!("there are {size} bytes")))?;
        let mut parts = VecDeque::new();
        let mut begins = 0;
        for part in &found.parts {
            let ends = begins + part.size;
            let from = range.start.clamp(begins, ends) - begins;
            let until = range.end.clamp(begins, ends) - begins;
            if from < until {
                parts.push_back((part.clone(), from..until));
            }
            begins = ends;
        }
        Ok(Reading {
            shared,
            name: name.clone(),
            found,
            range,
            parts,
            part: None,
            holders: VecDeque::new(),
            source: None,
            why: Vec::new(),
            _one: one,
        })
    }
}

impl Reading {
    /// What is read.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Which of its bytes.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// [`Code::Damaged`] if nobody has them any more as they were; [`Code::NotReady`] if who may have them
    /// cannot be reached. What was given out before is right all the same.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some((_, left)) = &mut self.part else {
                let Some((part, range)) = self.parts.pop_front() else { return Ok(None) };
                self.holders = self.shared.holders(&part, &self.found.members);
                self.part = Some((part, range));
                continue;
            };
            if left.is_empty() {
                (self.part, self.source) = (None, None);
                continue;
            }
            let next = match &mut self.source {
                Some(source) => source.next().await,
                None => {
                    self.turn_to_next().await?;
                    continue;
                }
            };
            match next {
                Some(Ok(bytes)) => {
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if length <= left.end - left.start {
                        left.start += length;
                        return Ok(Some(bytes));
                    }
                    self.pass_over("more bytes came than were asked for".to_owned());
                }
                Some(Err(Lacks(why))) => self.pass_over(why),
                None => self.pass_over("the bytes ended too early".to_owned()),
            }
        }
    }

    fn pass_over(&mut self, why: String) {
        meters::next_holder();
        tracing::warn!(key = %self.name.key, version = %self.found.version, why, "a holder is passed over");
        self.why.push(why);
        self.source = None;
    }

    /// Asks the next one who may have the part.
    async fn turn_to_next(&mut self) -> Result<(), Refusal> {
        let Some((part, left)) = &self.part else { return Ok(()) };
        let Some(node) = self.holders.pop_front() else {
            let away = self.why.iter().any(|why| why.ends_with("cannot be reached"));
            let code = if away { Code::NotReady } else { Code::Damaged };
            let detail = format!("no node gives these bytes: {}", self.why.join("; "));
            return told(Err(Refusal::new(code, detail)));
        };
        let Name { collection, key } = self.name.clone();
        let at = At { collection, key, version: self.found.version };
        match Source::open(&self.shared, &node, &at, part, left.clone()).await {
            Ok(source) => self.source = Some(source),
            Err(Lacks(why)) => self.pass_over(why),
        }
        Ok(())
    }
}

impl Shared {
    /// Who may have a part: this node first, then who held it, then who should have it by now. At last everybody else:
    /// between two changes of the ring others were members, and a node that is none any more keeps what it has.
    pub(crate) fn holders(&self, part: &Part, members: &[NodeId]) -> VecDeque<NodeId> {
        let mut all = VecDeque::new();
        let of_it = part.holders.iter().chain(members);
        if of_it.clone().any(|holder| *holder == self.node) {
            all.push_back(self.node.clone());
        }
        let ring = self.replication.ring();
        for holder in of_it.chain(ring.nodes.iter().map(|member| &member.id)) {
            if !all.contains(holder) {
                all.push_back(holder.clone());
            }
        }
        all
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("found", &self.found).finish_non_exhaustive()
    }
}
