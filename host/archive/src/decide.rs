//! What becomes of a request to change something: a pure function of what is known.
//!
//! Known is everything about the key and the upload that was decided, committed or not. What is decided here
//! is one entry, or an answer that was given before, or a refusal.

use std::collections::BTreeSet;

use hashring::NodeId;
use segment::archive::{
    At, Event, Fact, Final, PARTS_MAX, UnifiedId, UnifiedIds, Upload, Versioning,
};

use crate::entry::ObjectEntry;
use crate::question::{Ask, Holder, Proposal, Reply};
use crate::request::{Made, Name, is_whole_chat};
use crate::{Code, Refusal, Stored};

/// Collections there are at most: every node keeps them all in memory.
const COLLECTIONS_MAX: usize = 65_536;
/// Archives of parts of one partition that are begun and neither finished nor given up: what they hold on the
/// disks nobody sees.
pub(crate) const UNFINISHED_MAX: usize = 1024;

/// What a decision follows from.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// About the key.
    pub(crate) facts: Vec<Fact>,
    /// About the upload.
    pub(crate) upload: Vec<Fact>,
    /// Before this life nothing of the writer becomes final.
    pub(crate) fence: u64,
    /// How the collection keeps versions, as far as this node knows.
    pub(crate) versioning: Option<Versioning>,
    /// How many collections there are.
    pub(crate) collections: usize,
    /// How many archives of parts of the partition are begun and not ended.
    pub(crate) unfinished: usize,
    /// Who should hold the partition.
    pub(crate) members: Vec<Holder>,
    /// How many of them must.
    pub(crate) commit: usize,
    pub(crate) now_ms: u64,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This is to be appended; then it is answered so.
    Append(Box<ObjectEntry>, Reply),
    /// It was done before, or changes nothing.
    Again(Reply),
    /// It is not done.
    Refuse(Refusal),
}

/// Decides.
pub(crate) fn decide(ask: &Ask, known: &Known, ids: &mut UnifiedIds) -> Decision {
    let decided = match ask {
        Ask::Collection { name, make } => return collection(name, *make, known),
        Ask::Final(proposal) => finalise(proposal, known, ids),
        Ask::Delete { name, versioning, target, repeat } => {
            delete(&Of(name, *versioning), *target, repeat, known, ids)
        }
        Ask::Start { name, versioning, repeat } => {
            start(&Of(name, *versioning), repeat, known, ids)
        }
        Ask::Finish { name, versioning, version } => {
            finish(&Of(name, *versioning), *version, known)
        }
        Ask::Abort { name, versioning, version } => abort(&Of(name, *versioning), *version, known),
        Ask::GiveUp { name, versioning, version, before_ms } => {
            give_up(&Of(name, *versioning), *version, *before_ms, known)
        }
        Ask::Cancel { upload } => Ok(cancel(upload, known)),
        Ask::Fence { node, boot } => Ok(fence(node, *boot, known)),
        Ask::Find { .. } => Err(Refusal::new(Code::Internal, "finding decides nothing")),
    };
    decided.unwrap_or_else(Decision::Refuse)
}

type Decided = Result<Decision, Refusal>;

/// A name and how its collection keeps versions.
struct Of<'a>(&'a Name, Versioning);

impl Of<'_> {
    fn at(&self, version: UnifiedId) -> At {
        let Name { collection, key } = self.0;
        At { collection: collection.clone(), key: key.clone(), version }
    }

    fn append(&self, fact: Fact, reply: Reply) -> Decision {
        let collection = Some((self.0.collection.clone(), self.1));
        Decision::Append(Box::new(ObjectEntry { fact, collection, data: None }), reply)
    }
}

