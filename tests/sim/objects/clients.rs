//! Clients of the archive: they store, delete, read and list, by the dice, and some go away in the middle.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use archive::{
    Archive, Body, BodyEnded, CollectionName, Delete, Found, List, Listing, Name, Next, Put,
    Refusal, Stored, UnifiedId, Versioning,
};
use bytes::{Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::agenda::Time;

/// A request is given so long.
const WITHIN: Duration = Duration::from_secs(8);
/// Bytes come in pieces of so many.
const PIECE_BYTES: usize = 40_000;
/// Archives of parts that a client remembers.
const BEGUN_MAX: usize = 6;

/// What clients do, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) keepers: usize,
    pub(crate) keys: u32,
    pub(crate) pause: (Time, Time),
    /// The largest object.
    pub(crate) bytes_max: usize,
    /// Some use archives of parts.
    pub(crate) parts: bool,
    /// Some bodies come slowly.
    pub(crate) slow: bool,
}

/// Something that a client asks.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Make { name: CollectionName, versioning: Versioning },
    Put(Putting),
    Delete { name: Name, version: Option<UnifiedId> },
    Start { name: Name },
    Finish { name: Name, version: UnifiedId },
    Abort { name: Name, version: UnifiedId },
    Get { name: Name },
    List { name: CollectionName },
}

/// An object on its way.
#[derive(Clone, Debug)]
pub(crate) struct Putting {
    pub(crate) name: Name,
    pub(crate) size: usize,
    /// Its bytes follow from this, and no other object has them.
    pub(crate) seed: u64,
    pub(crate) part: Option<(UnifiedId, u32)>,
    /// The client goes away after so many bytes.
    pub(crate) cut: Option<usize>,
    /// Between two pieces.
    pub(crate) pause: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Made,
    Stored(Stored),
    Version(UnifiedId),
    Done,
    Read(Box<Found>, Bytes),
    Listed(Listing),
    Refused(Refusal),
    /// Nobody answered.
    Lost,
}

impl What {
    /// Of which key it is.
    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Put(putting) => Some(&putting.name),
            Self::Delete { name, .. }
            | Self::Start { name }
            | Self::Finish { name, .. }
            | Self::Abort { name, .. }
            | Self::Get { name } => Some(name),
            Self::Make { .. } | Self::List { .. } => None,
        }
    }
}

/// Bytes that nobody guesses.
pub(crate) fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect::<Vec<u8>>().into()
}

/// A body whose pieces come one after the other.
struct Coming {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    cut: bool,
}

impl Coming {
    fn of(putting: &Putting) -> Self {
        let data = noise(putting.seed, putting.size);
        let whole = putting.cut.is_none();
        let data = data.slice(..putting.cut.unwrap_or(data.len()).min(data.len()));
        let pieces = data.chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
        Self { pieces, pause: putting.pause, cut: !whole }
    }
}

impl Body for Coming {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            runtime::sleep(self.pause).await;
            match self.pieces.pop_front() {
                Some(piece) => Some(Ok(piece)),
                None if self.cut => Some(Err(BodyEnded("the client is gone".to_owned()))),
                None => None,
            }
        })
    }
}

/// Asks a node's archive.
pub(crate) async fn perform(archive: &Archive, what: What) -> Heard {
    let until = runtime::now() + WITHIN;
    let done = match what {
        What::Make { name, versioning } => {
            archive.create_collection(&name, versioning, until).await.map(|_now| Heard::Made)
        }
        What::Put(putting) => {
            let put = Put {
                name: putting.name.clone(),
                size: putting.size as u64,
                md5: None,
                meta: Vec::new(),
                part: putting.part,
                repeat: None,
            };
            archive.put(put, &mut Coming::of(&putting)).await.map(Heard::Stored)
        }
        What::Delete { name, version } => {
            let delete = Delete { name, version, repeat: None };
            archive.delete(delete, until).await.map(Heard::Version)
        }
        What::Start { name } => archive.start(&name, None, until).await.map(Heard::Version),
        What::Finish { name, version } => {
            archive.finish(&name, version, until).await.map(|()| Heard::Done)
        }
        What::Abort { name, version } => {
            archive.abort(&name, version, until).await.map(|()| Heard::Done)
        }
        What::Get { name } => read(archive, &name).await,
        What::List { name } => {
            let list = List {
                collection: name,
                prefix: String::new(),
                marker: None,
                limit: 1000,
                versions: false,
                version_marker: None,
            };
            archive.list(list, until).await.map(Heard::Listed)
        }
    };
    done.unwrap_or_else(Heard::Refused)
}

