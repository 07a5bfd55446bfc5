//! What clients of the archive were told, and whether they may have been.
//!
//! Whoever is told something is told what follows from the log at some place between what anybody was told before
//! they asked, and now.

use std::collections::BTreeMap;

use archive::{Code, Found, Listing, Md5, Name, Outcome, Refusal, Stored};
use bytes::Bytes;
use hashring::{PartitionId, Partitions};
use segment::archive::Fact;

use super::clients::{Heard, Putting, What, noise};
use super::oracle::{OfKey, Oracle, of_key};
use crate::invariants::{Verdict, must};

/// Something asked.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) node: usize,
    pub(crate) boot: u64,
    pub(crate) what: What,
    /// Up to which place of each partition anybody was told by then.
    floor: BTreeMap<PartitionId, u64>,
}

/// Everything that clients were told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) open: BTreeMap<u64, Operation>,
    count: u64,
    /// Up to which place of each partition anybody was told.
    told: BTreeMap<PartitionId, u64>,
    /// What was sent, by its digest, and whether that came to nothing for certain.
    sent: BTreeMap<[u8; 16], (u64, bool)>,
    pub(crate) stored: u64,
    pub(crate) read: u64,
    pub(crate) nothing: u64,
    pub(crate) listed: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) lost: u64,
}

fn digest(putting: &Putting) -> [u8; 16] {
    Md5::of(&noise(putting.seed, putting.size)).0
}

impl Book {
    /// Somebody asks.
    pub(crate) fn asks(&mut self, (node, boot): (usize, u64), what: What) -> u64 {
        if let What::Put(putting) = &what {
            self.sent.insert(digest(putting), (putting.size as u64, false));
        }
        self.count += 1;
        let floor = self.told.clone();
        self.open.insert(self.count, Operation { node, boot, what, floor });
        self.count
    }

    /// Somebody is told.
    pub(crate) fn heard(
        &mut self,
        asked: &Operation,
        heard: &Heard,
        oracle: &Oracle,
        partitions: Partitions,
    ) -> Verdict {
        let verdict = self.told(asked, heard, oracle, partitions);
        verdict.map_err(|mut violation| {
            let heard: String = format!("{heard:?}").chars().take(1500).collect();
            violation.text = format!("{}: {asked:?} was told {heard}", violation.text);
            violation
        })
    }

    fn told(
        &mut self,
        asked: &Operation,
        heard: &Heard,
        oracle: &Oracle,
        partitions: Partitions,
    ) -> Verdict {
        let place = asked.what.name().map(|name| partition(partitions, name));
        match (&asked.what, heard) {
            (_, Heard::Lost) => self.lost += 1,
            (_, Heard::Refused(refusal)) => {
                return self.refused(asked, refusal, oracle, place);
            }
            (What::Make { name, .. }, Heard::Made) => {
                let there = oracle.collections.contains_key(name);
                return must(there, "G-I2", || "a collection that is not committed".to_owned());
            }
            (What::Put(putting), Heard::Stored(stored)) => {
                self.stored += 1;
                let seq = is_stored(putting, stored, oracle);
                must(seq.is_some(), "G-I2", || "stored, and not committed so".to_owned())?;
                self.is_told(place, seq);
            }
            (What::Delete { name, .. } | What::Start { name }, Heard::Version(version)) => {
                let seq = committed(oracle, name, |fact| {
                    let made = matches!(fact, Fact::Tombstone { .. } | Fact::Started { .. });
                    made && fact.at().is_some_and(|at| at.version == *version)
                });
                must(seq.is_some(), "G-I2", || "told, and not committed".to_owned())?;
                self.is_told(place, seq);
            }
            (What::Finish { name, version } | What::Abort { name, version }, Heard::Done) => {
                let ends = matches!(asked.what, What::Finish { .. });
                let seq = committed(oracle, name, |fact| match fact {
                    Fact::Finished { at, .. } => ends && at.version == *version,
                    Fact::Aborted { at, .. } => !ends && at.version == *version,
                    _ => false,
                });
                must(seq.is_some(), "G-I2", || "told, and not committed".to_owned())?;
                self.is_told(place, seq);
            }
            (What::Get { name }, Heard::Read(found, data)) => {
                self.read += 1;
                self.is_whole(found, data)?;
                let floor = floor_of(asked, place);
                let seq = shows(oracle, &of_key(name), found, floor)?;
                self.is_told(place, seq);
            }
            (What::List { name }, Heard::Listed(listing)) => {
                self.listed += 1;
                return listed(asked, name, listing, oracle, partitions);
            }
            _ => return must(false, "G-I2", || "another answer than was asked for".to_owned()),
        }
        Ok(())
    }

    /// G-I2: all bytes of it, each of them as it was sent.
    fn is_whole(&self, found: &Found, data: &Bytes) -> Verdict {
        let size = data.len() as u64;
        must(size == found.size, "G-I2", || format!("{size} bytes of {}", found.size))?;
        let mut at = 0;
        for part in &found.parts {
            let end = at + usize::try_from(part.size).unwrap_or(usize::MAX);
            let md5 = Md5::of(data.get(at..end).unwrap_or_default());
            let sent = self.sent.get(&md5.0).is_some_and(|(size, _)| *size == part.size);
            must(sent && md5 == part.md5, "G-I2", || {
                format!("bytes {at} to {end} are what nobody sent")
            })?;
            at = end;
        }
        Ok(())
    }