fn collection(
    name: &segment::archive::CollectionName,
    make: Option<Versioning>,
    known: &Known,
) -> Decision {
    let made = |versioning, now| Reply::Made(Made { versioning, now });
    match (known.versioning, make) {
        (Some(found), Some(wanted)) if found != wanted => {
            let detail = format!("collection {name} exists with another versioning");
            Decision::Refuse(Refusal::new(Code::CollectionExists, detail))
        }
        (Some(found), _) => Decision::Again(made(found, false)),
        (None, None) => {
            let detail = format!("there is no collection {name}");
            Decision::Refuse(Refusal::new(Code::UnknownCollection, detail))
        }
        (None, Some(_)) if known.collections >= COLLECTIONS_MAX => {
            let detail = format!("there are {COLLECTIONS_MAX} collections, and no more can be");
            Decision::Refuse(Refusal::not_committed(Code::Overloaded, detail))
        }
        (None, Some(versioning)) => {
            let fact = Fact::Collection { name: name.clone(), versioning, time_ms: known.now_ms };
            let entry = ObjectEntry { fact, collection: None, data: None };
            Decision::Append(Box::new(entry), made(versioning, true))
        }
    }
}

fn stored(made: &Final, again: bool) -> Reply {
    let Final { at, size, md5, adler32, .. } = made;
    let (version, size, md5, adler32) = (at.version, *size, *md5, *adler32);
    Reply::Stored(Stored { version, size, md5, adler32, again })
}

fn finals(facts: &[Fact]) -> impl Iterator<Item = &Final> {
    facts.iter().filter_map(|fact| match fact {
        Fact::Final(made) => Some(made),
        _ => None,
    })
}

fn finalise(proposal: &Proposal, known: &Known, ids: &mut UnifiedIds) -> Decided {
    if let Some(reply) = before(proposal, known)? {
        return Ok(Decision::Again(reply));
    }
    is_first_of_chat(proposal, known)?;
    if let Some((version, part)) = proposal.part {
        may_be_part(version, part, known)?;
        let mut of_key = finals(&known.facts);
        let same = of_key.find(|made| (made.at.version, made.part) == (version, part));
        if let Some(made) = same {
            if made.md5 == proposal.md5 {
                return Ok(Decision::Again(stored(made, true)));
            }
            let detail = format!("part {part} is there already, with other bytes");
            return Err(Refusal::new(Code::AlreadyFinal, detail));
        }
    }
    // A member that began anew since has lost what its earlier store held.
    let members = |holder: &&Holder| known.members.contains(holder);
    let held: BTreeSet<&NodeId> =
        proposal.held.iter().filter(members).map(|holder| &holder.node).collect();
    if proposal.data.is_none() && held.len() < known.commit {
        let (there, wanted) = (held.len(), known.commit);
        let detail =
            format!("{there} of the nodes that should have the bytes have them, {wanted} must");
        return Err(Refusal::not_committed(Code::NoQuorum, detail));
    }
    let (version, part) = match proposal.part {
        Some(part) => part,
        None => (issue(ids, known)?, 0),
    };
    let of = Of(&proposal.name, proposal.versioning);
    let made = Final {
        upload: proposal.upload.clone(),
        at: of.at(version),
        part,
        segment_number: 0,
        coding: 0,
        hand_off: None,
        sequences: proposal.sequences,
        size: proposal.size,
        md5: proposal.md5,
        adler32: proposal.adler32,
        time_ms: known.now_ms,
        meta: proposal.meta.clone(),
        table: proposal.table,
        repeat: proposal.repeat.clone(),
        holders: held.into_iter().cloned().collect(),
    };
    let reply = stored(&made, false);
    let collection = Some((proposal.name.collection.clone(), proposal.versioning));
    let data = proposal.data.clone();
    let entry = ObjectEntry { fact: Fact::Final(made), collection, data };
    Ok(Decision::Append(Box::new(entry), reply))
}

/// What the same upload, or the same request, was answered before.
fn before(proposal: &Proposal, known: &Known) -> Result<Option<Reply>, Refusal> {
    if let Some(made) = finals(&known.upload).next() {
        return Ok(Some(stored(made, false)));
    }
    if is_cancelled(known) || proposal.upload.boot < known.fence {
        let detail = "the upload was given up before it was whole";
        return Err(Refusal::not_committed(Code::NoQuorum, detail));
    }
    let Some(repeat) = &proposal.repeat else { return Ok(None) };
    let same = finals(&known.facts).find(|made| made.repeat.as_ref() == Some(repeat));
    match same {
        None => Ok(None),
        Some(made) if (made.md5, made.size) == (proposal.md5, proposal.size) => {
            Ok(Some(stored(made, true)))
        }
        Some(_) => {
            let detail = "the key of the request was used for other bytes";
            Err(Refusal::new(Code::IdempotencyConflict, detail))
        }
    }
}

