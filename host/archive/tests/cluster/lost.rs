//! Objects when nodes die, sleep, lose files and return.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{
    Adler32, Archive, Body, BodyEnded, Code, Delete, Md5, Name, Next, Put, Refusal, Stored,
    UnifiedId, Upload, Versioning,
};
use bytes::{Bytes, BytesMut};
use hashring::PartitionId;
use segment::archive::{Adopted, Closing, Fact, Opening, Operation, Slice};
use tokio::sync::mpsc;

use crate::objects::{code, data, get, get_of, make, name, put, put_of, soon};
use crate::support::Cluster;
use crate::wait::eventually;

/// A body that a test feeds.
struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async { self.0.recv().await.map(Ok::<Bytes, BodyEnded>) })
    }
}

/// An upload under way.
pub(crate) struct Feeding {
    feed: mpsc::Sender<Bytes>,
    put: tokio::task::JoinSet<Result<Stored, Refusal>>,
}

impl Feeding {
    pub(crate) fn begin(archive: &Archive, name: &Name, size: usize) -> Self {
        Self::begin_put(archive, put_of(name, size))
    }

    pub(crate) fn begin_put(archive: &Archive, put: Put) -> Self {
        let (feed, fed) = mpsc::channel(1);
        let archive = archive.clone();
        let mut putting = tokio::task::JoinSet::new();
        putting.spawn(async move { archive.put(put, &mut Fed(fed)).await });
        Self { feed, put: putting }
    }

    pub(crate) async fn feed(&self, data: &Bytes) {
        for chunk in data.chunks(1 << 20) {
            self.feed.send(Bytes::copy_from_slice(chunk)).await.expect("it is taken");
        }
    }

    /// Feeds a little, if anybody takes it; whether somebody did.
    pub(crate) async fn offer(&self, chunk: &[u8]) -> bool {
        self.feed.send(Bytes::copy_from_slice(chunk)).await.is_ok()
    }

    /// What becomes of it while it is kept open.
    pub(crate) async fn ended(&mut self) -> Result<Stored, Refusal> {
        self.put.join_next().await.expect("it was begun").expect("it does not panic")
    }

    pub(crate) async fn end(mut self) -> Result<Stored, Refusal> {
        let (closed, _) = mpsc::channel(1);
        self.feed = closed;
        self.ended().await
    }
}

/// What a node's own archive gives, whatever the others have.
pub(crate) fn own(archive: &Archive, name: &Name) -> Result<Bytes, String> {
    let reading = archive.engine().read(&name.collection, &name.key, None);
    let mut reading = reading.map_err(|error| error.to_string())?;
    let mut data = BytesMut::new();
    while let Some(bytes) = reading.next_sequence().map_err(|error| error.to_string())? {
        data.extend_from_slice(&bytes);
    }
    Ok(data.freeze())
}

/// Waits until a node has all bytes of a key itself.
pub(crate) async fn has(archive: &Archive, name: &Name, data: &Bytes) {
    eventually("a node to have it", async || match own(archive, name) {
        Ok(found) if found == *data => Ok(()),
        Ok(found) => Err(format!("{} bytes", found.len())),
        Err(why) => Err(why),
    })
    .await;
}

/// The value files of a node's archive.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("archive/spaces.d")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let named = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if named.len() == 8 {
                found.push(path);
            }
        }
    }
    found
}

/// G-S4: a member dies after it took a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_in_an_upload_is_left_out_and_has_it_when_it_returned() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(1, 33 << 20));
    let feeding = Feeding::begin(&first, &key, data.len());
    feeding.feed(&data.slice(..12 << 20)).await;
    cluster.kill(2).await;
    feeding.feed(&data.slice(12 << 20..)).await;
    feeding.end().await.expect("two of three have it");
    for index in [0, 1] {
        assert!(get(cluster.node(index).archive(), &key).await.expect("it is read") == data);
    }
    cluster.restart(2).await;
    cluster.led().await;
    let returned = cluster.node(2).archive();
    assert!(get(returned, &key).await.expect("it is read") == data);
    has(returned, &key, &data).await;
}