    fn refused(
        &mut self,
        asked: &Operation,
        refusal: &Refusal,
        oracle: &Oracle,
        place: Option<PartitionId>,
    ) -> Verdict {
        self.refused += 1;
        self.unknown += u64::from(refusal.outcome == Some(Outcome::Unknown));
        if let (What::Put(putting), Some(Outcome::NotCommitted)) = (&asked.what, refusal.outcome)
            && let Some((_, nothing)) = self.sent.get_mut(&digest(putting))
        {
            *nothing = true;
        }
        match (&asked.what, refusal.code) {
            (What::Get { name }, Code::NotFound) => {
                self.nothing += 1;
                let key = of_key(name);
                let places = oracle.places(&key, floor_of(asked, place));
                let none = places.iter().any(|seq| oracle.shown(&key, *seq).is_empty());
                must(none, "G-I2", || "there is something".to_owned())
            }
            (_, Code::Internal) => must(false, "G-I11", || "a bug".to_owned()),
            _ => Ok(()),
        }
    }

    fn is_told(&mut self, partition: Option<PartitionId>, seq: Option<u64>) {
        if let (Some(partition), Some(seq)) = (partition, seq) {
            let told = self.told.entry(partition).or_default();
            *told = (*told).max(seq);
        }
    }

    /// What was refused for certain is not there.
    pub(crate) fn check_end(&self, oracle: &Oracle) -> Verdict {
        for key in oracle.keys() {
            for (seq, fact) in oracle.facts(key) {
                let Fact::Final(made) = fact else { continue };
                let sent = self.sent.get(&made.md5.0);
                let good = sent.is_some_and(|(size, nothing)| *size == made.size && !nothing);
                must(good, "G-I2", || format!("sent as {sent:?}, and committed {seq}: {made:?}"))?;
            }
        }
        Ok(())
    }
}

fn floor_of(asked: &Operation, partition: Option<PartitionId>) -> u64 {
    partition.and_then(|partition| asked.floor.get(&partition)).copied().unwrap_or(0)
}

pub(crate) fn partition(partitions: Partitions, name: &Name) -> PartitionId {
    partitions.of_key(format!("{}/{}", name.collection, name.key).as_bytes())
}

fn committed(oracle: &Oracle, name: &Name, is: impl Fn(&Fact) -> bool) -> Option<u64> {
    oracle.facts(&of_key(name)).iter().find(|(_, fact)| is(fact)).map(|(seq, _)| *seq)
}

fn is_stored(putting: &Putting, stored: &Stored, oracle: &Oracle) -> Option<u64> {
    committed(oracle, &putting.name, |fact| match fact {
        Fact::Final(made) => {
            let place = (made.at.version, made.part);
            let asked = putting.part.unwrap_or((stored.version, 0));
            place == asked && made.md5 == stored.md5 && made.md5.0 == digest(putting)
        }
        _ => false,
    })
}

/// What was found is what the key shows at one of the places, none of them before what anybody knew; and is not what
/// was deleted by then.
fn shows(
    oracle: &Oracle,
    key: &OfKey,
    found: &Found,
    floor: u64,
) -> Result<Option<u64>, crate::invariants::Violation> {
    must(!oracle.is_deleted(key, found.version, floor), "G-I4", || {
        format!("deleted, as was told up to {floor}")
    })?;
    let seq = oracle.places(key, floor).into_iter().find(|seq| {
        let shown = oracle.shown(key, *seq);
        let Some((version, parts)) = shown.last() else { return false };
        let same = version.parts.len() == found.parts.len() && version.size == found.size;
        let uploads = parts.iter().zip(&found.parts).all(|(made, it)| made.upload == it.upload);
        version.id == found.version && same && (uploads || found.parts.is_empty())
    });
    must(seq.is_some(), "G-I2", || format!("not what is shown from {floor} on"))?;
    Ok(seq)
}

fn listed(
    asked: &Operation,
    name: &archive::CollectionName,
    listing: &Listing,
    oracle: &Oracle,
    partitions: Partitions,
) -> Verdict {
    must(!listing.truncated, "G-I2", || "there are few keys".to_owned())?;
    for key in oracle.keys().filter(|(collection, _)| collection == name) {
        let of = Name { collection: key.0.clone(), key: key.1.clone() };
        let floor = floor_of(asked, Some(partition(partitions, &of)));
        let entry = listing.entries.iter().find(|entry| entry.key == key.1);
        let places = oracle.places(key, floor);
        let good = places.iter().any(|seq| {
            let shown = oracle.shown(key, *seq).pop().map(|(version, _)| version.id);
            shown == entry.map(|entry| entry.version)
        });
        must(good, "G-I2", || format!("{key:?} is not listed as it is shown from {floor} on"))?;
    }
    Ok(())
}