async fn read(archive: &Archive, name: &Name) -> Result<Heard, Refusal> {
    let mut reading = archive.get(name, None, None, runtime::now() + WITHIN).await?;
    let mut data = BytesMut::new();
    while let Some(bytes) = reading.next().await? {
        data.extend_from_slice(&bytes);
    }
    Ok(Heard::Read(Box::new(reading.found().clone()), data.freeze()))
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Keepers {
    pub(crate) habits: Habits,
    pub(crate) busy: bool,
    /// Archives of parts that were begun, and the parts that are there.
    begun: VecDeque<(Name, UnifiedId, u32)>,
    /// Versions that were told.
    told: VecDeque<(Name, UnifiedId)>,
    made: BTreeSet<CollectionName>,
    seeds: u64,
}

/// The collections there are.
pub(crate) const COLLECTIONS: [(&str, Versioning); 2] =
    [("plain", Versioning::Unversioned), ("kept", Versioning::Versioned)];

impl Keepers {
    pub(crate) fn new(habits: Habits) -> Self {
        let (begun, told) = (VecDeque::new(), VecDeque::new());
        Self { habits, busy: true, begun, told, made: BTreeSet::new(), seeds: 0 }
    }

    /// What a client does next.
    pub(crate) fn next(&mut self, dice: &mut StdRng) -> What {
        if self.made.len() < COLLECTIONS.len() {
            return make(dice.random_range(0..COLLECTIONS.len()));
        }
        let (collection, _) = COLLECTIONS[dice.random_range(0..COLLECTIONS.len())];
        let name = name(collection, &format!("k{}", dice.random_range(0..self.habits.keys)));
        match dice.random_range(0..100) {
            0..40 => What::Put(self.putting(name, None, dice)),
            40..52 => self.delete(name, dice),
            52..72 if self.habits.parts => self.of_parts(name, dice),
            52..94 => What::Get { name },
            _ => What::List { name: name.collection },
        }
    }

    fn delete(&self, name: Name, dice: &mut StdRng) -> What {
        let one = dice.random_bool(0.4) && !self.told.is_empty();
        if !one {
            return What::Delete { name, version: None };
        }
        let (name, version) = self.told[dice.random_range(0..self.told.len())].clone();
        What::Delete { name, version: Some(version) }
    }

    fn of_parts(&mut self, name: Name, dice: &mut StdRng) -> What {
        if self.begun.is_empty() || dice.random_bool(0.25) {
            return What::Start { name };
        }
        let at = dice.random_range(0..self.begun.len());
        let (name, version, parts) = self.begun[at].clone();
        match dice.random_range(0..10) {
            0..6 => {
                self.begun[at].2 = parts + 1;
                // Some parts come again, with other bytes.
                let part = if dice.random_bool(0.1) { parts.max(1) } else { parts + 1 };
                What::Put(self.putting(name, Some((version, part)), dice))
            }
            6..9 => What::Finish { name, version },
            _ => What::Abort { name, version },
        }
    }

    pub(crate) fn putting(
        &mut self,
        name: Name,
        part: Option<(UnifiedId, u32)>,
        dice: &mut StdRng,
    ) -> Putting {
        self.seeds += 1;
        let size = match dice.random_range(0..10) {
            0..4 => dice.random_range(0..3_000),
            _ => dice.random_range(66_000..self.habits.bytes_max),
        };
        let cut = dice.random_bool(0.1).then(|| dice.random_range(0..=size));
        let slow = self.habits.slow && dice.random_bool(0.3);
        let pause = if slow { dice.random_range(1..400) } else { 0 };
        let pause = Duration::from_millis(pause);
        Putting { name, size, seed: self.seeds, part, cut: cut.filter(|cut| *cut < size), pause }
    }

    /// A client was told.
    pub(crate) fn heard(&mut self, what: &What, heard: &Heard) {
        match (what, heard) {
            (What::Make { name, .. }, Heard::Made) => drop(self.made.insert(name.clone())),
            (What::Start { name }, Heard::Version(version)) => {
                self.begun.push_back((name.clone(), *version, 0));
                if self.begun.len() > BEGUN_MAX {
                    self.begun.pop_front();
                }
            }
            (What::Put(putting), Heard::Stored(stored)) => {
                self.told.push_back((putting.name.clone(), stored.version));
                if self.told.len() > BEGUN_MAX {
                    self.told.pop_front();
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn make(number: usize) -> What {
    let (name, versioning) = COLLECTIONS[number];
    What::Make { name: name.parse().expect("a name"), versioning }
}

pub(crate) fn name(collection: &str, key: &str) -> Name {
    Name { collection: collection.parse().expect("a name"), key: key.parse().expect("a key") }
}