/// G-S1: the primary dies before it is asked for the final.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_dies_before_the_final_and_the_next_one_makes_it() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "attachments", Versioning::Unversioned).await;
    let token = "00112233445566778899aabbccddeeff";
    let primary = cluster.primary(token);
    let coordinator = cluster.node((primary + 1) % 3).archive().clone();
    let (key, data) = (name("attachments", &format!("{token}/photo")), data(2, 3 << 20));
    let feeding = Feeding::begin(&coordinator, &key, data.len());
    feeding.feed(&data.slice(..2 << 20)).await;
    cluster.kill(primary).await;
    feeding.feed(&data.slice(2 << 20..)).await;
    let stored = feeding.end().await.expect("the next one is asked");
    let other = cluster.node((primary + 2) % 3).archive();
    assert!(get(other, &key).await.expect("it is read") == data);
    cluster.restart(primary).await;
    cluster.led().await;
    has(cluster.node(primary).archive(), &key, &data).await;
    let found = cluster.node(primary).archive().find(&key, None, soon()).await;
    assert_eq!(found.expect("it is found").version, stored.version);
}

/// G-S3: nothing of an upload is seen whose coordinator died, and nobody keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_dies_leaves_nothing() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(3, 30 << 20));
    let feeding = Feeding::begin(&first, &key, data.len());
    feeding.feed(&data.slice(..25 << 20)).await;
    cluster.kill(0).await;
    drop(feeding);
    let second = cluster.node(1).archive();
    let seen = get(second, &key).await;
    assert_eq!(code(seen), Code::NotFound);
    cluster.restart(0).await;
    cluster.led().await;
    for index in 0..3 {
        let engine = cluster.node(index).archive().engine().clone();
        eventually("nothing to be held", async || match engine.held(10) {
            held if held.is_empty() => Ok(()),
            held => Err(format!("{held:?}")),
        })
        .await;
        assert!(own(cluster.node(index).archive(), &key).is_err());
    }
    // Led does not mean that everybody is connected to who came back: what was not committed may be tried again.
    let archive = cluster.node(0).archive();
    eventually("the same key to be free", async || put(archive, &key, &data).await).await;
}

/// N13: in the original a cancel did not reach every copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n13_an_upload_that_is_given_up_is_given_up_by_every_member() {
    let cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(4, 12 << 20));
    let put = Put { md5: Some(Md5::of(b"other")), ..put_of(&key, data.len()) };
    let refused = first.put(put, &mut archive::Whole(Some(data.clone()))).await;
    assert_eq!(code(refused), Code::Md5Mismatch);
    for index in 0..3 {
        let engine = cluster.node(index).archive().engine().clone();
        assert_eq!(engine.held(10), []);
        let cancelled = || {
            let upload = Upload { node: node(0), boot: 1, count: 1 };
            let facts = engine.facts_of_upload(&upload).map_err(|error| error.to_string())?;
            let is = |fact: &Fact| matches!(fact, Fact::Cancelled { .. });
            if facts.iter().any(is) { Ok(()) } else { Err(format!("{facts:?}")) }
        };
        eventually("it to be given up", async || cancelled()).await;
    }
    assert_eq!(code(get(&first, &key).await), Code::NotFound);
}

pub(crate) fn node(index: usize) -> hashring::NodeId {
    format!("n{}", index + 1).parse().expect("a node's name")
}

