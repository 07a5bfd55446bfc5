//! The floor under every figure: what one append and one sync cost on a disk, with nothing around them.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::disk::{Disk, SystemDisk};

/// An entry of a chat with a message of 200 bytes has about this size.
const APPEND_BYTES: usize = 300;

/// Appends 300 bytes and syncs, `appends` times, in a file whose room is taken before, and returns how
/// long each took. The file is made in `folder` and removed.
///
/// # Errors
/// The system's.
pub fn floor(folder: &Path, appends: u32) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!("floor.{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let measured = (|| {
        let bytes = [0x5a; APPEND_BYTES];
        let step = u64::try_from(APPEND_BYTES).unwrap_or(0);
        SystemDisk.allocate(&file, 0, step.saturating_mul(u64::from(appends)))?;
        file.sync_all()?;
        let mut times = Vec::new();
        for append in 0..u64::from(appends) {
            let began = runtime::now();
            SystemDisk.write(&file, &bytes, append * step)?;
            SystemDisk.sync(&file)?;
            times.push(runtime::now() - began);
        }
        Ok(times)
    })();
    fs::remove_file(&path)?;
    measured
}
