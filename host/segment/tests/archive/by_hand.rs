//! An archive without threads does the same with the same files, when it is told to.

use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};

use segment::SystemDisk;
use segment::archive::{Archive, Done};

use crate::support::{DAY, config, delete, entire, folder, noise, open};

#[test]
fn an_archive_by_hand_works_when_it_is_told_to_and_not_before() {
    let folder = folder();
    let opened = Archive::open_by_hand(Arc::new(SystemDisk), config(folder.path()), |_failed| {});
    let (archive, _) = opened.unwrap();
    let made = segment::archive::Operation::CreateCollection {
        name: "plain".parse().unwrap(),
        versioning: segment::archive::Versioning::Unversioned,
        time_ms: 1,
    };
    // Whoever waits gives it a turn.
    assert_eq!(archive.perform(made), Ok(Done::Synced));
    let (tell, answers) = channel();
    archive.submit(entire("plain", "k", 10, b"bytes"), move |answer| tell.send(answer).unwrap());
    assert!(archive.waits() && answers.try_recv().is_err());
    archive.turn();
    assert_eq!(answers.try_recv(), Ok(Ok(Done::Synced)));
    assert!(!archive.waits());
    // A compaction waits for the writer too, and more than one file is worth one.
    for version in 20..26 {
        let put = entire("plain", "large", version, &noise(version, 400_000));
        assert_eq!(archive.perform(put), Ok(Done::Synced));
    }
    assert_eq!(archive.perform(delete("plain", "large", 30)), Ok(Done::Synced));
    assert!(archive.compact(DAY).unwrap().files > 0);
    let (tell, answers) = channel();
    archive.submit(entire("plain", "lost", 40, b"lost"), move |answer| tell.send(answer).unwrap());
    archive.abandon();
    // As if it had been killed: nobody is told anything any more.
    assert_eq!(answers.try_recv(), Err(TryRecvError::Disconnected));
    drop(archive);
    let opened = open(folder.path());
    assert_eq!(opened.found.damages, []);
    assert_eq!(opened.get("plain", "k").unwrap(), b"bytes");
    assert!(opened.get("plain", "lost").is_err() && opened.get("plain", "large").is_err());
}
