//! Compiled components, kept between starts.
//!
//! A compiled component is machine code, and taking one from anybody else is running their code: so
//! every file carries an HMAC-SHA256 under a key that only this node has, and what does not verify is
//! compiled again. Losing the folder costs time, never anything else.
//!
//! `key` holds 32 random bytes, mode 0600. `DIGEST-ENGINE.cwasm` is the 8 bytes `CARILCW1`, the 32 bytes
//! of the HMAC over the file's name and the code, then the code.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;

const MAGIC: &[u8; 8] = b"CARILCW1";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;

/// How the name of a file ends until everything is in it.
const UNFINISHED: &str = "new";

/// Most files that are kept: some generations of some plugins.
const FILES_MAX: usize = 64;

/// A folder of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Cache {
    /// Opens `folder`, makes it and its key if they are not there, and removes what a crash left half
    /// written. A key of the wrong size is replaced: nothing verifies under it.
    pub(crate) fn open(folder: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |fault| (path, fault)
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        let path = folder.join("key");
        let read = match fs::read(&path) {
            Ok(bytes) => <[u8; KEY_BYTES]>::try_from(bytes).ok(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => None,
            Err(fault) => return Err((path, fault)),
        };
        let key = match read {
            Some(key) => key,
            None => {
                let key: [u8; KEY_BYTES] = rand::random();
                write_private(&path, &[&key]).map_err(at(&path))?;
                key
            }
        };
        let cache = Self { folder: folder.to_owned(), key };
        for (_, path) in cache.files(UNFINISHED) {
            let _best_effort = fs::remove_file(path);
        }
        Ok(cache)
    }

    /// The code kept for the component of this digest, if it is there and ours.
    pub(crate) fn read(&self, engine: &Engine, digest: &str) -> Option<Vec<u8>> {
        let name = name(engine, digest);
        let file = fs::read(self.folder.join(&name)).ok()?;
        let rest = file.strip_prefix(MAGIC)?;
        let (mac, code) = rest.split_at_checked(MAC_BYTES)?;
        let expected = hmac(&self.key, &[name.as_bytes(), code]);
        let differences = mac.iter().zip(expected).fold(0, |all, (a, b)| all | (a ^ b));
        if differences != 0 {
            tracing::warn!(file = %name, "a compiled plugin does not verify: compiling it again");
            return None;
        }
        Some(code.to_vec())
    }

    /// Keeps code. A full or broken disk is no reason not to run a plugin, so faults are only logged.
    pub(crate) fn write(&self, engine: &Engine, digest: &str, code: &[u8]) {
        let name = name(engine, digest);
        let mac = hmac(&self.key, &[name.as_bytes(), code]);
        let path = self.folder.join(&name);
        if let Err(fault) = write_private(&path, &[MAGIC, &mac, code]) {
            tracing::warn!(file = %name, %fault, "a compiled plugin could not be kept");
        }
        self.forget_oldest();
    }

    fn forget_oldest(&self) {
        let mut files = self.files("cwasm");
        files.sort();
        let beyond = files.len().saturating_sub(FILES_MAX);
        for (_, path) in files.into_iter().take(beyond) {
            // Somebody else may have removed it; next time is early enough.
            let _best_effort = fs::remove_file(path);
        }
    }

    /// The files whose names end like this, with when they were written.
    fn files(&self, extension: &str) -> Vec<(SystemTime, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|found| found == extension))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect()
    }
}

/// The same for the same component and an engine that can run the code.
fn name(engine: &Engine, digest: &str) -> String {
    let mut fingerprint = Fingerprint(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut fingerprint);
    format!("{digest}-{:016x}.cwasm", fingerprint.finish())
}

/// Hashes the same in every build, which the standard hasher does not promise.
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
    }
}

fn hmac(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let (mut inner_pad, mut outer_pad) = ([0x36_u8; BLOCK_BYTES], [0x5c_u8; BLOCK_BYTES]);
    for (byte, (inner, outer)) in key.iter().zip(inner_pad.iter_mut().zip(&mut outer_pad)) {
        *inner ^= byte;
        *outer ^= byte;
    }
    let mut inner = Sha256::new().chain_update(inner_pad);
    for part in parts {
        inner.update(part);
    }
    Sha256::new().chain_update(outer_pad).chain_update(inner.finalize()).finalize().into()
}

/// Writes a file that only its owner reads, and only whole: the name appears when everything is there.
fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{:016x}.{UNFINISHED}", rand::random::<u64>()));
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part));
    let renamed =
        written.and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        let _best_effort = fs::remove_file(&temporary);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::hmac;

    #[test]
    fn the_mac_is_hmac_sha256() {
        // RFC 4231, case 2 has a shorter key: zeros up to a block are the same key.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac(&key, &[b"what do ya want ", b"for nothing?"]);
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
