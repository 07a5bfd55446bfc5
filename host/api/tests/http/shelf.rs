//! Keeps objects as the archive would, in memory: remembers what it was asked, refuses when it is told to.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{Objects, Pieces, Telling};
use archive::{
    Adler32, Body, Code, CollectionName, Delete, Found, List, Listing, Md5, Name, Part, Put,
    Refusal, Stored, Table, UnifiedId, Upload, Versioning,
};
use bytes::{Bytes, BytesMut};
use runtime::Instant;
use tokio::sync::watch;

/// The version of everything that is found, and under which everything is stored.
pub(crate) const VERSION: UnifiedId = UnifiedId(9_007_199_254_740_993);
/// Bytes of a piece that is given out.
const PIECE: usize = 1000;

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    Create(CollectionName, Versioning),
    List(List),
    Find(Name, Option<UnifiedId>),
    Read(Range<u64>),
    Put(Put),
    Delete(Delete),
    Start(Name, Option<String>),
    Finish(Name, UnifiedId),
    Abort(Name, UnifiedId),
}

/// Bytes, and what is kept with them.
type Kept = (Bytes, Vec<(String, String)>);

/// Answers as the archive would.
#[derive(Default)]
pub(crate) struct Shelf {
    asked: Mutex<Vec<Asked>>,
    refusals: Mutex<Vec<Refusal>>,
    kept: Mutex<BTreeMap<String, Kept>>,
    /// Bytes that came and bytes that went since the start.
    came: watch::Sender<usize>,
    went: watch::Sender<usize>,
    /// Takes no body any further.
    stuck: AtomicBool,
    /// What is read breaks behind so many bytes.
    breaks: Mutex<Option<usize>>,
    parts: AtomicBool,
    again: AtomicBool,
}

impl Shelf {
    pub(crate) fn refuse_next(&self, code: Code) {
        self.refusals.lock().unwrap().push(Refusal::new(code, "because"));
    }

    /// Takes no more of a body than its first piece from now on.
    pub(crate) fn stand_still(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    pub(crate) fn break_behind(&self, bytes: usize) {
        *self.breaks.lock().unwrap() = Some(bytes);
    }

    /// Everything is of two parts from now on.
    pub(crate) fn be_conjoined(&self) {
        self.parts.store(true, Ordering::SeqCst);
    }

    /// Everything was stored before, from now on.
    pub(crate) fn replay_from_now(&self) {
        self.again.store(true, Ordering::SeqCst);
    }

    pub(crate) fn keep(&self, key: &str, data: &Bytes) {
        self.kept.lock().unwrap().insert(key.to_owned(), (data.clone(), Vec::new()));
    }

    pub(crate) fn kept(&self, key: &str) -> Option<Bytes> {
        self.kept.lock().unwrap().get(key).map(|(data, _)| data.clone())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().expect("something was asked")
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }

    /// Waits until so many bytes of bodies have come.
    pub(crate) async fn has_come(&self, bytes: usize) {
        let mut came = self.came.subscribe();
        came.wait_for(|came| *came >= bytes).await.expect("the shelf is there");
    }

    pub(crate) fn came(&self) -> usize {
        *self.came.borrow()
    }

    pub(crate) fn went(&self) -> usize {
        *self.went.borrow()
    }

    /// Waits until no more bytes have gone for so long.
    pub(crate) async fn stands_still(&self, so_long: Duration) {
        let mut went = self.went.subscribe();
        went.wait_for(|went| *went > 0).await.expect("the shelf is there");
        while runtime::timeout(so_long, went.changed()).await.is_ok() {}
    }

    fn ask(&self, asked: Asked) -> Result<(), Refusal> {
        self.asked.lock().unwrap().push(asked);
        self.refusals.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    fn told<T: Send + 'static>(&self, asked: Asked, answer: T) -> Telling<'_, T> {
        let done = self.ask(asked);
        Box::pin(std::future::ready(done.map(|()| answer)))
    }

    fn look(&self, name: &Name) -> Result<Found, Refusal> {
        let kept = self.kept.lock().unwrap();
        let none = || Refusal::new(Code::NotFound, "there is no such key");
        let (data, meta) = kept.get(name.key.as_str()).ok_or_else(none)?;
        Ok(self.found(name, data, meta))
    }

    fn found(&self, name: &Name, data: &Bytes, meta: &[(String, String)]) -> Found {
        let conjoined = self.parts.load(Ordering::SeqCst);
        let middle = if conjoined { data.len() / 2 } else { data.len() };
        let parts =
            if conjoined { vec![&data[..middle], &data[middle..]] } else { vec![&data[..]] };
        let part = |(number, data): (usize, &[u8])| Part {
            upload: Upload { node: "n1".parse().unwrap(), boot: 1, count: 1 },
            part: u32::try_from(number + usize::from(conjoined)).unwrap(),
            sequences: 1,
            size: data.len() as u64,
            md5: Md5::of(data),
            adler32: Adler32::of(data),
            table: Table::EMPTY,
            holders: Vec::new(),
        };
        Found {
            key: name.key.clone(),
            version: VERSION,
            size: data.len() as u64,
            time_ms: 1_700_000_000_000,
            conjoined,
            meta: meta.to_vec(),
            parts: parts.into_iter().enumerate().map(part).collect(),
            members: Vec::new(),
        }
    }

    async fn take(&self, put: Put, body: &mut dyn Body) -> Result<Stored, Refusal> {
        self.ask(Asked::Put(put.clone()))?;
        let mut data = BytesMut::new();
        while let Some(next) = body.next().await {
            let next = next.map_err(|ended| Refusal::new(Code::SizeMismatch, ended.to_string()))?;
            data.extend_from_slice(&next);
            self.came.send_modify(|came| *came += next.len());
            if self.stuck.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
        }
        if put.md5.is_some_and(|md5| md5 != Md5::of(&data)) {
            return Err(Refusal::new(Code::Md5Mismatch, "other bytes"));
        }
        let data = data.freeze();
        self.kept.lock().unwrap().insert(put.name.key.to_string(), (data.clone(), put.meta));
        Ok(Stored {
            version: put.part.map_or(VERSION, |(version, _)| version),
            size: data.len() as u64,
            md5: Md5::of(&data),
            adler32: Adler32::of(&data),
            again: self.again.load(Ordering::SeqCst),
        })
    }
}

/// Bytes on their way out.
struct Going {
    data: Bytes,
    left: Option<usize>,
    went: watch::Sender<usize>,
}

impl Pieces for Going {
    fn next(&mut self) -> Telling<'_, Option<Bytes>> {
        let piece = self.data.split_to(PIECE.min(self.data.len()));
        if let Some(left) = &mut self.left {
            match left.checked_sub(piece.len()) {
                Some(less) => *left = less,
                None => {
                    let refusal = Refusal::new(Code::Damaged, "no copy verifies");
                    return Box::pin(std::future::ready(Err(refusal)));
                }
            }
        }
        self.went.send_modify(|went| *went += piece.len());
        Box::pin(std::future::ready(Ok(Some(piece).filter(|piece| !piece.is_empty()))))
    }
}

impl Objects for Shelf {
    fn create(
        &self,
        name: CollectionName,
        versioning: Versioning,
        _until: Instant,
    ) -> Telling<'_, bool> {
        self.told(Asked::Create(name, versioning), !self.again.load(Ordering::SeqCst))
    }

