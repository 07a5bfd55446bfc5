//! `carillon archive ls`: what a collection shows, a page after the other.

use clap::Args;
use client::{Client, ObjectEntry, ObjectPage, Objects};

use super::{Common, told};
use crate::cli::progress::size;
use crate::cli::{Problem, chain, output, waiting};

/// Entries asked for at once: as many as a node gives.
const PAGE: u32 = 1000;

/// Prints the keys of a collection with version, size, time and MD5.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon archive ls photos/2026/\n  carillon archive ls photos --json"
)]
pub(super) struct LsCommand {
    /// COLLECTION, or COLLECTION/PREFIX
    name: String,
    /// All versions that can be seen, and not only what each key shows
    #[arg(long)]
    versions: bool,
    /// At most so many; all of them if not said
    #[arg(long)]
    limit: Option<u64>,
    /// Only keys behind this one
    #[arg(long)]
    marker: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl LsCommand {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let (collection, prefix) = self.name.split_once('/').unwrap_or((&self.name, ""));
        let client = self.common.client()?;
        let mut wanted = Objects {
            prefix: prefix.to_owned(),
            marker: self.marker.clone(),
            versions: self.versions,
            ..Objects::default()
        };
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut printing = Printing { json: self.common.json, begun: false };
        let truncated = loop {
            wanted.limit = Some(u32::try_from(left).unwrap_or(PAGE).min(PAGE));
            if left == 0 {
                break true;
            }
            let page = page(&client, collection, &wanted).await?;
            left = left.saturating_sub(u64::try_from(page.entries.len()).unwrap_or(left));
            if !printing.page(&page.entries)? {
                return Ok(());
            }
            if !page.truncated {
                break false;
            }
            if page.next_marker.is_none() {
                break true;
            }
            (wanted.marker, wanted.version_marker) = (page.next_marker, page.next_version_marker);
        };
        printing.end(truncated)
    }
}

async fn page(client: &Client, collection: &str, wanted: &Objects) -> Result<ObjectPage, Problem> {
    waiting::answer(client, client.objects(collection, wanted)).await.map_err(told)
}

/// What is printed, page by page: however many there are, none is kept.
struct Printing {
    json: bool,
    begun: bool,
}

impl Printing {
    /// Whether anybody wants more.
    fn page(&mut self, entries: &[ObjectEntry]) -> Result<bool, Problem> {
        for entry in entries {
            let line = match (self.json, self.begun) {
                (false, _) => line(entry),
                (true, begun) => {
                    let text = serde_json::to_string(entry)
                        .map_err(|error| Problem::failed(chain(&error), "Report it"))?;
                    format!("{}{text}", if begun { "," } else { "{\"entries\": [" })
                }
            };
            self.begun = true;
            if !output::line(line)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn end(&self, truncated: bool) -> Result<(), Problem> {
        if self.json {
            let begin = if self.begun { "" } else { "{\"entries\": [" };
            return output::line(format_args!("{begin}], \"truncated\": {truncated}}}")).map(drop);
        }
        if truncated {
            output::note(
                "carillon: there may be more: raise --limit, or add --marker with the last key",
            );
        }
        Ok(())
    }
}

/// An entry as one line for people.
fn line(entry: &ObjectEntry) -> String {
    let key: String = entry
        .key
        .chars()
        .flat_map(|letter| match letter.is_control() {
            true => letter.escape_default().collect::<Vec<_>>(),
            false => vec![letter],
        })
        .collect();
    let ObjectEntry { version, size: bytes, md5, created_ms, .. } = entry;
    format!("{version:<20} {:>10}  {}  {md5:<32}  {key}", size(*bytes), date(*created_ms))
}

/// A time as people read it, in UTC.
fn date(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since the first of March of year 0, in years of 365.2425 days that begin in March.
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::{date, line};
    use client::ObjectEntry;
    use std::collections::BTreeMap;

    #[test]
    fn a_time_is_a_day_and_a_time_of_it() {
        for (ms, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_700_000_000_000, "2023-11-14 22:13:20"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(ms), text);
        }
    }

    #[test]
    fn a_key_is_one_line_whatever_is_in_it() {
        let entry = ObjectEntry {
            key: "a\u{85}b".to_owned(),
            version: "7".to_owned(),
            size: 5,
            md5: "d".repeat(32),
            adler32: String::new(),
            created_ms: 0,
            meta: BTreeMap::new(),
        };
        let line = line(&entry);
        assert!(line.starts_with("7 ") && line.ends_with("a\\u{85}b"), "{line}");
    }
}
