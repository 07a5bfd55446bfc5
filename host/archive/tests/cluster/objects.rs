//! Objects on nodes in this process: what is put through one comes out of every other, byte for byte.

use std::time::Duration;

use archive::{
    Archive, Code, Delete, List, Name, Put, Refusal, Stored, UnifiedId, Versioning, Whole,
};
use bytes::{Bytes, BytesMut};
use runtime::Instant;

use crate::support::Cluster;

/// Bytes that no two places share.
pub(crate) fn data(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = BytesMut::with_capacity(size + 8);
    while data.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    data.truncate(size);
    data.freeze()
}

pub(crate) fn soon() -> Instant {
    runtime::now() + Duration::from_secs(30)
}

pub(crate) fn name(collection: &str, key: &str) -> Name {
    Name {
        collection: collection.parse().expect("a collection's name"),
        key: key.parse().expect("a key"),
    }
}

pub(crate) fn put_of(name: &Name, size: usize) -> Put {
    Put {
        name: name.clone(),
        size: size as u64,
        md5: None,
        meta: Vec::new(),
        part: None,
        repeat: None,
    }
}

pub(crate) async fn put(archive: &Archive, name: &Name, data: &Bytes) -> Result<Stored, Refusal> {
    let put = put_of(name, data.len());
    archive.put(put, &mut Whole(Some(data.clone()))).await
}

pub(crate) async fn get(archive: &Archive, name: &Name) -> Result<Bytes, Refusal> {
    get_of(archive, name, None).await
}

pub(crate) async fn get_of(
    archive: &Archive,
    name: &Name,
    version: Option<UnifiedId>,
) -> Result<Bytes, Refusal> {
    let found = archive.find(name, version, soon()).await?;
    if found.size == 0 {
        return Ok(Bytes::new());
    }
    let mut reading = archive.get(name, version, None, soon()).await?;
    let mut data = BytesMut::new();
    while let Some(bytes) = reading.next().await? {
        data.extend_from_slice(&bytes);
    }
    Ok(data.freeze())
}

pub(crate) async fn make(archive: &Archive, name: &str, versioning: Versioning) {
    let name = name.parse().unwrap_or_else(|error| panic!("{error}"));
    let made = archive.create_collection(&name, versioning, soon()).await;
    made.unwrap_or_else(|refusal| panic!("{refusal:?}"));
}

