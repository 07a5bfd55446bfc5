//! What must come to be of objects once everything is well, and what must be so then.

use std::collections::{BTreeMap, BTreeSet};

use archive::{Name, Table, Upload};
use hashring::PartitionId;
use segment::archive::{Archive as Engine, Fact, Final, Held, Told};

use super::book;
use super::clients::{Heard, What};
use super::oracle::OfKey;
use super::vault::{Vault, config};
use super::{clients, partitions};
use crate::agenda::{Time, ms};
use crate::invariants::{Verdict, Violation, must};
use crate::world::World;

/// Whatever clients wait for, and whatever is undecided or owed, ends within so long: a coordinator asks for 30 s,
/// gives a member that says nothing two minutes, and is given five itself.
const END_MAX: Time = ms(400_000);
/// An answer takes no longer.
const ANSWER_MAX: Time = ms(20_000);
const LOOK_EVERY: Time = ms(50);
/// So often something is asked again that may do better in a moment.
const TRIES_MAX: usize = 5;
/// More keys than there are.
const KEYS_MAX: u64 = 10_000;

impl World {
    /// Clients do nothing new.
    pub(crate) fn keepers_rest(&mut self) {
        if let Some(shelf) = &mut self.shelf {
            shelf.keepers.busy = false;
        }
    }

    /// Everybody is answered, everything is decided, nothing is owed. G-I10.
    pub(crate) fn settle_shelf(&mut self) -> Verdict {
        if self.shelf.is_none() {
            return Ok(());
        }
        let until = self.agenda.now() + END_MAX;
        while let Some(open) = self.is_open() {
            let late = self.agenda.now() >= until;
            must(!late, "G-I10", || format!("{open}: {}", self.describe()))?;
            self.run_for(LOOK_EVERY)?;
        }
        Ok(())
    }

    /// What is not at its end yet.
    fn is_open(&self) -> Option<String> {
        let shelf = self.shelf.as_ref()?;
        if let Some((number, asked)) = shelf.book.open.first_key_value() {
            return Some(format!("{number} is not answered: {asked:?}"));
        }
        for (node, life) in self.lives() {
            let Some(vault) = &life.vault else { continue };
            if vault.archive.under_way() != (0, 0) {
                return Some(format!(
                    "n{} is at {:?} uploads",
                    node + 1,
                    vault.archive.under_way()
                ));
            }
            let held = vault.with(|engine| engine.held(64));
            // Who is no member hears what never becomes a version, and from no log what did.
            let hears = |held: &&Held| {
                let key = (held.collection.clone(), held.key.clone());
                let partition = book::partition(partitions(&self.setup), &name_of(&key));
                let record = self.registry.current(partition);
                let mut decided = shelf.oracle.facts(&key).iter().map(|(_, fact)| fact);
                record.names(&self.nodes[node].id, life.store)
                    || !decided.any(|fact| fact.upload() == Some(&held.upload))
            };
            let held: Vec<&Upload> = held.iter().filter(hears).map(|held| &held.upload).collect();
            if !held.is_empty() {
                return Some(format!("n{} holds undecided {held:?}", node + 1));
            }
            for partition in self.partitions() {
                let names =
                    self.registry.current(partition).names(&self.nodes[node].id, life.store);
                let owes = vault.engine.owes(partition.0);
                if names && owes != Some(0) {
                    return Some(format!("n{} owes {owes:?} of {partition:?}", node + 1));
                }
                let known = self.known(vault, partition);
                if names && !known {
                    return Some(format!("n{} does not know all of {partition:?}", node + 1));
                }
            }
        }
        None
    }

    /// Whether an archive has everything that was decided of a partition.
    fn known(&self, vault: &Vault, partition: PartitionId) -> bool {
        let Some(shelf) = &self.shelf else { return true };
        let mut keys = self.keys_of(partition).into_iter();
        keys.all(|key| {
            let facts = vault.with(|engine| engine.facts(&key.0, &key.1)).unwrap_or_default();
            facts.len() >= shelf.oracle.facts(&key).len()
        })
    }

    /// Keys of a partition of which something was decided.
    pub(super) fn keys_of(&self, partition: PartitionId) -> Vec<OfKey> {
        let Some(shelf) = &self.shelf else { return Vec::new() };
        let all = partitions(&self.setup);
        let of = |key: &&OfKey| book::partition(all, &name_of(key)) == partition;
        shelf.oracle.keys().filter(of).cloned().collect()
    }

