//! Kills at every step, disks that fail, disks that are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use segment::archive::{ArchiveConfig, Done, Operation, ReadError, Refused, Slice};
use segment::{Disk, Reserve};

use crate::disks::{Camera, Faulty, SmallDisk};
use crate::skip;
use crate::support::{
    DAY, Opened, PATIENCE, closing, config, delete, entire, everything, folder, noise, open,
    open_on, open_with_collections, opening, try_open, upload, values,
};

fn on(disk: &Arc<Faulty>, folder: &std::path::Path) -> Opened {
    let opened = open_on(Arc::clone(disk) as Arc<dyn Disk>, config(folder)).unwrap();
    opened.collections();
    opened
}

/// Opens every picture, with its index and without, and checks each. `seen` is what may be seen.
fn check_pictures(camera: &Camera, seen: impl Fn(&Opened, &str)) {
    let pictures = std::mem::take(&mut *camera.pictures.lock().unwrap());
    assert!(pictures.len() > 5, "{} pictures", pictures.len());
    for (what, picture) in pictures {
        for rebuilt in [false, true] {
            if rebuilt {
                std::fs::remove_file(picture.path().join("home/index.sqlite")).unwrap();
            }
            let opened = open(picture.path());
            let what = format!("killed before {what}, index rebuilt: {rebuilt}");
            assert_eq!(opened.found.damages, [], "{what}");
            seen(&opened, &what);
            opened.archive.abandon();
        }
    }
}

#[test]
fn killed_at_any_step_of_an_upload_it_is_there_whole_or_not_at_all() {
    let folder = folder();
    drop(open_with_collections(folder.path()));
    let camera = Arc::new(Camera::of(folder.path()));
    let opened = open_on(Arc::clone(&camera) as Arc<dyn Disk>, config(folder.path())).unwrap();
    opened.done(entire("plain", "before", 10, b"before"));
    camera.pictures.lock().unwrap().clear();
    let data = opened.put_many("plain", "k", 20, &[300_000, 300_000, 300_000, 300_000, 3]);
    let answered = camera.pictures.lock().unwrap().len();
    opened.done(delete("plain", "before", 30));
    opened.archive.close();
    let number = std::cell::Cell::new(0);
    check_pictures(&camera, |opened, what| {
        let (at, of) = (number.get() / 2, answered);
        number.set(number.get() + 1);
        match opened.get("plain", "k") {
            Ok(found) => assert!(found == data, "{what}"),
            Err(ReadError::NotFound) => assert!(at < of, "it was answered: {what}"),
            Err(error) => panic!("{error}: {what}"),
        }
        if at < of {
            assert_eq!(opened.get("plain", "before").unwrap(), b"before", "{what}");
        }
    });
}

#[test]
fn killed_at_any_step_of_a_compaction_nothing_changes() {
    let folder = folder();
    let opened = open_with_collections(folder.path());
    opened.done(entire("plain", "stays", 10, &noise(1, 400_000)));
    opened.done(entire("plain", "goes", 11, &noise(2, 500_000)));
    opened.done(entire("plain", "shown again if a floor is missing", 12, b"old"));
    opened.done(entire("kept", "both", 13, b"one"));
    // Another file, and in it what hides.
    drop(opened);
    let opened = open(folder.path());
    opened.done(entire("plain", "shown again if a floor is missing", 20, &noise(3, 500_000)));
    opened.done(crate::support::delete_version(
        "plain",
        "shown again if a floor is missing",
        21,
        20,
    ));
    opened.done(delete("plain", "goes", 22));
    opened.done(entire("kept", "both", 23, b"two"));
    drop(opened);
    let camera = Arc::new(Camera::of(folder.path()));
    let opened = open_on(Arc::clone(&camera) as Arc<dyn Disk>, config(folder.path())).unwrap();
    let shown = |opened: &Opened| -> Vec<String> {
        everything(opened).into_iter().filter(|line| !line.contains("Usage")).collect()
    };
    let before = shown(&opened);
    camera.pictures.lock().unwrap().clear();
    let done = opened.archive.compact(DAY).unwrap();
    assert!(done.files == 2 && done.segments == 3, "{done:?}");
    assert_eq!(shown(&opened), before);
    drop(opened);
    check_pictures(&camera, |opened, what| {
        assert_eq!(shown(opened), before, "{what}");
        // And it is done again, to the same end.
        opened.archive.compact(DAY).unwrap();
        assert_eq!(shown(opened), before, "{what}, compacted again");
    });
}

