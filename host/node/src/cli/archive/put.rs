//! `carillon archive put`: a file becomes an object, in parts if it is large.
//!
//! A part is read once and kept until it is stored: when a connection breaks, or a node dies, one part is sent
//! again, elsewhere.

use std::fs::File;
use std::io::{self, Read};

use archive::Digesting;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use client::{Client, NewObject, StoredObject};
use serde_json::json;

use super::{Common, name, told};
use crate::cli::progress::Progress;
use crate::cli::{Problem, output, waiting};
use crate::config::Size;

/// Parts that an object has at most.
const PARTS_MAX: u64 = 10_000;

/// Stores a file under a key, or makes a collection when no key is named.
///
/// A file larger than a part goes in parts, and can be seen when all of them are there.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon archive put photos\n  carillon archive put photos/2026/bell.jpg \
                        bell.jpg\n  tar c folder | carillon archive put backups/folder.tar -"
)]
pub(super) struct PutCommand {
    /// COLLECTION/KEY, or a collection to be made
    name: String,
    /// The file; - is standard input
    file: Option<String>,
    /// Of a collection to be made: it keeps earlier versions of a key
    #[arg(long)]
    versioned: bool,
    /// Kept with the object
    #[arg(long, value_name = "NAME=VALUE")]
    meta: Vec<String>,
    /// How large a part is; so much is in memory
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    part: Size,
    #[command(flatten)]
    common: Common,
}

/// What is stored where.
struct Put<'a> {
    client: Client,
    collection: &'a str,
    key: &'a str,
    meta: Vec<(String, String)>,
    progress: Progress,
    /// Bytes of parts that are stored.
    done: u64,
    /// Over all of them.
    whole: Digesting,
}

impl PutCommand {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let client = self.common.client()?;
        let Some(file) = &self.file else { return self.make(&client).await };
        let (collection, key) = name(&self.name)?;
        let meta = self.meta.iter().map(|pair| meta(pair)).collect::<Result<_, _>>()?;
        let stored = store(&client, (collection, key), meta, file, self.part).await?;
        let text = format!("{} {}", stored.version, stored.md5);
        let json = json!({
            "version": stored.version, "size": stored.size, "md5": stored.md5,
            "adler32": stored.adler32,
        });
        if self.common.json { output::line(json) } else { output::line(text) }.map(drop)
    }

    async fn make(&self, client: &Client) -> Result<(), Problem> {
        if self.name.contains('/') {
            let what = format!("no file is named for {}", self.name);
            return Err(Problem::usage(what, "Name it behind the key; - is standard input"));
        }
        let making = client.make_collection(&self.name, self.versioned);
        waiting::answer(client, making).await.map_err(told)?;
        let json = json!({"collection": self.name, "versioning": self.versioned});
        if self.common.json { output::line(json) } else { output::line(&self.name) }.map(drop)
    }
}

/// Stores a file under a name, in parts of this size if it is larger.
pub(super) async fn store(
    client: &Client,
    (collection, key): (&str, &str),
    meta: Vec<(String, String)>,
    file: &str,
    part: Size,
) -> Result<StoredObject, Problem> {
    let (mut source, size) = open(file)?;
    let (client, progress, whole) = (client.clone(), Progress::new(size), Digesting::new());
    let mut put = Put { client, collection, key, meta, progress, done: 0, whole };
    let part = part_bytes(part.0, size)?;
    put.run(&mut *source, file, part).await
}