    /// What must be so of objects when all is well.
    pub(crate) fn check_shelf(&mut self) -> Verdict {
        if self.shelf.is_none() {
            return Ok(());
        }
        for partition in self.partitions() {
            for (node, life) in self.lives() {
                let member =
                    self.registry.current(partition).names(&self.nodes[node].id, life.store);
                if let Some(vault) = life.vault.as_ref().filter(|_| member) {
                    self.check_catalogue(node, vault, partition)?;
                }
            }
        }
        for (node, life) in self.lives() {
            let Some(vault) = &life.vault else { continue };
            let kib = self.setup.objects.as_ref().map_or(0, |objects| objects.config.memory_kib);
            let idle = vault.archive.under_way() == (0, 0);
            let free = vault.archive.memory_kib_left() == kib;
            must(idle && free, "G-I11", || {
                let (under_way, left) =
                    (vault.archive.under_way(), vault.archive.memory_kib_left());
                format!("n{} is at {under_way:?} uploads, {left} of {kib} KiB are free", node + 1)
            })?;
            self.check_index(node, vault)?;
        }
        self.read_all_keys()?;
        match &self.shelf {
            Some(shelf) => shelf.book.check_end(&shelf.oracle),
            None => Ok(()),
        }
    }

    /// G-I7: a member knows what the log decides, and nothing else. G-I1, G-I10: it has all that can be seen.
    fn check_catalogue(&self, node: usize, vault: &Vault, partition: PartitionId) -> Verdict {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        for key in self.keys_of(partition) {
            let found = vault.with(|engine| engine.facts(&key.0, &key.1)).unwrap_or_default();
            let decided = shelf.oracle.facts(&key);
            let same = found.len() == decided.len()
                && decided.iter().all(|(_, fact)| found.contains(fact));
            must(same, "G-I7", || {
                format!("n{} knows of {key:?} {found:?}, decided is {decided:?}", node + 1)
            })?;
            for (version, parts) in shelf.oracle.shown(&key, u64::MAX) {
                must(!shelf.oracle.is_deleted(&key, version.id, u64::MAX), "G-I4", || {
                    format!("{key:?} shows {version:?}, which was deleted")
                })?;
                let lacks = parts.iter().find(|made| !has(vault, made));
                must(lacks.is_none(), "G-I10", || format!("n{} lacks {lacks:?}", node + 1))?;
            }
        }
        Ok(())
    }

    /// G-I8: an index that is made of the files alone says the same, and has the same bytes. Nothing is collected in these
    /// runs: of what was hidden for long, and is, an older copy may stand in a file that is still there.
    fn check_index(&self, node: usize, vault: &Vault) -> Verdict {
        let it = &self.nodes[node];
        let (Some(home), Some(shelf)) = (&it.home, &self.shelf) else { return Ok(()) };
        let copy = shelf.folder.path().join("copy");
        copy_folder(&home.of(it.disk.store), &copy);
        let config = config(&copy, &it.id, it.disk.store);
        let failed = |text: &str| panic!("a copy fails: {text}");
        let opened = Engine::open_by_hand(std::sync::Arc::new(segment::SystemDisk), config, failed);
        let (engine, found) = opened.expect("a copy opens");
        must(found.damages.is_empty(), "G-I8", || format!("n{}: {:?}", node + 1, found.damages))?;
        let (before, after) = (vault.with(catalogue), catalogue(&engine));
        let (had, has) = (vault.with(tables), tables(&engine));
        engine.abandon();
        drop(engine);
        std::fs::remove_dir_all(&copy).expect("it is there");
        must(before == after, "G-I8", || {
            format!("n{} has {before:?}, and of its files alone {after:?}", node + 1)
        })?;
        let differs = |upload: &&String| had.get(*upload) != has.get(*upload);
        let differing = had.keys().chain(has.keys()).find(differs);
        must(differing.is_none(), "G-I8", || {
            let upload = differing.cloned().unwrap_or_default();
            let (before, after) = (had.get(&upload), has.get(&upload));
            format!("n{} has {before:?} of {upload}, and of its files alone {after:?}", node + 1)
        })?;
        Ok(())
    }

