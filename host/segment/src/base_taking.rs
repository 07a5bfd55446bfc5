//! A base that another node gives, piece by piece, to a file beside.
//!
//! What was taken stays when the process ends: whoever gives it again goes on from there. Only when all of it is
//! there is it believed, and only if it has the digest that was told with the first piece.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use hashring::PartitionId;

use crate::base_file::{self, Base, BaseError, BaseFile};
use crate::disk::{is_full, sync_folder};
use crate::header::HEADER_BYTES;
use crate::log::Shared;
use crate::measure;

const SUFFIX: &str = ".base.part";

/// It is synced whenever so much was taken, so that no sync of the log waits long for it.
const SYNC_BYTES: u64 = 4 << 20;

/// How much of a base is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseTaken {
    /// The first so many bytes of its contents.
    Some(u64),
    /// All of it, verified and synced: a log may begin there.
    All,
}

/// See [`Log::take_base`](crate::Log::take_base).
pub(crate) fn take(
    shared: &Shared,
    partition: PartitionId,
    base: Base,
    at: u64,
    piece: &[u8],
) -> Result<BaseTaken, BaseError> {
    let config = &shared.config;
    let prepared = shared.bases().prepared(partition);
    if prepared.is_some_and(|it| (it.place, it.digest) == (base.place, base.digest)) {
        return Ok(BaseTaken::All);
    }
    let path = path(&config.folder, partition, base);
    let disk = |source: std::io::Error| match is_full(&source) {
        true => BaseError::Full { bytes: base.bytes },
        false => BaseError::Disk { path: path.clone(), source },
    };
    let have = match fs::metadata(&path) {
        Ok(found) => found.len().saturating_sub(HEADER_BYTES),
        Err(_none) => {
            begin(shared, partition, base, &path)?;
            0
        }
    };
    let last = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    // Only what follows: what was lost, or came twice, is asked for by what is there.
    let fits = at == have && last <= base.bytes;
    let have = if fits { last } else { have };
    if fits && !piece.is_empty() {
        let file = OpenOptions::new().write(true).open(&path).map_err(disk)?;
        shared.disk.write(&file, piece, at.saturating_add(HEADER_BYTES)).map_err(disk)?;
        if at / SYNC_BYTES != last / SYNC_BYTES || last == base.bytes {
            shared.disk.sync(&file).map_err(disk)?;
        }
    }
    if have < base.bytes || base.bytes == 0 {
        return Ok(BaseTaken::Some(have));
    }
    finish(shared, partition, base, &path)
}

/// Makes the file, and removes those of other bases of the partition.
fn begin(
    shared: &Shared,
    partition: PartitionId,
    base: Base,
    path: &Path,
) -> Result<(), BaseError> {
    let config = &shared.config;
    let disk = |source| BaseError::Disk { path: path.to_owned(), source };
    let space = shared.disk.space(&config.folder).map_err(disk)?;
    if !config.reserve.leaves(space, base.bytes) {
        return Err(BaseError::Full { bytes: base.bytes });
    }
    let own = format!("{:03}-", partition.0);
    for found in fs::read_dir(&config.folder).map_err(disk)? {
        let found = found.map_err(disk)?;
        let name = found.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(&own) && name.ends_with(SUFFIX)) {
            fs::remove_file(found.path()).map_err(disk)?;
        }
    }
    let file = File::create(path).map_err(disk)?;
    let header = base_file::header(config, partition, base.place);
    shared.disk.write(&file, &header, 0).map_err(disk)
}

/// All of it is there, or what was taken is something else.
fn finish(
    shared: &Shared,
    partition: PartitionId,
    base: Base,
    path: &Path,
) -> Result<BaseTaken, BaseError> {
    let config = &shared.config;
    let disk = |source| BaseError::Disk { path: path.to_owned(), source };
    let verified = BaseFile::open_at(path.to_owned(), config, partition, base.place)
        .and_then(|file| file.verify().map(|()| file.base.digest == base.digest));
    match verified {
        Ok(true) => {}
        Ok(false) | Err(BaseError::Damaged { .. }) => {
            // A loss of power may have left zeros, or the disk flipped a bit: it is taken again.
            measure::damage();
            tracing::warn!(path = %path.display(), "what was taken is not what was given");
            fs::remove_file(path).map_err(disk)?;
            return Ok(BaseTaken::Some(0));
        }
        Err(error) => return Err(error),
    }
    // Also if what is there was taken by an earlier life: nobody knows what of it is on the disk.
    File::open(path).and_then(|file| shared.disk.sync(&file)).map_err(disk)?;
    let named = base_file::path(&config.folder, partition, base.place.seq);
    fs::rename(path, &named).and_then(|()| sync_folder(&config.folder)).map_err(disk)?;
    let file = BaseFile::open(config, partition, base.place)?;
    shared.bases().prepare(partition, file);
    measure::base_written(base.bytes);
    Ok(BaseTaken::All)
}

fn path(folder: &Path, partition: PartitionId, base: Base) -> PathBuf {
    let digest: String = base.digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{:03}-{:016x}-{digest}{SUFFIX}", partition.0, base.place.seq))
}