/// A file that was compacted could not be removed, and no pass tried again. The index knew nothing of what was in it: so
/// the tombstone went after its grace, and the next start found the file and showed what had been deleted.
#[test]
fn what_hides_stays_while_a_compacted_file_cannot_be_removed() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = on(&disk, folder.path());
    opened.done(delete("plain", "k", 20));
    opened.archive.close();
    drop(opened);
    let opened = on(&disk, folder.path());
    opened.done(entire("plain", "k", 10, b"late"));
    drop(opened);
    let opened = on(&disk, folder.path());
    *disk.stays.lock().unwrap() = Some("00000002".to_owned());
    for _pass in 0..2 {
        let stuck = opened.archive.compact(11 * DAY);
        assert!(stuck.is_err(), "{stuck:?}");
    }
    assert!(!values(folder.path(), 1).exists(), "what can be removed is");
    *disk.stays.lock().unwrap() = None;
    for _pass in 0..2 {
        opened.archive.compact(22 * DAY).unwrap();
    }
    assert!(!values(folder.path(), 2).exists());
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.versions("plain", "k"), [] as [u64; 0]);
}

enum Fault {
    Sync,
    Write,
}

impl Fault {
    fn of<'a>(&self, disk: &'a Faulty) -> &'a AtomicBool {
        match self {
            Self::Sync => &disk.sync_fails,
            Self::Write => &disk.write_fails,
        }
    }
}

/// N7: the original ignored a failed sync.
#[test]
fn n7_after_a_failed_sync_nothing_is_answered_as_done_or_taken() {
    for fault in [Fault::Sync, Fault::Write] {
        let (folder, disk) = (folder(), Arc::new(Faulty::default()));
        let opened = on(&disk, folder.path());
        opened.done(entire("plain", "before", 10, b"before"));
        fault.of(&disk).store(true, Ordering::SeqCst);
        let stopped = opened.perform(entire("plain", "k", 20, b"lost"));
        let Err(Refused::Stopped(why)) = stopped else { panic!("{stopped:?}") };
        assert_eq!(opened.failures.recv_timeout(PATIENCE).unwrap(), why);
        // Healed or not: nobody knows what is on the disk.
        fault.of(&disk).store(false, Ordering::SeqCst);
        let stopped = opened.perform(entire("plain", "k", 30, b"more"));
        assert!(matches!(stopped, Err(Refused::Stopped(_))), "{stopped:?}");
        assert_eq!(opened.get("plain", "before").unwrap(), b"before");
        assert_eq!(opened.archive.close().lost, 1);
        drop(opened);
        let opened = open(folder.path());
        assert_eq!(opened.found.damages, []);
        assert_eq!(opened.get("plain", "before").unwrap(), b"before");
    }
}

#[test]
fn many_finals_share_one_sync() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = on(&disk, folder.path());
    disk.shut();
    let (tell, answers) = channel();
    let before = disk.syncs.load(Ordering::SeqCst);
    for version in 10..110 {
        let tell = tell.clone();
        let operation = entire("plain", &format!("k{version}"), version, b"bytes");
        opened.archive.submit(operation, move |answer| tell.send(answer).unwrap());
    }
    // None is answered while the sync stands.
    let early = answers.try_recv();
    disk.unlock();
    assert!(early.is_err());
    for _answer in 0..100 {
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), Ok(Done::Synced));
    }
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    // Those that came while the first was under way went together.
    assert!(syncs <= 10, "{syncs} syncs for 100 finals");
}

#[test]
fn sync_is_answered_when_everything_before_it_is_durable() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = on(&disk, folder.path());
    let slice = Slice::of(0, noise(1, 1_000));
    opened.written(Operation::Start { opening: opening("plain", "k", 1), slice });
    disk.shut();
    let (tell, answers) = channel();
    let before = disk.syncs.load(Ordering::SeqCst);
    opened.archive.submit(Operation::Sync, move |answer| tell.send(answer).unwrap());
    // It is not answered while the sync stands.
    let early = answers.recv_timeout(Duration::from_millis(200));
    disk.unlock();
    assert!(early.is_err(), "{early:?}");
    assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), Ok(Done::Synced));
    assert!(disk.syncs.load(Ordering::SeqCst) > before, "nothing was synced");
}