    /// G-I2, G-I4: every node tells every key as it is.
    fn read_all_keys(&mut self) -> Verdict {
        let Some(shelf) = &self.shelf else { return Ok(()) };
        let keys: Vec<OfKey> = shelf.oracle.keys().cloned().collect();
        for key in keys {
            for node in 0..self.nodes.len() {
                let name = name_of(&key);
                let heard = self.ask_and_wait(node, What::Get { name })?;
                let shown = self.shelf.as_ref().map(|shelf| shelf.oracle.shown(&key, u64::MAX));
                let there = shown.is_some_and(|shown| !shown.is_empty());
                let good = matches!(heard, Heard::Read(..)) == there;
                must(good, "G-I2", || format!("n{} tells of {key:?}: {heard:?}", node + 1))?;
            }
        }
        for (number, (collection, _)) in clients::COLLECTIONS.iter().enumerate() {
            let node = number % self.nodes.len();
            let name = collection.parse().expect("a name");
            let made =
                self.shelf.as_ref().is_some_and(|it| it.oracle.collections.contains_key(&name));
            let heard = self.ask_and_wait(node, What::List { name })?;
            let good = matches!(heard, Heard::Listed(_)) == made;
            must(good, "G-I2", || format!("n{} lists {collection}: {heard:?}", node + 1))?;
        }
        Ok(())
    }

    /// What becomes of something that is asked when all is well.
    pub(crate) fn ask_and_wait(&mut self, node: usize, what: What) -> Result<Heard, Violation> {
        // Calls between nodes find one busy now and then.
        for _ in 0..TRIES_MAX {
            let heard = self.ask_once(node, what.clone())?;
            if !matches!(&heard, Heard::Refused(refusal) if refusal.is_retryable()) {
                return Ok(heard);
            }
        }
        self.ask_once(node, what)
    }

    fn ask_once(&mut self, node: usize, what: What) -> Result<Heard, Violation> {
        let Some(number) = self.ask_vault(node, what.clone()) else { return Ok(Heard::Lost) };
        let is_told = |world: &Self| {
            world.shelf.as_ref().is_some_and(|shelf| shelf.results.contains_key(&number))
        };
        let in_time = self.run_until(ANSWER_MAX, is_told)?;
        must(in_time, "G-I10", || format!("n{} does not answer {what:?}", node + 1))?;
        let heard = self.shelf.as_mut().and_then(|shelf| shelf.results.remove(&number));
        Ok(heard.unwrap_or(Heard::Lost))
    }
}

fn name_of((collection, key): &OfKey) -> Name {
    Name { collection: collection.clone(), key: key.clone() }
}

/// Whether an archive has all of a segment, as its entry says it is.
pub(super) fn has(vault: &Vault, made: &Final) -> bool {
    vault.with(|engine| {
        let Ok(reading) = engine.part(made.clone()) else { return false };
        let table = reading.table();
        let whole = table
            .iter()
            .fold(Table::EMPTY, |sum, told| sum.with(u64::from(told.size), told.md5, told.adler32));
        let reads =
            table.iter().zip(0..).all(|(told, number)| reading.read(number, 0..told.size).is_ok());
        whole == made.table && reads
    })
}

/// Everything that an archive knows, but for what is only in memory.
fn catalogue(engine: &Engine) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (collection, _) in clients::COLLECTIONS {
        let collection: archive::CollectionName = collection.parse().expect("a name");
        for key in engine.keys(&collection, b"", KEYS_MAX).expect("keys") {
            let facts = engine.facts(&collection, &key).expect("facts");
            let mut said = BTreeSet::new();
            for fact in &facts {
                said.insert(format!("{fact:?}"));
                let Fact::Final(made) = fact else { continue };
                let upload = engine.facts_of_upload(&made.upload).expect("facts");
                said.extend(upload.iter().map(|fact| format!("{fact:?}")));
            }
            all.insert(format!("{collection}/{key}"), said);
        }
    }
    all
}

/// The sequences that it has of each segment.
fn tables(engine: &Engine) -> BTreeMap<String, Vec<Told>> {
    let mut all = BTreeMap::new();
    for (collection, _) in clients::COLLECTIONS {
        let collection: archive::CollectionName = collection.parse().expect("a name");
        for key in engine.keys(&collection, b"", KEYS_MAX).expect("keys") {
            for fact in engine.facts(&collection, &key).expect("facts") {
                let Fact::Final(made) = fact else { continue };
                if let Ok(reading) = engine.part(made.clone()) {
                    all.insert(made.upload.to_string(), reading.table());
                }
            }
        }
    }
    all
}

/// Copies a folder as it is, without the index.
fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        let target = to.join(&name);
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else if !name.to_string_lossy().starts_with("index.sqlite") {
            std::fs::copy(entry.path(), target).expect("a file");
        }
    }
}
