//! What a collection shows: one question to each node, about all partitions that it leads.
//!
//! Whoever answers looks at so many keys and no more, of whomever they are and whether they show anything; then it
//! says up to where it looked. So a question costs a bounded time also where nearly everything is hidden.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashring::{NodeId, PartitionId};
use replication::core::Role;
use runtime::Instant;
use segment::archive::{Key, ReadError, UnifiedId, Versioning, visible};

use crate::decide::events;
use crate::gather::{Some1, gather};
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
        Ok(merge(&list, told))
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
        let (mine, looked_max) = (of.clone(), self.config.looked_max);
        let look = move || {
            let is_mine = |name: &Name| {
                place::of_name(partitions, name).is_ok_and(|partition| mine.contains(&partition))
            };
            look(&engine, &list, is_mine, looked_max)
        };
        let looked = runtime::blocking(look).await.ok_or_else(stopping)?;
        let listing = looked.map_err(|error| unreadable(&error))?;
        // What was led when it was looked at must have been led by nobody else, or others may have stored more.
        let still = self.confirmed(&led, until).await;
        led.retain(|partition, _| still.contains(partition));
        Ok(Reply::Listed(listing, led.into_keys().collect()))
    }

    /// What a partition that this node leads shows, once everything that is committed can be seen.
    pub(crate) async fn look_here(
        &self,
        reign: &Reign,
        list: List,
        until: Instant,
    ) -> Result<Listing, Refusal> {
        self.is_settled(reign, until).await?;
        let (engine, looked_max) = (self.engine.clone(), self.config.looked_max);
        let look = move || look(&engine, &list, |_any| true, looked_max);
        let looked = runtime::blocking(look).await.ok_or_else(stopping)?;
        looked.map_err(|error| unreadable(&error))
    }

    /// Which of these this node leads, as of now.
    async fn confirmed(
        &self,
        led: &BTreeMap<PartitionId, Arc<Reign>>,
        until: Instant,
    ) -> BTreeSet<PartitionId> {
        let asking: Vec<Some1<'_, bool>> = led
            .values()
            .map(|reign| {
                let confirmed = self.confirm(reign, until);
                Box::pin(async move { confirmed.await.is_ok() }) as Some1<'_, _>
            })
            .collect();
        let (all, longest) = (asking.len(), left(until));
        let answers = gather(asking, all, |still| *still, longest, longest).await;
        let still = led.keys().zip(answers).filter(|(_, still)| *still == Some(true));
        still.map(|(partition, _)| *partition).collect()
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
    looked_max: usize,
) -> Result<Listing, ReadError> {
    let mut listing = Listing::default();
    let Some(versioning) = engine.versioning(&list.collection) else { return Ok(listing) };
    let limit = usize::try_from(list.limit).unwrap_or(1);
    let (mut bytes, mut looked) = (0, 0);
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
            looked += 1;
            let name = Name { collection: list.collection.clone(), key };
            if is_mine(&name) {
                for found in shown(engine, list, versioning, &name)? {
                    if listing.entries.len() >= limit || bytes >= ANSWER_BYTES_MAX {
                        let next = listing.entries.last().map(|found| behind_entry(list, found));
                        (listing.truncated, listing.next) = (true, next);
                        return Ok(listing);
                    }
                    bytes += weight(&found);
                    listing.entries.push(found);
                }
            }
            if looked >= looked_max {
                (listing.truncated, listing.next) = (true, Some((name.key, None)));
                return Ok(listing);
            }
        }
    }
}

