//! A disk that is really full. Needs the right to mount one; without it, `broken_disk` has the same story
//! on a disk that only says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use segment::Notice;

use crate::support::{PATIENCE, append, config, folder, follow, open};

/// A file system of 4 MiB in memory.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(at)
            .output()
            .ok()?;
        mount.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _left = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_takes_again_what_waits_when_it_has_room() {
    let folder = folder();
    let Some(small) = Small::mount(folder.path()) else {
        println!("no right to mount a small disk: nothing was tested");
        return;
    };
    let logs = small.0.join("logs");
    let log = open(config(&logs, 64 << 20));
    let mut entries = follow(&[], 1, &[b"first"]);
    log.write(vec![append(0, entries.clone())]);
    // Somebody else takes all the rest.
    let hog = small.0.join("hog");
    let mut filled = std::fs::File::create(&hog).unwrap();
    let _full = std::io::copy(&mut std::io::repeat(7), &mut filled).unwrap_err();
    let mut last = 0;
    while last < 30 {
        let more = follow(&entries, 1, &[&[1; 64 << 10]]);
        last = log.submit(vec![append(0, more.clone())]);
        entries.extend(more);
    }
    loop {
        match log.notices.recv_timeout(PATIENCE).unwrap() {
            Notice::Full(true) => break,
            Notice::Full(false) | Notice::Written { .. } => {}
            Notice::Failed { text } => panic!("{text}"),
        }
    }
    assert_eq!(log.log.read(hashring::PartitionId(0), 1, 1, 100).unwrap(), entries[..1]);
    drop(filled);
    std::fs::remove_file(&hog).unwrap();
    log.written(last);
    assert!(log.entries(0) == entries);
    drop(log);
    let log = open(config(&logs, 64 << 20));
    assert_eq!(log.recovered.damages, []);
    assert!(log.entries(0) == entries);
}
