//! The Go module that generated Go imports, as files: see `build.rs`.

use crate::bindings::File;

/// What sends the import to the files, at the end of `go.mod`.
pub(crate) const REPLACE: &str = "\nreplace go.bytecodealliance.org/pkg => ./pkg\n";

/// The module is below this folder.
const FOLDER: &str = "pkg";

macro_rules! module {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!(env!("GO_MODULE"), "/", $path)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 12] = module![
    "LICENSE",
    "go.mod",
    "wit/types/option.go",
    "wit/types/future.go",
    "wit/types/stream.go",
    "wit/types/tuple.go",
    "wit/types/result.go",
    "wit/types/unit.go",
    "wit/runtime/runtime.go",
    "wit/runtime/empty.s",
    "wit/async/async.go",
    "wit/async/empty.s",
];

/// The module's files.
pub(crate) fn files() -> impl Iterator<Item = File> {
    FILES.iter().map(|(path, bytes)| (format!("{FOLDER}/{path}"), bytes.to_vec()))
}