/// A chat is archived once and in one piece, whoever does it; also one whose archive was deleted.
fn is_first_of_chat(proposal: &Proposal, known: &Known) -> Result<(), Refusal> {
    if !is_whole_chat(&proposal.name) {
        return Ok(());
    }
    if proposal.part.is_some() {
        let detail = "the archive of a chat has no parts";
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    if finals(&known.facts).next().is_some() {
        return Err(Refusal::new(Code::AlreadyFinal, "the chat is archived already"));
    }
    Ok(())
}

fn issue(ids: &mut UnifiedIds, known: &Known) -> Result<UnifiedId, Refusal> {
    let highest = known.facts.iter().filter_map(Fact::at).map(|at| at.version).max();
    ids.observe(highest.unwrap_or_default());
    let used_up = || Refusal::new(Code::Internal, "the numbers of versions are used up");
    ids.next(known.now_ms).ok_or_else(used_up)
}

/// How an archive of parts stands.
#[derive(Debug, Default)]
struct Parts {
    started: bool,
    finished: Option<u32>,
    aborted: bool,
    parts: BTreeSet<u32>,
}

impl Parts {
    fn of(version: UnifiedId, known: &Known) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for fact in
            known.facts.iter().filter(|fact| fact.at().is_some_and(|at| at.version == version))
        {
            match fact {
                Fact::Started { .. } => found.started = true,
                Fact::Finished { parts, .. } => found.finished = Some(*parts),
                Fact::Aborted { .. } => found.aborted = true,
                Fact::Final(made) => drop(found.parts.insert(made.part)),
                _ => {}
            }
        }
        if found.started { Ok(found) } else { Err(unknown_version(version)) }
    }
}

fn unknown_version(version: UnifiedId) -> Refusal {
    Refusal::new(Code::UnknownVersion, format!("the key has no version {version}"))
}

fn may_be_part(version: UnifiedId, part: u32, known: &Known) -> Result<(), Refusal> {
    if part == 0 || part > PARTS_MAX {
        let detail = format!("parts are numbered from 1 to {PARTS_MAX}");
        return Err(Refusal::new(Code::InvalidRequest, detail));
    }
    let found = Parts::of(version, known)?;
    if found.aborted {
        return Err(Refusal::new(Code::AlreadyFinal, format!("version {version} was given up")));
    }
    if found.finished.is_some() && !found.parts.contains(&part) {
        return Err(Refusal::new(Code::AlreadyFinal, format!("version {version} is whole")));
    }
    Ok(())
}

fn delete(
    of: &Of<'_>,
    target: Option<UnifiedId>,
    repeat: &str,
    known: &Known,
    ids: &mut UnifiedIds,
) -> Decided {
    for fact in &known.facts {
        if let Fact::Tombstone { at, target: found, repeat: under, .. } = fact {
            let repeated = under.as_deref() == Some(repeat);
            if repeated && *found != target {
                let detail = "the key of the request was used for another delete";
                return Err(Refusal::new(Code::IdempotencyConflict, detail));
            }
            if repeated || (target.is_some() && *found == target) {
                return Ok(Decision::Again(Reply::Version(at.version)));
            }
        }
    }
    if let Some(target) = target {
        let archive = known.facts.iter().any(|fact| match fact {
            Fact::Final(made) => made.at.version == target,
            Fact::Started { at, .. } => at.version == target,
            _ => false,
        });
        if !archive {
            return Err(unknown_version(target));
        }
    }
    let version = issue(ids, known)?;
    let (at, time_ms, repeat) = (of.at(version), known.now_ms, Some(repeat.to_owned()));
    let fact = Fact::Tombstone { at, target, time_ms, repeat };
    Ok(of.append(fact, Reply::Version(version)))
}