    fn list(&self, list: List, _until: Instant) -> Telling<'_, Listing> {
        let collection = list.collection.clone();
        let done = self.ask(Asked::List(list));
        let kept = self.kept.lock().unwrap();
        let entries = kept.iter().map(|(key, (data, meta))| {
            let name = Name { collection: collection.clone(), key: key.parse().unwrap() };
            self.found(&name, data, meta)
        });
        let next = Some(("next".parse().unwrap(), Some(VERSION)));
        let listing = Listing { entries: entries.collect(), truncated: true, next };
        Box::pin(std::future::ready(done.map(|()| listing)))
    }

    fn find(&self, name: Name, version: Option<UnifiedId>, _until: Instant) -> Telling<'_, Found> {
        let done = self.ask(Asked::Find(name.clone(), version)).and_then(|()| self.look(&name));
        Box::pin(std::future::ready(done))
    }

    fn read(
        &self,
        name: &Name,
        _found: Found,
        range: Range<u64>,
    ) -> Result<Box<dyn Pieces>, Refusal> {
        self.ask(Asked::Read(range.clone()))?;
        let data = self.kept(name.key.as_str()).expect("it was found");
        let place = |at: u64| usize::try_from(at).unwrap();
        let data = data.slice(place(range.start)..place(range.end));
        let left = *self.breaks.lock().unwrap();
        Ok(Box::new(Going { data, left, went: self.went.clone() }))
    }

    fn put<'a>(&'a self, put: Put, body: &'a mut dyn Body) -> Telling<'a, Stored> {
        Box::pin(self.take(put, body))
    }

    fn delete(&self, delete: Delete, _until: Instant) -> Telling<'_, UnifiedId> {
        self.told(Asked::Delete(delete), VERSION)
    }

    fn start(&self, name: Name, repeat: Option<String>, _until: Instant) -> Telling<'_, UnifiedId> {
        self.told(Asked::Start(name, repeat), VERSION)
    }

    fn finish(&self, name: Name, version: UnifiedId, _until: Instant) -> Telling<'_, ()> {
        self.told(Asked::Finish(name, version), ())
    }

    fn abort(&self, name: Name, version: UnifiedId, _until: Instant) -> Telling<'_, ()> {
        self.told(Asked::Abort(name, version), ())
    }
}