/// What two members hold of an upload that nobody has decided.
pub(crate) async fn held(cluster: &Cluster, upload: &Upload, key: &Name, data: &Bytes) {
    for index in [1, 2] {
        let engine = cluster.node(index).archive().engine().clone();
        let opening = Opening {
            upload: upload.clone(),
            collection: key.collection.clone(),
            key: key.key.clone(),
            part: 0,
            segment_number: 0,
        };
        let slice = Slice::of(0, data.clone());
        let closing = Closing {
            version: UnifiedId(0),
            size: data.len() as u64,
            md5: Md5::of(data),
            adler32: Adler32::of(data),
            meta: Vec::new(),
            time_ms: runtime::wall_ms(),
        };
        let (upload, name) = (upload.clone(), key.collection.clone());
        let work = move || {
            let versioning = Versioning::Unversioned;
            let made = Operation::CreateCollection { name, versioning, time_ms: 0 };
            engine.perform(made).expect("it is made");
            engine.perform(Operation::Start { opening: opening.clone(), slice }).expect("begun");
            let hold = Operation::Hold { upload: upload.clone(), opening, closing };
            engine.perform(hold).expect("it is held");
            let facts = engine.facts_of_upload(&upload).expect("they are told");
            assert!(facts.iter().any(|fact| matches!(fact, Fact::Held(_))));
        };
        tokio::task::spawn_blocking(work).await.expect("it does not panic");
    }
}

/// G-S2 and G-S3: what is held outlives restarts until the log says what becomes of it: a cancel, if the
/// coordinator is not at it any more, and a fence, if it has begun another life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_decided_by_evidence_and_not_by_age() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(5, 100_000));
    let cancelled = Upload { node: node(0), boot: 1, count: 1_000_000 };
    held(&cluster, &cancelled, &key, &data).await;
    let decided = async |cluster: &Cluster| {
        for index in [1, 2] {
            let engine = cluster.node(index).archive().engine().clone();
            eventually("it to be decided", async || match engine.held(10) {
                held if held.is_empty() => Ok(()),
                held => Err(format!("{held:?}")),
            })
            .await;
        }
    };
    decided(&cluster).await;
    cluster.kill(0).await;
    let fenced = Upload { count: 1_000_001, ..cancelled };
    held(&cluster, &fenced, &key, &data).await;
    // Nobody can say anything of it while its coordinator is away, whatever its age.
    cluster.kill(1).await;
    cluster.restart(1).await;
    let engine = cluster.node(1).archive().engine().clone();
    assert_eq!(engine.held(10).len(), 1, "it outlived a kill");
    cluster.restart(0).await;
    cluster.led().await;
    decided(&cluster).await;
    assert_eq!(engine.fence(&node(0)).expect("it is told"), 2);
    assert_eq!(code(get(cluster.node(2).archive(), &key).await), Code::NotFound);
}

/// N10, N11 and N15: a node that slept learns what was replaced and deleted, and answers nothing else before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n15_a_node_that_slept_shows_what_is_newest_and_nothing_that_was_deleted() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "kept", Versioning::Versioned).await;
    let [stays, replaced, deleted] = ["stays", "replaced", "deleted"].map(|key| name("kept", key));
    let (old, new) = (data(7, 200_000), data(8, 300_000));
    for key in [&stays, &replaced, &deleted] {
        put(&first, key, &old).await.expect("it is stored");
    }
    cluster.kill(2).await;
    cluster.led().await;
    let meta = vec![("colour".to_owned(), "blue".to_owned())];
    let second = Put { meta: meta.clone(), ..put_of(&replaced, new.len()) };
    let second = first.put(second, &mut archive::Whole(Some(new.clone()))).await;
    let second = second.expect("it is stored").version;
    let all = Delete { name: deleted.clone(), version: None, repeat: None };
    first.delete(all, soon()).await.expect("it is deleted");
    cluster.restart(2).await;
    let slept = cluster.node(2).archive();
    assert!(get(slept, &replaced).await.expect("it is read") == new);
    assert_eq!(code(get(slept, &deleted).await), Code::NotFound);
    let found = slept.find(&replaced, None, soon()).await.expect("it is found");
    assert_eq!((found.version, found.meta), (second, meta));
    // And its own files say the same, soon.
    has(slept, &replaced, &new).await;
    has(slept, &stays, &old).await;
    eventually("the delete to be known", async || match own(slept, &deleted) {
        Err(_gone) => Ok(()),
        Ok(_) => Err("it is still there"),
    })
    .await;
    // The earlier version is there too, with its own number.
    let before = slept.engine().versions(&replaced.collection, &replaced.key);
    assert_eq!(before.expect("they are told").len(), 2);
    let _old = get_of(slept, &replaced, Some(second)).await.expect("it is read");
}