impl Put<'_> {
    async fn run(
        &mut self,
        source: &mut dyn Read,
        file: &str,
        part: usize,
    ) -> Result<StoredObject, Problem> {
        let unread = |error: io::Error| {
            Problem::failed(format!("{file}: {error}"), "Name a file that can be read")
        };
        let mut data = Vec::new();
        let mut next = Vec::new();
        fill(source, &mut data, part).map_err(unread)?;
        if data.len() == part {
            fill(source, &mut next, part).map_err(unread)?;
        }
        if next.is_empty() {
            return self.bring(&data, None).await.map_err(told);
        }
        let starting = self.client.start_object(self.collection, self.key);
        let version = waiting::answer(&self.client, starting).await.map_err(told)?.version;
        let mut number = 0;
        let brought = loop {
            number += 1;
            if let Err(error) = self.bring(&data, Some((&version, number))).await {
                break Err(told(error));
            }
            std::mem::swap(&mut data, &mut next);
            if data.is_empty() {
                break Ok(());
            }
            next.clear();
            if let Err(error) = fill(source, &mut next, part) {
                break Err(unread(error));
            }
        };
        match brought {
            Ok(()) => self.finish(version, number).await,
            Err(problem) => {
                let (client, key) = (&self.client, self.key);
                if let Err(error) = client.abort_object(self.collection, key, &version).await {
                    output::note(format_args!("carillon: its parts stay for now: {error}"));
                }
                Err(problem)
            }
        }
    }

    async fn bring(
        &mut self,
        data: &[u8],
        part: Option<(&str, u32)>,
    ) -> Result<StoredObject, client::Error> {
        let mut digesting = Digesting::new();
        digesting.push(data);
        self.whole.push(data);
        let md5 = STANDARD.encode(digesting.finish().0.0);
        let first = part.is_none_or(|(_, part)| part == 1);
        let new = NewObject {
            collection: self.collection,
            key: self.key,
            data,
            md5: &md5,
            meta: self.meta.get(..if first { self.meta.len() } else { 0 }).unwrap_or_default(),
            part,
        };
        let (progress, done) = (&mut self.progress, self.done);
        let sent = |gone: u64| progress.at(done + gone);
        let stored = waiting::news(&self.client, self.client.put_object(&new, sent)).await?;
        self.done += stored.size;
        Ok(stored)
    }

    async fn finish(&self, version: String, parts: u32) -> Result<StoredObject, Problem> {
        let finishing = self.client.finish_object(self.collection, self.key, &version);
        waiting::answer(&self.client, finishing).await.map_err(told)?;
        let (_, adler32) = self.whole.clone().finish();
        // What is told is what is there: the digests of an object of parts are the nodes' to make.
        let read = self.client.read_object(self.collection, self.key, Some(&version));
        let read = waiting::answer(&self.client, read).await.map_err(told)?;
        if (read.size(), read.adler32()) != (self.done, adler32.to_string().as_str()) {
            let what = format!("{parts} parts are stored, and together they are something else");
            return Err(Problem::failed(what, "Put it again"));
        }
        let (size, md5) = (read.size(), read.etag().to_owned());
        Ok(StoredObject { version, size, md5, adler32: adler32.to_string() })
    }
}

/// A file, and its size if it has one.
fn open(file: &str) -> Result<(Box<dyn Read>, Option<u64>), Problem> {
    if file == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let opened = File::open(file).and_then(|open| open.metadata().map(|found| (open, found)));
    let (open, found) = opened.map_err(|error| {
        Problem::usage(format!("{file}: {error}"), "Name a file that can be read")
    })?;
    if found.is_dir() {
        let what = format!("{file} is a folder");
        return Err(Problem::usage(what, "Name a file, or make one of it with tar"));
    }
    let size = found.is_file().then_some(found.len());
    Ok((Box::new(open), size))
}

/// Bytes of a part: as wanted, or as many as it takes for the number of parts to do.
fn part_bytes(wanted: u64, size: Option<u64>) -> Result<usize, Problem> {
    if wanted == 0 {
        return Err(Problem::usage("a part of no bytes", "Write --part 64MiB"));
    }
    let needed = size.map_or(0, |size| size.div_ceil(PARTS_MAX));
    let most = archive::SEGMENT_BYTES_MAX;
    usize::try_from(wanted.max(needed).min(most))
        .map_err(|error| Problem::usage(error, "Write a smaller --part"))
}

/// Reads until `most` bytes are there, or no more come.
fn fill(source: &mut dyn Read, data: &mut Vec<u8>, most: usize) -> io::Result<()> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    source.take(most).read_to_end(data).map(drop)
}

fn meta(pair: &str) -> Result<(String, String), Problem> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::usage(format!("--meta {pair:?}"), "Write --meta NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::part_bytes;

    #[test]
    fn a_part_is_as_large_as_it_must_be() {
        assert_eq!(part_bytes(64 << 20, Some(5 << 30)).unwrap(), 64 << 20);
        assert_eq!(part_bytes(64 << 20, None).unwrap(), 64 << 20);
        assert_eq!(part_bytes(1 << 20, Some(1 << 40)).unwrap(), (1_usize << 40).div_ceil(10_000));
        assert!(part_bytes(0, None).is_err());
    }
}
