//! What is told of people and written nowhere.

use std::collections::BTreeMap;

use chat::{People, Person};
use model::{ChatStatus, Cursor};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::Shown;

/// That somebody types.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTyping {
    /// Who types: required where authentication is open; elsewhere the token says it, and this must be left out.
    pub(crate) sender: Option<String>,
    /// `false`: they do not any more; `true` if nothing is said.
    pub(crate) typing: Option<bool>,
}

/// How far somebody has read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMark {
    /// Who has read: required where authentication is open; elsewhere the token says it, and this must be left
    /// out.
    pub(crate) sender: Option<String>,
    /// The cursor of the last message they have read.
    pub(crate) upto: String,
}

/// Who types now.
#[derive(Debug, Serialize)]
pub(crate) struct TypingShape<'a> {
    pub(crate) typing: &'a [String],
}

/// How far who has read.
#[derive(Debug, Serialize)]
pub(crate) struct ReadShape<'a> {
    #[serde(serialize_with = "cursors")]
    read: &'a BTreeMap<String, Cursor>,
}

/// Who is there now, and how far the chat has come.
#[derive(Debug, Serialize)]
pub(crate) struct PeopleShape<'a> {
    status: ChatStatus,
    participants: Vec<PersonShape<'a>>,
}

/// As a participant of the chat, without what does not change by itself.
#[derive(Debug, Serialize)]
struct PersonShape<'a> {
    id: &'a str,
    role: &'a str,
    status: &'a str,
    heard_ms: u64,
    ordinal: u32,
}

impl<'a> ReadShape<'a> {
    pub(crate) fn new(read: &'a BTreeMap<String, Cursor>) -> Self {
        Self { read }
    }
}

impl<'a> PeopleShape<'a> {
    pub(crate) fn new(people: &'a People) -> Self {
        let person = |person: &'a Person| PersonShape {
            id: &person.id,
            role: &person.role,
            status: &person.status,
            heard_ms: person.heard_ms,
            ordinal: person.ordinal,
        };
        Self {
            status: people.status,
            participants: people.participants.iter().map(person).collect(),
        }
    }
}

fn cursors<S: Serializer>(
    read: &BTreeMap<String, Cursor>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(read.iter().map(|(who, upto)| (who, Shown(*upto))))
}
