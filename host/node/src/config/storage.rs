//! `[storage]`: value files, the folders they are in, and how long what hides others stays.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::read::{Reading, Section, words};
use super::units::{Reserve, Size, Span};

/// A value file smaller than what is preallocated ahead would be rolled over all the time.
const VALUE_FILE_MIN: Size = Size(64 << 20);
const VALUE_FILE_MAX: Size = Size(1 << 30);
/// Folders of one node: each is a disk, and the room of each is asked for.
const SPACES_MAX: usize = 64;
/// Until then the bytes that it hides are still there.
const GRACE_MIN: Span = Span(Duration::from_secs(3600));

/// `[storage]`: value files and the disks below them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// How large a value file becomes.
    pub value_file: Size,
    /// Where value files of the archive are; none: in the node's own folder.
    pub spaces: Vec<Space>,
    /// What stays free on each disk; below it sends are refused and reads go on.
    pub reserve: Reserve,
    /// How long it is kept that something was deleted.
    pub grace: Span,
    /// How much of the logs is read again in a second, to see that it is still what was written.
    pub scrub: Size,
}

/// One of `storage.spaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The folder.
    pub path: PathBuf,
    /// What is in it.
    pub class: SpaceClass,
}

/// The class of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceClass {
    /// Value files of the archive.
    Data,
    /// Logs, which are in the node's folder and nowhere else so far.
    Log,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            value_file: Size(1 << 30),
            spaces: Vec::new(),
            reserve: Reserve::Percent(5),
            grace: Span(Duration::from_secs(10 * 86_400)),
            scrub: Size(1 << 20),
        }
    }
}

impl Storage {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "value_file", &mut self.value_file);
        if let Some(spaces) = table.tables(reading, "spaces") {
            self.spaces = spaces.into_iter().map(|it| Space::take(it, reading)).collect();
        }
        table.key(reading, "reserve", &mut self.reserve);
        table.key(reading, "grace", &mut self.grace);
        table.key(reading, "scrub", &mut self.scrub);
    }
}

impl Space {
    fn take(mut table: Section<'_>, reading: &mut Reading<'_>) -> Self {
        let mut space = Self { path: PathBuf::new(), class: SpaceClass::Data };
        table.key(reading, "path", &mut space.path);
        table.key(reading, "class", &mut space.class);
        table.done(reading);
        space
    }
}

words!(SpaceClass, "\"data\" or \"log\"", "data" => Self::Data, "log" => Self::Log);

/// What the values mean.
pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    let storage = &config.storage;
    let file = storage.value_file;
    if !(VALUE_FILE_MIN..=VALUE_FILE_MAX).contains(&file) {
        let fix = format!("Write {VALUE_FILE_MIN} to {VALUE_FILE_MAX}");
        reading.fault("storage.value_file", format!("storage.value_file is {file}"), fix);
    }
    let grace = storage.grace;
    if grace < GRACE_MIN {
        let fix = format!("Write {GRACE_MIN} or more: until then what was deleted is still there");
        reading.fault("storage.grace", format!("storage.grace is {grace}"), fix);
    }
    if storage.spaces.len() > SPACES_MAX {
        let what = format!("storage.spaces names {} folders", storage.spaces.len());
        reading.fault("storage.spaces", what, format!("Write {SPACES_MAX} at most"));
    }
    for (index, space) in storage.spaces.iter().enumerate() {
        let key = format!("storage.spaces.{}", index + 1);
        if !reading.sound(&[&key]) {
            continue;
        }
        if space.path.as_os_str().is_empty() {
            let fix = "Name a folder, as in { path = \"/disk2/carillon\" }";
            reading.fault(&key, format!("{key} has no path"), fix);
            continue;
        }
        if space.class == SpaceClass::Log {
            let what = format!("{key}.class is log, and logs are in node.data and nowhere else");
            reading.fault(&key, what, "Write class = \"data\", or leave it out");
        }
        let before = storage.spaces.get(..index).unwrap_or_default();
        if before.iter().any(|before| before.path == space.path) {
            let what = format!("storage.spaces names {} twice", space.path.display());
            reading.fault(&key, what, "Name each folder once");
        }
    }
}
