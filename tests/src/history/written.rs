//! Histories in files: one a client, one JSON object a line, only ever appended to.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use super::Operation;

/// The file of one client. What was written is in the file when [`Writer::write`] returns, so that a test
/// that is killed leaves everything it knew.
#[derive(Debug)]
pub struct Writer {
    file: File,
    line: Vec<u8>,
}

impl Writer {
    /// The file of `client` in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path, client: u32) -> io::Result<Self> {
        let path = folder.join(format!("client-{client:04}.jsonl"));
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { file, line: Vec::new() })
    }

    /// Appends one operation.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, operation: &Operation) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, operation)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}

/// Every operation of every client in `folder`.
///
/// # Errors
/// What the system says; `InvalidData` with file and line when a line is no operation.
pub fn load(folder: &Path) -> io::Result<Vec<Operation>> {
    let mut files = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "jsonl"));
    files.sort();
    let mut operations = Vec::new();
    for path in files {
        for (index, line) in BufReader::new(File::open(&path)?).lines().enumerate() {
            let wrong = |error: serde_json::Error| {
                let place = format!("{}:{}: {error}", path.display(), index + 1);
                io::Error::new(io::ErrorKind::InvalidData, place)
            };
            operations.push(serde_json::from_str(&line?).map_err(wrong)?);
        }
    }
    Ok(operations)
}
