//! `carillon archive get`: an object becomes a file.
//!
//! It is written under another name beside it, and takes its own only when every byte was the right one. What an
//! earlier run left of the same version is gone on with.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use archive::Digesting;
use clap::Args;
use client::{Client, ReadObject};
use serde_json::json;

use super::{Common, name, told};
use crate::cli::progress::Progress;
use crate::cli::{Problem, output, waiting};

/// Reads an object into a file, or to standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon archive get photos/2026/bell.jpg copy.jpg\n\nAfter a failure the same \
                        command goes on where it was."
)]
pub(super) struct GetCommand {
    /// COLLECTION/KEY
    name: String,
    /// The file, which is replaced; - is standard output
    #[arg(default_value = "-")]
    file: String,
    /// Another version than the one that the key shows
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Where the bytes go.
enum Sink {
    Out(io::Stdout),
    Beside { file: File, path: PathBuf, becomes: PathBuf },
}

impl GetCommand {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let (collection, key) = name(&self.name)?;
        let client = self.common.client()?;
        let reading = client.read_object(collection, key, self.version.as_deref());
        let mut object = waiting::answer(&client, reading).await.map_err(told)?;
        let mut whole = Digesting::new();
        let sink = Sink::open(&self.file, &object, &mut whole)?;
        let Some(sink) = copy(&client, &mut object, sink, whole, &self.name).await? else {
            return Ok(());
        };
        if sink.keep()? {
            return Ok(());
        }
        let (version, size) = (object.version(), object.size());
        let text = format!("{version} {size} bytes");
        let json = json!({"version": version, "size": size, "md5": object.etag()});
        if self.common.json { output::line(json) } else { output::line(text) }.map(drop)
    }
}

/// Prints all of an object.
pub(in crate::cli) async fn print(
    client: &Client,
    collection: &str,
    key: &str,
) -> Result<(), Problem> {
    let reading = client.read_object(collection, key, None);
    let mut object = waiting::answer(client, reading).await.map_err(told)?;
    let (sink, name) = (Sink::Out(io::stdout()), format!("{collection}/{key}"));
    match copy(client, &mut object, sink, Digesting::new(), &name).await? {
        Some(sink) => sink.keep().map(drop),
        None => Ok(()),
    }
}

/// Copies what of an object is not in `whole` yet. Gives the sink back when all of it is there and is what was
/// stored; `None`: nobody wants more.
async fn copy(
    client: &Client,
    object: &mut ReadObject,
    mut sink: Sink,
    mut whole: Digesting,
    name: &str,
) -> Result<Option<Sink>, Problem> {
    object.skip(whole.size());
    let mut progress = Progress::new(Some(object.size()));
    while let Some(piece) = waiting::news(client, object.next()).await.map_err(told)? {
        whole.push(&piece);
        progress.at(whole.size());
        if !sink.write(&piece)? {
            return Ok(None);
        }
    }
    drop(progress);
    let size = whole.size();
    let (md5, adler32) = whole.finish();
    let same_md5 = object.md5().is_none_or(|told| told == md5.to_string());
    if size == object.size() && same_md5 && adler32.to_string() == object.adler32() {
        return Ok(Some(sink));
    }
    sink.discard();
    let what = format!("what came of {name} is not what was stored");
    Err(Problem::failed(what, "Get it again; if that repeats, look into the nodes' logs"))
}

impl Sink {
    /// Opens it; what is there already is digested.
    fn open(file: &str, object: &ReadObject, whole: &mut Digesting) -> Result<Self, Problem> {
        if file == "-" {
            return Ok(Self::Out(io::stdout()));
        }
        let becomes = PathBuf::from(file);
        let path = beside(&becomes, object.version())?;
        let mut begin = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            if file.metadata()?.len() > object.size() {
                file.set_len(0)?;
            }
            let mut piece = vec![0; 256 << 10];
            loop {
                // The place to write at is where reading ends.
                let length = (&file).read(&mut piece)?;
                if length == 0 {
                    return Ok(file);
                }
                whole.push(piece.get(..length).unwrap_or_default());
            }
        };
        let file = begin().map_err(|error| unwritten(&path, &error))?;
        Ok(Self::Beside { file, path, becomes })
    }

    /// Writes; whether anybody wants more.
    fn write(&mut self, piece: &[u8]) -> Result<bool, Problem> {
        match self {
            Self::Out(out) => match out.write_all(piece) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
                Err(error) => Err(unwritten(Path::new("standard output"), &error)),
            },
            Self::Beside { file, path, .. } => match file.write_all(piece) {
                Ok(()) => Ok(true),
                Err(error) => Err(unwritten(path, &error)),
            },
        }
    }

    /// All is there; whether it went to standard output, which is then nobody else's.
    fn keep(self) -> Result<bool, Problem> {
        match self {
            Self::Out(mut out) => match out.flush() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
                Err(error) => Err(unwritten(Path::new("standard output"), &error)),
            },
            Self::Beside { file, path, becomes } => {
                let kept = file.sync_all().and_then(|()| std::fs::rename(&path, &becomes));
                kept.map(|()| false).map_err(|error| unwritten(&becomes, &error))
            }
        }
    }

    fn discard(self) {
        if let Self::Beside { path, .. } = self {
            // It is only in the way: the next run would find it wrong again.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Where it is until it is whole.
fn beside(file: &Path, version: &str) -> Result<PathBuf, Problem> {
    let Some(name) = file.file_name().and_then(|name| name.to_str()).filter(|_| !file.is_dir())
    else {
        let what = format!("{} cannot be a file", file.display());
        return Err(Problem::usage(what, "Name a file, or - for standard output"));
    };
    Ok(file.with_file_name(format!(".{name}.{version}.part")))
}

fn unwritten(path: &Path, error: &io::Error) -> Problem {
    let what = format!("{} cannot be written: {error}", path.display());
    Problem::failed(what, "Make room, or name another file; the same command goes on where it was")
}