#[test]
fn a_disk_that_fills_in_the_middle_of_an_object_refuses_and_goes_on() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = on(&disk, folder.path());
    opened.done(entire("plain", "before", 10, b"before"));
    let slice = |number, size| Slice::of(number, noise(u64::from(number), size));
    let start = Operation::Start { opening: opening("plain", "k", 1), slice: slice(0, 600_000) };
    opened.written(start);
    disk.no_room.store(true, Ordering::SeqCst);
    // It needs another file, and there is no room for one.
    let next = Operation::Next { upload: upload(1), slice: slice(1, 600_000) };
    assert_eq!(opened.perform(next.clone()), Err(Refused::NoRoom));
    assert_eq!(opened.get("plain", "before").unwrap(), b"before");
    disk.no_room.store(false, Ordering::SeqCst);
    // The upload is where it was.
    opened.written(next);
    let whole = [noise(0, 600_000), noise(1, 600_000)].concat();
    let closing = closing(20, &whole);
    opened.done(Operation::Final { upload: upload(1), slice: None, closing });
    assert!(opened.get("plain", "k").unwrap() == whole);
    drop(opened);
    let opened = open(folder.path());
    assert_eq!(opened.found.damages, []);
    assert!(opened.get("plain", "k").unwrap() == whole);
}

/// N22: the original chose a space without a minimum, and found a full disk by writing.
#[test]
fn n22_below_the_reserve_bytes_are_refused_and_deletes_go_on() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let mut config = config(folder.path());
    config.reserve = Reserve::Bytes(1 << 20);
    let opened = open_on(Arc::clone(&disk) as Arc<dyn Disk>, config).unwrap();
    opened.collections();
    opened.done(entire("plain", "k", 10, b"bytes"));
    disk.set_free(&[("data", 1 << 20)]);
    assert_eq!(refused_later(&opened), Err(Refused::NoRoom));
    opened.done(delete("plain", "k", 30));
    disk.set_free(&[]);
    let began = runtime::now();
    while opened.perform(entire("plain", "k", 40, b"again")).is_err() {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(opened.get("plain", "k").unwrap(), b"again");
}

/// Tries until it is refused: what the writer knows of the room is a quarter of a second old at most.
fn refused_later(opened: &Opened) -> Result<Done, Refused> {
    let began = runtime::now();
    let mut version = 100;
    loop {
        assert!(began.elapsed() < PATIENCE);
        version += 1;
        let operation = entire("plain", "other", version, b"x");
        opened.perform(operation)?;
    }
}

#[test]
fn a_queue_that_is_full_says_so_and_does_nothing() {
    let (folder, disk) = (folder(), Arc::new(Faulty::default()));
    let opened = on(&disk, folder.path());
    disk.shut();
    // The writer stands in the sync of this one, or has not begun it.
    opened.archive.submit(entire("plain", "k", 10, b"x"), |_| {});
    let (tell, answers) = channel();
    for _number in 0..2200 {
        let tell = tell.clone();
        opened.archive.submit(Operation::Sync, move |answer| tell.send(answer).unwrap());
    }
    // What is refused is so at once.
    let refused: Vec<_> = answers.try_iter().collect();
    disk.unlock();
    drop(tell);
    assert!(!refused.is_empty());
    assert!(refused.iter().all(|answer| *answer == Err(Refused::Busy)), "{refused:?}");
    let rest: Vec<_> = answers.iter().collect();
    assert!(rest.iter().all(|answer| *answer == Ok(Done::Synced)));
    assert_eq!(rest.len() + refused.len(), 2200);
}

/// The value files have room here, and the index has none: what is synced is answered when it is indexed.
#[test]
fn without_room_for_its_index_the_archive_waits_and_goes_on() {
    let (folder, Some(small)) = (folder(), SmallDisk::mount()) else {
        return skip::without("mount", "a small disk cannot be mounted here (needs root)");
    };
    let home = small.path().join("home");
    let config = ArchiveConfig { home, ..config(folder.path()) };
    let opened = try_open(config.clone()).unwrap();
    opened.collections();
    let filler = small.fill();
    let (tell, answers) = channel();
    // The log of SQLite has some pages left: so many are written until there is no room.
    let waits = (10..500).find(|version| {
        let tell = tell.clone();
        let key = format!("k{version}");
        let put = entire("plain", &key, *version, b"bytes");
        opened.archive.submit(put, move |answer| tell.send(answer).unwrap());
        match answers.recv_timeout(Duration::from_millis(500)) {
            Ok(answer) => {
                assert_eq!(answer, Ok(Done::Synced));
                false
            }
            Err(ended) => {
                assert_eq!(ended, RecvTimeoutError::Timeout);
                true
            }
        }
    });
    assert!(waits.is_some(), "there was always room");
    std::fs::remove_file(filler).unwrap();
    assert_eq!(answers.recv_timeout(PATIENCE), Ok(Ok(Done::Synced)));
    assert!(opened.failures.try_recv().is_err(), "a full disk ends no archive");
    drop(opened);
    let opened = try_open(config).unwrap();
    assert_eq!(opened.found.damages, []);
    for version in 10..=waits.unwrap() {
        assert_eq!(opened.get("plain", &format!("k{version}")).unwrap(), b"bytes");
    }
}