/// N19: times are integers, everywhere the same, also with zero milliseconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n19_a_version_has_one_time_on_all_nodes() {
    let cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let key = name("plain", "k");
    put(cluster.node(0).archive(), &key, &data(9, 10)).await.expect("it is stored");
    let mut times = Vec::new();
    for index in 0..3 {
        let archive = cluster.node(index).archive();
        has(archive, &key, &data(9, 10)).await;
        let own = archive.engine().versions(&key.collection, &key.key).expect("it is told");
        times.push(own[0].time_ms);
        times.push(archive.find(&key, None, soon()).await.expect("it is found").time_ms);
    }
    times.dedup();
    assert_eq!(times.len(), 1, "{times:?}");
    // In text, as the original had it, the milliseconds were left out when they were none.
    let second = 1_700_000_000_000;
    let facts = cluster.node(0).archive().engine().facts(&key.collection, &key.key);
    let made = facts.expect("they are told").into_iter().find_map(|fact| match fact {
        Fact::Final(made) => Some(made),
        _ => None,
    });
    let mut made = made.expect("it is final");
    let zero = name("plain", "zero");
    (made.time_ms, made.at.key, made.upload.count) = (second, zero.key.clone(), 1_000_000);
    for index in 0..3 {
        let engine = cluster.node(index).archive().engine().clone();
        let adopted =
            Adopted { fact: Fact::Final(made.clone()), collection: None, data: Some(data(9, 10)) };
        let adopt = Operation::Adopt { entries: vec![adopted], applied: Vec::new() };
        let adopted = tokio::task::spawn_blocking(move || engine.perform(adopt)).await;
        adopted.expect("it does not panic").expect("it is taken over");
    }
    for index in 0..3 {
        let found = cluster.node(index).archive().find(&zero, None, soon()).await;
        assert_eq!(found.expect("it is found").time_ms, second);
    }
}

/// G7: room is promised before the bytes come; one member without is passed over, and with two of three an upload
/// is refused before anything is read of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_for_which_there_is_no_room_is_refused_before_its_bytes_come() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(10, 12 << 20));
    cluster.stop(2).await;
    cluster.restart_full(2).await;
    cluster.led().await;
    let first = cluster.node(0).archive().clone();
    eventually("it to be stored by the others", async || put(&first, &key, &data).await).await;
    cluster.stop(1).await;
    cluster.restart_full(1).await;
    cluster.led().await;
    eventually("all members to be asked", async || {
        // Nothing is ever fed.
        let Feeding { feed, put: mut putting } = Feeding::begin(&first, &key, data.len());
        let refused = putting.join_next().await.expect("it was begun").expect("it does not panic");
        drop(feed);
        match refused.expect_err("there is no room") {
            Refusal { code: Code::StorageFull, .. } => Ok(()),
            other => Err(other),
        }
    })
    .await;
    // A delete is small, and goes on; so does reading.
    assert!(get(&first, &key).await.expect("it is read") == data);
    let all = Delete { name: key.clone(), version: None, repeat: None };
    first.delete(all, soon()).await.expect("it is deleted");
}