fn start(of: &Of<'_>, repeat: &str, known: &Known, ids: &mut UnifiedIds) -> Decided {
    let before = known.facts.iter().find_map(|fact| match fact {
        Fact::Started { at, repeat: Some(under), .. } if under == repeat => Some(at.version),
        _ => None,
    });
    if let Some(version) = before {
        return Ok(Decision::Again(Reply::Version(version)));
    }
    if known.unfinished >= UNFINISHED_MAX {
        let detail = format!(
            "{UNFINISHED_MAX} archives of parts are begun in this partition: finish some, or abort them"
        );
        return Err(Refusal::not_committed(Code::Overloaded, detail));
    }
    let version = issue(ids, known)?;
    let (at, time_ms, repeat) = (of.at(version), known.now_ms, Some(repeat.to_owned()));
    Ok(of.append(Fact::Started { at, time_ms, repeat }, Reply::Version(version)))
}

fn finish(of: &Of<'_>, version: UnifiedId, known: &Known) -> Decided {
    let found = Parts::of(version, known)?;
    if found.aborted {
        return Err(Refusal::new(Code::AlreadyFinal, format!("version {version} was given up")));
    }
    if found.finished.is_some() {
        return Ok(Decision::Again(Reply::Version(version)));
    }
    let last = found.parts.last().copied().unwrap_or(0);
    if let Some(lacking) = (1..=last.max(1)).find(|part| !found.parts.contains(part)) {
        return Err(Refusal::new(Code::WrongOrder, format!("part {lacking} is missing")));
    }
    let fact = Fact::Finished { at: of.at(version), parts: last, time_ms: known.now_ms };
    Ok(of.append(fact, Reply::Version(version)))
}

fn abort(of: &Of<'_>, version: UnifiedId, known: &Known) -> Decided {
    if Parts::of(version, known)?.aborted {
        return Ok(Decision::Again(Reply::Version(version)));
    }
    let fact = Fact::Aborted { at: of.at(version), time_ms: known.now_ms };
    Ok(of.append(fact, Reply::Version(version)))
}

/// An abort that nobody asked for: only if nothing came after a moment. What was done is told by the version, and
/// that it was not by nothing.
fn give_up(of: &Of<'_>, version: UnifiedId, before_ms: u64, known: &Known) -> Decided {
    let found = Parts::of(version, known)?;
    let goes_on = last_ms(version, &known.facts) > before_ms;
    if found.aborted || found.finished.is_some() || goes_on {
        return Ok(Decision::Again(Reply::Done));
    }
    let fact = Fact::Aborted { at: of.at(version), time_ms: known.now_ms };
    Ok(of.append(fact, Reply::Version(version)))
}

/// When something last came of an archive of parts: its begin, or a part.
pub(crate) fn last_ms(version: UnifiedId, facts: &[Fact]) -> u64 {
    let of_it = facts.iter().filter(|fact| fact.at().is_some_and(|at| at.version == version));
    let times = of_it.filter_map(|fact| match fact {
        Fact::Started { time_ms, .. } => Some(*time_ms),
        Fact::Final(made) => Some(made.time_ms),
        _ => None,
    });
    times.max().unwrap_or(u64::MAX)
}

/// Unless it became a version before, it never does. A fence may stand in another partition's log, whose primary is bound
/// by it and the next one of this partition is not: then this log says it too, before anybody gives up what they hold.
fn cancel(upload: &Upload, known: &Known) -> Decision {
    if finals(&known.upload).next().is_some() {
        return Decision::Again(Reply::Done);
    }
    if is_cancelled(known) {
        return Decision::Again(Reply::Never);
    }
    let fact = Fact::Cancelled { upload: upload.clone(), time_ms: known.now_ms };
    let entry = ObjectEntry { fact, collection: None, data: None };
    Decision::Append(Box::new(entry), Reply::Never)
}

fn is_cancelled(known: &Known) -> bool {
    known.upload.iter().any(|fact| matches!(fact, Fact::Cancelled { .. }))
}

fn fence(node: &NodeId, boot: u64, known: &Known) -> Decision {
    if boot <= known.fence {
        return Decision::Again(Reply::Done);
    }
    let fact = Fact::WriterStarted { node: node.clone(), boot, time_ms: known.now_ms };
    let entry = ObjectEntry { fact, collection: None, data: None };
    Decision::Append(Box::new(entry), Reply::Done)
}

/// What facts mean for what can be seen.
pub(crate) fn events(facts: &[Fact]) -> Vec<Event> {
    facts.iter().filter_map(Fact::event).collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