pub(crate) fn code<T: std::fmt::Debug>(done: Result<T, Refusal>) -> Code {
    done.expect_err("it was refused").code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_through_one_node_comes_out_of_every_other_byte_for_byte() {
    let cluster = Cluster::start(3).await;
    let archives = [0, 1, 2].map(|index| cluster.node(index).archive().clone());
    make(&archives[0], "plain", Versioning::Unversioned).await;
    let sizes = [0, 1, 5000, 64 << 10, (64 << 10) + 1, 300_000, (10 << 20) + 17, 25 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        let (name, data) = (name("plain", &format!("k/{number}")), data(number as u64, size));
        let stored = put(&archives[number % 3], &name, &data).await.expect("it is stored");
        assert_eq!(stored.size, size as u64);
        for archive in &archives {
            assert_eq!(get(archive, &name).await.expect("it is read"), data, "{size} bytes");
        }
        let found = archives[0].find(&name, None, soon()).await.expect("it is found");
        assert_eq!(found.etag(), stored.md5.to_string());
        assert_eq!((found.version, found.adler32()), (stored.version, stored.adler32));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_keeps_objects_over_a_restart() {
    let mut cluster = Cluster::start(1).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (small, large) = (name("plain", "small"), name("plain", "large"));
    let (few, many) = (data(1, 1000), data(2, 3 << 20));
    put(cluster.node(0).archive(), &small, &few).await.expect("it is stored");
    put(cluster.node(0).archive(), &large, &many).await.expect("it is stored");
    cluster.kill(0).await;
    cluster.restart(0).await;
    cluster.led().await;
    let archive = cluster.node(0).archive();
    assert_eq!(get(archive, &small).await.expect("it is read"), few);
    assert_eq!(get(archive, &large).await.expect("it is read"), many);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_read_over_sequences_and_parts() {
    let cluster = Cluster::start(3).await;
    let archive = cluster.node(1).archive();
    make(archive, "kept", Versioning::Versioned).await;
    let (name, data) = (name("kept", "ranges"), data(3, 21 << 20));
    put(archive, &name, &data).await.expect("it is stored");
    let sequence = 10 << 20;
    for (from, until) in [
        (0_usize, 1_usize),
        (262_143, 262_145),
        (sequence - 1, sequence + 1),
        (5, 21 << 20),
        ((21 << 20) - 1, usize::MAX),
    ] {
        for index in 0..3 {
            let archive = cluster.node(index).archive();
            let range = Some(from as u64..until as u64);
            let mut reading = archive.get(&name, None, range, soon()).await.expect("it begins");
            let mut read = BytesMut::new();
            while let Some(bytes) = reading.next().await.expect("it is read") {
                read.extend_from_slice(&bytes);
            }
            let wanted = data.slice(from..until.min(data.len()));
            assert!(read.freeze() == wanted, "{from}..{until}");
        }
    }
    let behind = archive.get(&name, None, Some((21 << 20)..u64::MAX), soon()).await;
    assert_eq!(code(behind.map(|_reading| ())), Code::Range);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_deletes_and_repeats() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = [0, 1, 2].map(|index| cluster.node(index).archive());
    make(a, "kept", Versioning::Versioned).await;
    let collection = "kept".parse().expect("a name");
    assert_eq!(b.create_collection(&collection, Versioning::Versioned, soon()).await, Ok(false));
    let other = c.create_collection(&collection, Versioning::Unversioned, soon()).await;
    assert_eq!(code(other), Code::CollectionExists);
    let name = name("kept", "k");
    let (one, two) = (data(1, 100), data(2, 200_000));
    let first = put(a, &name, &one).await.expect("it is stored").version;
    let second = put(b, &name, &two).await.expect("it is stored").version;
    assert!(second > first);
    assert_eq!(get_of(c, &name, Some(first)).await.expect("it is read"), one);
    assert_eq!(get(c, &name).await.expect("it is read"), two);

    // The same key gets the same answer, and other bytes under it none.
    let again = Put { repeat: Some("key".to_owned()), ..put_of(&name, one.len()) };
    let third = a.put(again.clone(), &mut Whole(Some(one.clone()))).await.expect("it is stored");
    let repeat = b.put(again, &mut Whole(Some(one.clone()))).await.expect("it is stored");
    assert_eq!((repeat.version, third.again, repeat.again), (third.version, false, true));
    let other = Put { repeat: Some("key".to_owned()), ..put_of(&name, two.len()) };
    let other = c.put(other, &mut Whole(Some(two.clone()))).await;
    assert_eq!(code(other), Code::IdempotencyConflict);

    let delete = |version| Delete { name: name.clone(), version, repeat: None };
    let deleted = c.delete(delete(Some(second)), soon()).await.expect("it is deleted");
    assert!(deleted > third.version);
    assert_eq!(a.delete(delete(Some(second)), soon()).await, Ok(deleted), "the first answer");
    assert_eq!(code(get_of(b, &name, Some(second)).await), Code::UnknownVersion);
    assert_eq!(code(a.delete(delete(Some(UnifiedId(7))), soon()).await), Code::UnknownVersion);
    b.delete(delete(None), soon()).await.expect("it is deleted");
    for archive in [a, b, c] {
        assert_eq!(code(get(archive, &name).await), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_uploads_are_refused_and_leave_nothing() {
    let cluster = Cluster::start(3).await;
    let archive = cluster.node(0).archive();
    let key = name("plain", "k");
    assert_eq!(code(put(archive, &key, &data(1, 9)).await), Code::UnknownCollection);
    make(archive, "plain", Versioning::Unversioned).await;
    for size in [9, 300_000] {
        let body = data(1, size);
        let wrong = Some(archive::Md5::of(b"other"));
        let put = Put { md5: wrong, ..put_of(&key, size) };
        let refused = archive.put(put, &mut Whole(Some(body.clone()))).await;
        assert_eq!(code(refused), Code::Md5Mismatch);
        for said in [size - 1, size + 1] {
            let refused = archive.put(put_of(&key, said), &mut Whole(Some(body.clone()))).await;
            assert_eq!(code(refused), Code::SizeMismatch);
        }
    }
    let long = Put { meta: vec![("n".to_owned(), "v".repeat(3000))], ..put_of(&key, 0) };
    assert_eq!(code(archive.put(long, &mut Whole(None)).await), Code::InvalidRequest);
    let large = put_of(&key, (16 << 30) + 1);
    assert_eq!(code(archive.put(large, &mut Whole(None)).await), Code::TooLarge);
    let no_token = name("attachments", "k");
    assert_eq!(code(put(archive, &no_token, &data(1, 9)).await), Code::InvalidRequest);
    assert_eq!(code(get(archive, &key).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_parts_is_seen_once_it_is_whole() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = [0, 1, 2].map(|index| cluster.node(index).archive());
    make(a, "kept", Versioning::Versioned).await;
    let name = name("kept", "parts");
    let version = a.start(&name, Some("s".to_owned()), soon()).await.expect("it begins");
    assert_eq!(b.start(&name, Some("s".to_owned()), soon()).await, Ok(version));
    let parts = [(1, 400_000), (2, 800_000), (3, 1_200_000)];
    let parts: Vec<Bytes> = parts.map(|(seed, size)| data(seed, size)).to_vec();
    let part = |number: u32, data: &Bytes| Put {
        part: Some((version, number)),
        ..put_of(&name, data.len())
    };
    assert_eq!(code(b.finish(&name, version, soon()).await), Code::WrongOrder);
    for (number, data) in [(1, &parts[0]), (3, &parts[2])] {
        let put = part(number, data);
        b.put(put, &mut Whole(Some(data.clone()))).await.expect("a part is stored");
    }
    assert_eq!(code(c.finish(&name, version, soon()).await), Code::WrongOrder);
    assert_eq!(code(get(c, &name).await), Code::NotFound);
    let second = part(2, &parts[1]);
    c.put(second, &mut Whole(Some(parts[1].clone()))).await.expect("a part is stored");
    let again = a.put(part(2, &parts[1]), &mut Whole(Some(parts[1].clone()))).await;
    assert!(again.expect("the first answer").again);
    let other = a.put(part(2, &parts[0]), &mut Whole(Some(parts[0].clone()))).await;
    assert_eq!(code(other), Code::AlreadyFinal);
    c.finish(&name, version, soon()).await.expect("it is whole");
    a.finish(&name, version, soon()).await.expect("again");
    let whole = parts.concat();
    for archive in [a, b, c] {
        assert!(get(archive, &name).await.expect("it is read") == whole);
    }
    let found = a.find(&name, Some(version), soon()).await.expect("it is found");
    assert!(found.conjoined && found.etag().ends_with("-3"));
    b.abort(&name, version, soon()).await.expect("it is hidden");
    assert_eq!(code(get(c, &name).await), Code::NotFound);
    let late = a.put(part(4, &parts[0]), &mut Whole(Some(parts[0].clone()))).await;
    assert_eq!(code(late), Code::AlreadyFinal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_is_of_all_partitions_in_the_order_of_bytes() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = [0, 1, 2].map(|index| cluster.node(index).archive());
    make(a, "kept", Versioning::Versioned).await;
    let mut keys: Vec<String> = (0..40).map(|number| format!("k/{number}")).collect();
    keys.push("other".to_owned());
    for key in &keys {
        put(b, &name("kept", key), &data(1, 10)).await.expect("it is stored");
    }
    let gone = Delete { name: name("kept", "k/7"), version: None, repeat: None };
    b.delete(gone, soon()).await.expect("it is deleted");
    let later = put(c, &name("kept", "k/8"), &data(2, 20)).await.expect("it is stored");
    keys.retain(|key| key != "k/7" && key != "other");
    keys.sort();
    let mut list = List {
        collection: "kept".parse().expect("a name"),
        prefix: "k/".to_owned(),
        marker: None,
        limit: 7,
        versions: false,
        version_marker: None,
    };
    let mut found = Vec::new();
    loop {
        let listing = c.list(list.clone(), soon()).await.expect("it is listed");
        assert!(listing.entries.len() <= 7);
        list.marker = listing.entries.last().map(|entry| entry.key.clone());
        found.extend(listing.entries);
        if !listing.truncated {
            break;
        }
    }
    let told: Vec<&str> = found.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(told, keys);
    let eight = found.iter().find(|entry| entry.key.as_str() == "k/8").expect("it is listed");
    assert_eq!((eight.version, eight.size), (later.version, 20));
    (list.marker, list.versions, list.limit) = (None, true, 1000);
    let all = a.list(list, soon()).await.expect("it is listed");
    assert_eq!((all.entries.len(), all.truncated), (keys.len() + 1, false));
}