/// G-S16: many uploads at once through all nodes, while messages are sent; none is lost or mixed up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_uploads_at_once_keep_their_bytes_apart() {
    let cluster = Arc::new(Cluster::start(3).await);
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (stored, all_stored) = tokio::sync::watch::channel(false);
    let mut talking = tokio::task::JoinSet::new();
    talking.spawn(talk(Arc::clone(&cluster), all_stored));
    let mut puts = tokio::task::JoinSet::new();
    for number in 0..48_u64 {
        let archive = cluster.node(usize::try_from(number % 3).unwrap_or(0)).archive().clone();
        puts.spawn(async move {
            let size = 100 + usize::try_from(number).unwrap_or(0) * 40_000;
            let (key, data) = (name("plain", &format!("k{number}")), data(number, size));
            put(&archive, &key, &data).await.map(|_stored| (key, data))
        });
    }
    for done in puts.join_all().await {
        let (key, data) = done.expect("it is stored");
        let archive = cluster.node(key.key.as_str().len() % 3).archive();
        assert!(get(archive, &key).await.expect("it is read") == data, "{}", key.key);
    }
    stored.send(true).expect("somebody talks");
    let said = talking.join_next().await.expect("it was begun").expect("it does not panic");
    assert!(said.len() > 48, "{} messages", said.len());
    for (partition, seq, payload) in said {
        for index in 0..3 {
            let log = cluster.node(index).replication();
            eventually("a message to be in every log", async || {
                let page = log.read(partition, seq, 1, 1 << 20).await.unwrap_or_default();
                match page.first() {
                    Some(entry) if (entry.seq, &entry.payload) == (seq, &payload) => Ok(()),
                    other => Err(format!("{partition} {seq}: {other:?}")),
                }
            })
            .await;
        }
    }
}

/// Says something in all partitions in turn, until all is stored and for a while at least; what was said, and where it
/// stands.
async fn talk(
    cluster: Arc<Cluster>,
    all_stored: tokio::sync::watch::Receiver<bool>,
) -> Vec<(PartitionId, u64, Bytes)> {
    let mut said = Vec::new();
    let partitions: Vec<PartitionId> = cluster.node(0).replication().partitions().all().collect();
    for (number, partition) in partitions.iter().cycle().enumerate() {
        if *all_stored.borrow() && said.len() > 100 {
            break;
        }
        // The first byte is one of the chats'.
        let payload = Bytes::from(format!("\u{1}message {number}"));
        let mut leads = (0..3).filter(|index| {
            let view = cluster.node(*index).replication().view(*partition);
            view.leading
        });
        let Some(index) = leads.next() else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(seq) = cluster.node(index).say(*partition, payload.clone()).await {
            said.push((*partition, seq, payload));
        }
    }
    said
}

/// The others' logs do not reach back to where it was: what they hold of objects is given to it with what
/// those logs stand on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_for_longer_than_logs_reach_back_has_every_object() {
    let mut cluster = Cluster::start(3).await;
    let first = cluster.node(0).archive().clone();
    make(&first, "plain", Versioning::Unversioned).await;
    let (gone, early) = (name("plain", "gone"), data(1, 1000));
    put(&first, &gone, &early).await.expect("all three have it");
    has(cluster.node(2).archive(), &gone, &early).await;
    cluster.kill(2).await;
    let objects: Vec<_> =
        (2..14).map(|n| (name("plain", &format!("k{n}")), data(n, 5000))).collect();
    for (key, data) in &objects {
        put(&first, key, data).await.expect("two of three have it");
    }
    let delete = Delete { name: gone.clone(), version: None, repeat: None };
    first.delete(delete, soon()).await.expect("two of three know it");
    for index in [0, 1] {
        assert!(cluster.node(index).trim().await > 0, "openings are let go");
    }
    cluster.restart(2).await;
    cluster.led().await;
    let returned = cluster.node(2).archive().clone();
    for (key, data) in &objects {
        has(&returned, key, data).await;
    }
    eventually("what was deleted to be gone there", async || match own(&returned, &gone) {
        Ok(_) => Err("it is there".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    // It can decide by what it was given.
    cluster.kill(0).await;
    cluster.led().await;
    for (key, data) in &objects {
        assert!(get(&returned, key).await.expect("it is read") == *data);
    }
}
