//! What of the optional tools this machine has.

use std::path::PathBuf;

use crate::inside::{Place, sh};

/// What faults can be made here. What is missing is said aloud, once.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Packets can be dropped, file systems mounted.
    pub(crate) inside: bool,
    /// System calls can be made to fail, or slow.
    pub(crate) strace: bool,
    /// A process can be given a wall clock.
    pub(crate) faketime: bool,
    /// What is missing, and why.
    pub(crate) skipped: Vec<String>,
}

impl Tools {
    /// Looks, and tells what is missing.
    pub(crate) fn look(place: &Place) -> Self {
        let mut skipped = Vec::new();
        if let Place::Outside(reason) = place {
            skipped.push(format!("partitions, loss, small disks: {reason}"));
        }
        let strace = traces();
        if let Err(reason) = &strace {
            skipped.push(format!("failing and slow syncs: {reason} (make faults-tools)"));
        }
        let faketime = faketime().is_some();
        if !faketime {
            skipped
                .push("wall clock steps: there is no libfaketime (make faults-tools)".to_owned());
        }
        for what in &skipped {
            tests::skipped(what);
        }
        Self { inside: place.is_inside(), strace: strace.is_ok(), faketime, skipped }
    }
}

/// Whether strace may look at a process that is not below it.
fn traces() -> Result<(), String> {
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .map_err(|error| format!("sleep: {error}"))?;
    let pid = sleeper.id().to_string();
    let script = format!("timeout 2 strace -p {pid} -o /dev/null; test $? = 124");
    let traced = sh("sh", ["-c", &script]).map(|_nothing| ());
    _ = sleeper.kill();
    _ = sleeper.wait();
    traced.map_err(|error| format!("strace cannot attach to a process: {error}"))
}

/// The library that gives a process another wall clock.
pub(crate) fn faketime() -> Option<PathBuf> {
    let below =
        ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
    let paths = below.iter().map(|lib| PathBuf::from(lib).join("faketime/libfaketimeMT.so.1"));
    paths.into_iter().find(|path| path.exists())
}
