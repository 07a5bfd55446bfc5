//! What a collection shows: one question to each node, about all partitions that it leads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashring::{NodeId, PartitionId};
use replication::core::Role;
use runtime::Instant;
use segment::archive::{Key, ReadError, Versioning, visible};

use crate::decide::events;
use crate::leading::{Interrupt, described, left, stopping, unreadable};
use crate::question::{Answer, Question, Reply};
use crate::reign::Reign;
use crate::request::Name;
use crate::shared::{Shared, misplaced};
use crate::{Code, Found, List, Listing, Refusal, place};

/// Entries of one answer at most.
const LIMIT_MAX: u32 = 1000;
/// Bytes of one node's answer, about: it must fit what crosses between nodes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Keys looked at in one go.
const KEYS_MAX: u64 = 256;

impl Shared {
    pub(crate) async fn list(
        self: &Arc<Self>,
        list: List,
        until: Instant,
    ) -> Result<Listing, Refusal> {
        if list.limit == 0 || list.limit > LIMIT_MAX {
            let detail = format!("limit is 1 to {LIMIT_MAX}");
            return Err(Refusal::new(Code::InvalidRequest, detail));
        }
        if list.version_marker.is_some() && (list.marker.is_none() || !list.versions) {
            let detail = "a version marker needs a marker, and versions";
            return Err(Refusal::new(Code::InvalidRequest, detail));
        }
        self.versioned(&list.collection, until).await?;
        let mut told = Vec::new();
        let mut covered = BTreeSet::new();
        for node in self.leaders()? {
            let (listing, of) = self.list_of(&node, &list, until).await?;
            covered.extend(of);
            told.push(listing);
        }
        let all: BTreeSet<PartitionId> = self.replication.partitions().all().collect();
        if covered != all {
            let detail = format!("{} partitions could not be asked", all.len() - covered.len());
            return Err(Refusal::new(Code::NotReady, detail));
        }
        Ok(merge(told, usize::try_from(list.limit).unwrap_or(1)))
    }

    /// Who leads partitions.
    fn leaders(&self) -> Result<BTreeSet<NodeId>, Refusal> {
        let mut nodes = BTreeSet::new();
        for partition in self.replication.partitions().all() {
            let view = self.replication.view(partition);
            let leader = view.primary.clone().filter(|_| view.open);
            nodes.insert(leader.ok_or_else(|| {
                Refusal::new(Code::NotReady, format!("nobody leads partition {partition}"))
            })?);
        }
        Ok(nodes)
    }

    async fn list_of(
        &self,
        node: &NodeId,
        list: &List,
        until: Instant,
    ) -> Result<(Listing, Vec<PartitionId>), Refusal> {
        let reply = if *node == self.node {
            self.list_here(list.clone(), until).await?
        } else {
            let question = Question::List(list.clone());
            let away = || Refusal::new(Code::NotReady, format!("node {node} does not answer"));
            match self.question(node, &question, left(until)).await {
                Ok(Answer::Done(done)) => done?,
                Ok(Answer::Elsewhere(_)) | Err(_) => return Err(away()),
            }
        };
        match reply {
            Reply::Listed(listing, of) => Ok((listing, of)),
            _ => Err(misplaced()),
        }
    }

    /// What the partitions show that this node leads.
    pub(crate) async fn list_here(&self, list: List, until: Instant) -> Result<Reply, Refusal> {
        let mut led = BTreeMap::new();
        for partition in self.replication.partitions().all() {
            let view = self.replication.view(partition);
            let leads = view.role == Role::Primary && view.leading;
            if let Some(reign) = leads.then(|| self.reign(partition, view.epoch)).flatten() {
                led.insert(partition, reign);
            }
        }
        for reign in led.values() {
            self.is_settled(reign, until).await?;
        }
        let of: BTreeSet<PartitionId> = led.keys().copied().collect();
        let (engine, partitions) = (self.engine.clone(), self.replication.partitions());
        let mine = of.clone();
        let look = move || {
            let is_mine = |name: &Name| {
                place::of_name(partitions, name).is_ok_and(|partition| mine.contains(&partition))
            };
            look(&engine, &list, is_mine)
        };
        let looked = runtime::blocking(look).await.ok_or_else(stopping)?;
        let listing = looked.map_err(|error| unreadable(&error))?;
        // What was led when it was looked at must have been led by nobody else.
        led.retain(|_, reign| !reign.closed.is_stopped());
        Ok(Reply::Listed(listing, led.into_keys().collect()))
    }

    /// Waits until everything that is committed can be seen.
    async fn is_settled(&self, reign: &Reign, until: Instant) -> Result<(), Refusal> {
        let first = reign.first_pending.load(std::sync::atomic::Ordering::SeqCst);
        let committed = reign.committed.load(std::sync::atomic::Ordering::SeqCst);
        let wanted = if first <= committed { committed } else { reign.opened };
        let settled = runtime::timeout(left(until), reign.until(wanted)).await;
        let late = || {
            let detail = format!("partition {} is not as far yet", reign.partition);
            Refusal::new(Code::NotReady, detail)
        };
        match settled {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(late()),
        }
    }
}

impl From<Interrupt> for Refusal {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Refused(refusal) => refusal,
            Interrupt::Moved { .. } => Self::new(Code::NotReady, "another node leads by now"),
        }
    }
}