/// Where to go on behind an entry.
fn behind_entry(list: &List, found: &Found) -> (Key, Option<UnifiedId>) {
    (found.key.clone(), list.versions.then_some(found.version))
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

/// Puts answers together, in order. Behind where an answer was cut, nothing is known.
fn merge(list: &List, told: Vec<Listing>) -> Listing {
    let limit = usize::try_from(list.limit).unwrap_or(1);
    let cut = told
        .iter()
        .filter(|listing| listing.truncated)
        .map(|listing| listing.next.clone())
        // One that does not say where says nothing that could be gone on behind.
        .map(|next| next.map(|(key, version)| (place(&key, version), (key, version))))
        .min();
    let mut next = cut.clone().flatten().map(|(_, next)| next);
    let mut truncated = cut.is_some();
    let mut entries: Vec<Found> = told.into_iter().flat_map(|listing| listing.entries).collect();
    entries.sort_by_key(|found| place(&found.key, Some(found.version)));
    if let Some(cut) = cut {
        let cut = cut.map(|(cut, _)| cut).unwrap_or_default();
        entries.retain(|found| place(&found.key, Some(found.version)) <= cut);
    }
    if entries.len() > limit {
        entries.truncate(limit);
        truncated = true;
        next = entries.last().map(|found| behind_entry(list, found));
    }
    Listing { entries, truncated, next }
}

/// What places are sorted by. Without a version, everything of the key is before it.
fn place(key: &Key, version: Option<UnifiedId>) -> (Vec<u8>, UnifiedId) {
    (key.as_str().as_bytes().to_vec(), version.unwrap_or(UnifiedId(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use segment::Reserve;
    use segment::archive::{Archive as Engine, ArchiveConfig, At, Operation, SpaceConfig};

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

    fn all(limit: u32) -> List {
        List {
            collection: "c".parse().unwrap(),
            prefix: String::new(),
            marker: None,
            limit,
            versions: false,
            version_marker: None,
        }
    }

    fn listing(keys: &[&str], cut: Option<&str>) -> Listing {
        let entries = keys.iter().map(|key| found(key, 1)).collect();
        let next = cut.map(|key| (key.parse().unwrap(), None));
        Listing { entries, truncated: next.is_some(), next }
    }

    fn keys(listing: &Listing) -> Vec<&str> {
        listing.entries.iter().map(|found| found.key.as_str()).collect()
    }

    fn next(listing: &Listing) -> Option<&str> {
        assert_eq!(listing.truncated, listing.next.is_some());
        listing.next.as_ref().map(|(key, _)| key.as_str())
    }

    #[test]
    fn answers_are_put_together_in_order_and_nothing_behind_a_cut_is_told() {
        let merge = |told: [Listing; 2], limit| merge(&all(limit), told.to_vec());
        let both = merge([listing(&["b", "d"], None), listing(&["a", "c"], None)], 9);
        assert_eq!((keys(&both), next(&both)), (vec!["a", "b", "c", "d"], None));
        let cut = merge([listing(&["a", "b"], Some("b")), listing(&["c", "d"], None)], 9);
        assert_eq!((keys(&cut), next(&cut)), (vec!["a", "b"], Some("b")));
        let limited = merge([listing(&["a", "b"], None), listing(&["c"], None)], 2);
        assert_eq!((keys(&limited), next(&limited)), (vec!["a", "b"], Some("b")));
        // One looked far and found nothing, the other not so far.
        let further = merge([listing(&[], Some("m")), listing(&["a", "k", "p"], None)], 9);
        assert_eq!((keys(&further), next(&further)), (vec!["a", "k"], Some("m")));
        let nothing = merge([listing(&[], Some("m")), listing(&[], Some("h"))], 9);
        assert_eq!((keys(&nothing), next(&nothing)), (vec![], Some("h")));
    }

    /// What is hidden, and what others lead, costs time too, and never without an end.
    #[test]
    fn an_answer_looks_at_so_many_keys_and_says_how_far_it_came() {
        let folder = tempfile::tempdir().unwrap();
        let config = ArchiveConfig {
            home: folder.path().to_owned(),
            node: "n1".parse().unwrap(),
            store: 1,
            spaces: vec![SpaceConfig { id: 1, root: folder.path().join("spaces.d"), takes: true }],
            reserve: Reserve::Bytes(0),
            value_file_bytes_max: 1 << 20,
            idle_max: Duration::from_secs(1800),
            hidden_for: Duration::from_secs(3600),
            grace: Duration::from_secs(864_000),
            keeping: None,
        };
        let engine = Engine::open(config, |_text| {}).unwrap().0;
        let collection: segment::archive::CollectionName = "c".parse().unwrap();
        let versioning = Versioning::Versioned;
        let made = Operation::CreateCollection { name: collection.clone(), versioning, time_ms: 1 };
        engine.perform(made).unwrap();
        for number in 10..50_u64 {
            let key = format!("k{number}").parse().unwrap();
            let at = At { collection: collection.clone(), key, version: UnifiedId(number) };
            engine.perform(Operation::Destroy { at, target: None, time_ms: 1 }).unwrap();
        }
        let mut list = all(9);
        // Half of the keys are others'.
        let mine = |name: &Name| name.key.as_str().ends_with(['0', '2', '4', '6', '8']);
        let mut asked = 0;
        loop {
            let looked = look(&engine, &list, mine, 15).unwrap();
            assert_eq!(keys(&looked), [] as [&str; 0]);
            asked += 1;
            let Some((key, None)) = looked.next else { break };
            list.marker = Some(key);
        }
        assert_eq!((asked, list.marker.unwrap().as_str()), (3, "k39"));
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
