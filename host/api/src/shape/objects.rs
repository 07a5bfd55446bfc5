//! What goes in and comes out about objects.

use std::collections::BTreeMap;

use archive::{Adler32, Found, Listing, Md5, Stored, UnifiedId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Shown;

/// A collection to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollection {
    /// Whether it keeps earlier versions of a key.
    pub(crate) versioning: bool,
}

/// A collection.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Collection)]
pub(crate) struct CollectionShape {
    /// Its name.
    pub(crate) collection: String,
    /// Whether it keeps earlier versions of a key.
    pub(crate) versioning: bool,
}

/// Something is stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stored)]
pub(crate) struct StoredShape {
    /// Its version, in decimal; of a part, that of its archive.
    #[schema(value_type = String)]
    version: Shown<UnifiedId>,
    /// Its bytes.
    size: u64,
    /// Their MD5, in hex.
    #[schema(value_type = String)]
    md5: Shown<Md5>,
    /// Their Adler-32, in hex.
    #[schema(value_type = String)]
    adler32: Shown<Adler32>,
}

/// A version.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionShape {
    /// The version, in decimal.
    #[schema(value_type = String)]
    pub(crate) version: Shown<UnifiedId>,
}

/// What a collection shows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Listing)]
pub(crate) struct ListingShape<'a> {
    /// By the bytes of the keys, versions rising.
    entries: Vec<EntryShape<'a>>,
    /// There are more: ask again with the marker that follows. That may be so also if fewer than the limit are here,
    /// or none: a question looks at so many keys and no more, also where nearly all of them are deleted.
    truncated: bool,
    /// If there are more, the `marker` of the next question.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<&'a str>,
    /// And its `version_marker`, if versions are asked for and there may be more of that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next_version_marker: Option<Shown<UnifiedId>>,
}

/// One version of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListingEntry)]
pub(crate) struct EntryShape<'a> {
    /// The key.
    key: &'a str,
    /// The version, in decimal.
    #[schema(value_type = String)]
    version: Shown<UnifiedId>,
    /// Its bytes.
    size: u64,
    /// Their MD5, in hex; of an archive of parts the MD5 over theirs, `-` and how many they are.
    md5: String,
    /// Their Adler-32, in hex.
    #[schema(value_type = String)]
    adler32: Shown<Adler32>,
    /// Since when it is there, in Unix milliseconds.
    created_ms: u64,
    /// What is kept with it.
    #[schema(value_type = HashMap<String, String>)]
    meta: BTreeMap<&'a str, &'a str>,
}

impl StoredShape {
    pub(crate) fn new(stored: &Stored) -> Self {
        let Stored { version, size, md5, adler32, again: _ } = *stored;
        Self { version: Shown(version), size, md5: Shown(md5), adler32: Shown(adler32) }
    }
}

impl<'a> ListingShape<'a> {
    pub(crate) fn new(listing: &'a Listing) -> Self {
        let entries = listing.entries.iter().map(EntryShape::new).collect();
        let next = listing.next.as_ref();
        Self {
            entries,
            truncated: listing.truncated,
            next_marker: next.map(|(key, _)| key.as_str()),
            next_version_marker: next.and_then(|(_, version)| version.map(Shown)),
        }
    }
}

impl<'a> EntryShape<'a> {
    fn new(found: &'a Found) -> Self {
        let pair = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        Self {
            key: found.key.as_str(),
            version: Shown(found.version),
            size: found.size,
            md5: found.etag(),
            adler32: Shown(found.adler32()),
            created_ms: found.time_ms,
            meta: found.meta.iter().map(pair).collect(),
        }
    }
}