fn look(
    engine: &segment::archive::Archive,
    list: &List,
    is_mine: impl Fn(&Name) -> bool,
) -> Result<Listing, ReadError> {
    let mut listing = Listing::default();
    let Some(versioning) = engine.versioning(&list.collection) else { return Ok(listing) };
    let limit = usize::try_from(list.limit).unwrap_or(1);
    let mut bytes = 0;
    let mut from = first(list);
    loop {
        let keys = engine.keys(&list.collection, &from, KEYS_MAX)?;
        let Some(last) = keys.last() else { return Ok(listing) };
        from = behind(last);
        for key in keys {
            if !key.as_str().starts_with(&list.prefix) {
                if key.as_str() > list.prefix.as_str() {
                    return Ok(listing);
                }
                continue;
            }
            let name = Name { collection: list.collection.clone(), key };
            if !is_mine(&name) {
                continue;
            }
            for found in shown(engine, list, versioning, &name)? {
                if listing.entries.len() >= limit || bytes >= ANSWER_BYTES_MAX {
                    listing.truncated = true;
                    return Ok(listing);
                }
                bytes += weight(&found);
                listing.entries.push(found);
            }
        }
    }
}

/// The first key that may be told, as bytes.
fn first(list: &List) -> Vec<u8> {
    let from = match &list.marker {
        None => Vec::new(),
        Some(marker) if list.version_marker.is_some() => marker.as_str().as_bytes().to_vec(),
        Some(marker) => behind(marker),
    };
    from.max(list.prefix.as_bytes().to_vec())
}

/// Right behind a key comes the key with a zero behind it.
fn behind(key: &Key) -> Vec<u8> {
    [key.as_str().as_bytes(), &[0]].concat()
}

fn shown(
    engine: &segment::archive::Archive,
    list: &List,
    versioning: Versioning,
    name: &Name,
) -> Result<Vec<Found>, ReadError> {
    let facts = engine.facts(&name.collection, &name.key)?;
    let mut seen = visible(versioning, &events(&facts));
    if !list.versions {
        seen = seen.pop().into_iter().collect();
    }
    if let (Some(marker), Some(after)) = (&list.marker, list.version_marker)
        && *marker == name.key
    {
        seen.retain(|found| found.id > after);
    }
    let told = seen.iter().map(|version| {
        let mut found = described(name, &facts, version, Vec::new());
        for part in &mut found.parts {
            part.holders.clear();
        }
        found
    });
    Ok(told.collect())
}

fn weight(found: &Found) -> usize {
    let meta: usize = found.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
    found.key.as_str().len() + meta + 64 + 128 * found.parts.len()
}

/// Puts answers together, in order. Behind the last entry of an answer that was cut, nothing is known.
fn merge(told: Vec<Listing>, limit: usize) -> Listing {
    let place = |found: &Found| (found.key.as_str().as_bytes().to_vec(), found.version);
    let cut = told
        .iter()
        .filter(|listing| listing.truncated)
        .filter_map(|listing| listing.entries.last().map(place))
        .min();
    let mut truncated = told.iter().any(|listing| listing.truncated);
    let mut entries: Vec<Found> = told.into_iter().flat_map(|listing| listing.entries).collect();
    entries.sort_by_key(place);
    if let Some(cut) = cut {
        entries.retain(|found| place(found) <= cut);
    }
    if entries.len() > limit {
        entries.truncate(limit);
        truncated = true;
    }
    Listing { entries, truncated }
}

#[cfg(test)]
mod tests {
    use segment::archive::UnifiedId;

    use super::*;

    fn found(key: &str, version: u64) -> Found {
        Found {
            key: key.parse().unwrap(),
            version: UnifiedId(version),
            size: 0,
            time_ms: 0,
            conjoined: false,
            meta: Vec::new(),
            parts: Vec::new(),
            members: Vec::new(),
        }
    }

    fn listing(keys: &[&str], truncated: bool) -> Listing {
        Listing { entries: keys.iter().map(|key| found(key, 1)).collect(), truncated }
    }

    fn keys(listing: &Listing) -> Vec<&str> {
        listing.entries.iter().map(|found| found.key.as_str()).collect()
    }

    #[test]
    fn answers_are_put_together_in_order_and_nothing_behind_a_cut_is_told() {
        let all = merge(vec![listing(&["b", "d"], false), listing(&["a", "c"], false)], 9);
        assert_eq!((keys(&all), all.truncated), (vec!["a", "b", "c", "d"], false));
        let cut = merge(vec![listing(&["a", "b"], true), listing(&["c", "d"], false)], 9);
        assert_eq!((keys(&cut), cut.truncated), (vec!["a", "b"], true));
        let limited = merge(vec![listing(&["a", "b"], false), listing(&["c"], false)], 2);
        assert_eq!((keys(&limited), limited.truncated), (vec!["a", "b"], true));
    }

    #[test]
    fn a_listing_begins_behind_its_marker() {
        let mut list = List {
            collection: "c".parse().unwrap(),
            prefix: "p".to_owned(),
            marker: None,
            limit: 1,
            versions: true,
            version_marker: None,
        };
        assert_eq!(first(&list), b"p");
        list.marker = Some("pa".parse().unwrap());
        assert_eq!(first(&list), b"pa\0");
        list.version_marker = Some(UnifiedId(1));
        assert_eq!(first(&list), b"pa");
    }
}
