//! What the cluster has agreed on of a service: one record in the registry, the same for every node.
//!
//! The first node that has a service in its file writes the record. From then on the record counts, and a file
//! changes it only when the file itself was changed: the record notes what each node's file said when it was looked
//! at last. So a cluster can be given a new file node by node, and two files that differ do not overwrite each other
//! at every restart. Neither address nor secret stands here.
//!
//! Nothing is read or written here: what becomes of a record is decided.

use std::collections::BTreeMap;

use hashring::NodeId;
use model::{Dialect, OutboxChange, ServiceRecord};
use registry::COUNT_MAX;
use serde::{Deserialize, Serialize};
use transaction::{BatchLimits, Cause};

/// What the keys of services begin with.
pub(crate) const SERVICES: &str = "services/";

/// The version of the record's JSON.
const FORMAT: u16 = 1;

/// In which order events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Those of a chat in theirs.
    Chat,
    /// One transaction after another in the whole cluster.
    Service,
}

/// What of a service is the cluster's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Terms {
    pub(crate) dialect: Dialect,
    pub(crate) order: Order,
    pub(crate) kinds: Vec<String>,
    events: usize,
    bytes: usize,
    linger_ms: u64,
    pub(crate) from_start: bool,
}

/// That nothing is sent, for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stopped {
    pub(crate) cause: Cause,
    /// Since when, in Unix milliseconds, for display.
    pub(crate) at_ms: u64,
    /// Which node found that out, or was told.
    pub(crate) node: NodeId,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Agreed {
    format: u16,
    /// Rises whenever the terms change.
    pub(crate) revision: u64,
    /// The revision it began with. What logs have of an earlier one is another service of that name, which was forgotten.
    pub(crate) born: u64,
    pub(crate) terms: Terms,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Stopped>,
    /// An operator said that there is no such service any more. The record stays, so that every partition hears it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) forgotten: bool,
    /// A digest of what each node's file said when it was looked at last.
    files: BTreeMap<NodeId, String>,
    /// Random: whose write it was, should the answer to it be lost.
    nonce: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What stands in the registry is no such record. Nothing is changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAgreed {
    /// Half written, or something else. An operator mends or removes it.
    #[error("it is no record of a service: {0}")]
    Json(String),
    /// A newer program wrote it. Update this node; until then it goes on with what it has.
    #[error("it has format {0}, and this program knows only {FORMAT}")]
    Format(u64),
    /// It says what no node can have written. This node goes on with what it has, until somebody mends or removes it.
    #[error("it is no record that a node wrote: no service has changed so often")]
    Unsound,
}

/// What a node's file makes of the record that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// They say the same.
    Same,
    /// They differ, and the record counts: the file is not newer.
    Differs,
    /// The record becomes this.
    Write(Agreed),
}

impl Terms {
    pub(crate) fn new(
        dialect: Dialect,
        order: Order,
        kinds: &[String],
        batch: BatchLimits,
        from_start: bool,
    ) -> Self {
        let BatchLimits { events, bytes, linger } = batch;
        let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        Self { dialect, order, kinds: kinds.to_vec(), events, bytes, linger_ms, from_start }
    }

    /// What goes together.
    pub(crate) fn batch(&self) -> BatchLimits {
        let linger = std::time::Duration::from_millis(self.linger_ms);
        BatchLimits { events: self.events, bytes: self.bytes, linger }
    }

    /// Tells what a file says from what it said. 64 bits of FNV-1a: two that meet mean that one change of a file is
    /// not noticed.
    fn digest(&self) -> String {
        let hash = registry::encode(self).iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

impl Agreed {
    /// What there is without a registry: what the file says.
    pub(crate) fn of_file(terms: &Terms) -> Self {
        let (files, terms) = (BTreeMap::new(), terms.clone());
        let (revision, born) = (0, 0);
        Self {
            format: FORMAT,
            revision,
            born,
            terms,
            stopped: None,
            forgotten: false,
            files,
            nonce: 0,
        }
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// [`InvalidAgreed`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, InvalidAgreed> {
        let json = |error: serde_json::Error| InvalidAgreed::Json(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => Err(InvalidAgreed::Format(format)),
            _ => {
                let record: Self = serde_json::from_value(value).map_err(json)?;
                let sound = record.revision <= COUNT_MAX && record.born <= record.revision;
                sound.then_some(record).ok_or(InvalidAgreed::Unsound)
            }
        }
    }

    /// Its JSON, as this write's own.
    pub(crate) fn encode(&self) -> Vec<u8> {
        registry::encode(self)
    }

    /// The same, as a write of its own.
    #[must_use]
    pub(crate) fn written(mut self, nonce: u64) -> Self {
        self.nonce = nonce;
        self
    }

    /// The same, stopped, or not stopped any more.
    pub(crate) fn with_stopped(&self, stopped: Option<Stopped>) -> Self {
        Self { stopped, ..self.clone() }
    }

    /// The same, forgotten.
    pub(crate) fn as_forgotten(&self) -> Self {
        Self { forgotten: true, stopped: None, ..self.clone() }
    }

    /// What `node`, whose file says `terms`, makes of what stands.
    pub(crate) fn meet(stands: Option<&Self>, node: &NodeId, terms: &Terms) -> Meeting {
        let digest = terms.digest();
        let begun = |revision, born| {
            let files = BTreeMap::from([(node.clone(), digest.clone())]);
            Meeting::Write(Self { revision, born, files, ..Self::of_file(terms) })
        };
        let Some(stands) = stands else { return begun(1, 0) };
        if stands.forgotten {
            return begun(stands.revision + 1, stands.revision + 1);
        }
        let noted = stands.files.get(node);
        let note = |mut next: Self| {
            next.files.insert(node.clone(), digest.clone());
            Meeting::Write(next)
        };
        let same = stands.terms == *terms;
        match noted {
            Some(noted) if *noted == digest && same => Meeting::Same,
            Some(noted) if *noted == digest => Meeting::Differs,
            Some(_) if !same => {
                let (terms, revision) = (terms.clone(), stands.revision + 1);
                note(Self { terms, revision, ..stands.clone() })
            }
            // Of a node that comes anew with another file it is only noted what that says.
            Some(_) | None => note(stands.clone()),
        }
    }

    /// What the log of a partition is told of the service.
    pub(crate) fn record(&self, name: &str) -> ServiceRecord {
        let Terms { dialect, kinds, .. } = &self.terms;
        let (name, kinds) = (name.to_owned(), kinds.clone());
        ServiceRecord { name, revision: self.revision, dialect: *dialect, kinds }
    }

    /// What has to be said in the log of a partition that knows `booked` of it; nothing: it knows.
    pub(crate) fn changes(
        &self,
        name: &str,
        booked: Option<&ServiceRecord>,
    ) -> Option<Vec<OutboxChange>> {
        let service = name.to_owned();
        let forget = || OutboxChange::Forget { service: service.clone() };
        if self.forgotten {
            return booked.map(|_| vec![forget()]);
        }
        let record = self.record(name);
        if booked == Some(&record) {
            return None;
        }
        let another = booked.is_some_and(|booked| booked.revision < self.born);
        let from_start = self.terms.from_start;
        let described = OutboxChange::Service { record, from_start };
        Some(another.then(forget).into_iter().chain([described]).collect())
    }
}

/// The key of a service's record.
pub(crate) fn key(name: &str) -> String {
    format!("{SERVICES}{name}")
}

/// The service of a key, and what stands below its record.
pub(crate) fn parts(key: &str) -> Option<(&str, Option<&str>)> {
    let rest = key.strip_prefix(SERVICES)?;
    match rest.split_once('/') {
        Some((name, below)) => Some((name, Some(below))),
        None => Some((rest, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn terms(kinds: &[&str]) -> Terms {
        let kinds: Vec<String> = kinds.iter().map(|&kind| kind.to_owned()).collect();
        Terms::new(Dialect::Webhook, Order::Chat, &kinds, BatchLimits::default(), false)
    }

    fn writes(meeting: Meeting) -> Agreed {
        match meeting {
            Meeting::Write(agreed) => agreed,
            other => panic!("{other:?}"),
        }
    }

    fn begun() -> Agreed {
        writes(Agreed::meet(None, &node("n1"), &terms(&["*"])))
    }

    /// When this breaks, what stands in registries is no longer readable.
    #[test]
    fn a_record_has_the_json_it_always_had() {
        let mut agreed = begun().written(7);
        let json = r#"{"format":1,"revision":1,"born":0,"terms":{"dialect":"webhook","order":"chat","kinds":["*"],"events":100,"bytes":262144,"linger_ms":0,"from_start":false},"#;
        let told = String::from_utf8(agreed.encode()).unwrap();
        assert!(told.starts_with(json), "{told}");
        let at = (42, node("n2"));
        agreed.stopped = Some(Stopped { cause: Cause::GaveUp, at_ms: at.0, node: at.1 });
        let told = String::from_utf8(agreed.encode()).unwrap();
        assert!(told.contains(r#""stopped":{"cause":"gave-up","at_ms":42,"node":"n2"}"#), "{told}");
        assert_eq!(Agreed::decode(told.as_bytes()), Ok(agreed));
        assert_eq!(Agreed::decode(br#"{"format":2}"#), Err(InvalidAgreed::Format(2)));
        assert!(matches!(Agreed::decode(b"{\"form"), Err(InvalidAgreed::Json(_))));
    }

    #[test]
    fn a_file_changes_the_record_only_when_it_was_changed_itself() {
        let (one, two) = (node("n1"), node("n2"));
        let (old, new) = (terms(&["*"]), terms(&["text"]));
        let first = begun();
        assert_eq!(Agreed::meet(Some(&first), &one, &old), Meeting::Same);
        let known = writes(Agreed::meet(Some(&first), &two, &old));
        assert_eq!((known.revision, known.files.len()), (1, 2));
        let changed = writes(Agreed::meet(Some(&known), &one, &new));
        assert_eq!((changed.revision, &changed.terms), (2, &new));
        assert_eq!(
            Agreed::meet(Some(&changed), &two, &old),
            Meeting::Differs,
            "it is the older file"
        );
        let followed = writes(Agreed::meet(Some(&changed), &two, &new));
        assert_eq!(followed.revision, 2, "it says what the record says");
        assert_eq!(Agreed::meet(Some(&followed), &one, &new), Meeting::Same);
    }

    #[test]
    fn a_node_that_comes_with_another_file_changes_nothing() {
        let first = begun();
        let noted = writes(Agreed::meet(Some(&first), &node("n2"), &terms(&["text"])));
        assert_eq!((noted.revision, &noted.terms), (1, &first.terms));
        assert_eq!(Agreed::meet(Some(&noted), &node("n2"), &terms(&["text"])), Meeting::Differs);
    }

    #[test]
    fn what_was_forgotten_and_comes_again_is_another_service() {
        let mut agreed = begun();
        let before = agreed.record("crm");
        assert_eq!(agreed.changes("crm", Some(&before)), None);
        assert_eq!(agreed.changes("crm", None).map(|changes| changes.len()), Some(1));
        agreed.forgotten = true;
        let forget = OutboxChange::Forget { service: "crm".to_owned() };
        assert_eq!(agreed.changes("crm", Some(&before)), Some(vec![forget.clone()]));
        assert_eq!(agreed.changes("crm", None), None);
        let again = writes(Agreed::meet(Some(&agreed), &node("n3"), &terms(&["*"])));
        assert!(!again.forgotten && again.stopped.is_none());
        let changes = again.changes("crm", Some(&before)).unwrap();
        assert_eq!((&changes[0], changes.len()), (&forget, 2), "a partition that had not heard it");
        assert_eq!(again.changes("crm", Some(&again.record("crm"))), None);
    }

    #[test]
    fn what_logs_have_from_before_there_was_a_record_stays() {
        let old = ServiceRecord { revision: 0, ..begun().record("crm") };
        let changes = begun().changes("crm", Some(&old)).unwrap();
        assert!(matches!(changes.as_slice(), [OutboxChange::Service { .. }]));
    }

    #[test]
    fn a_revision_that_cannot_be_counted_on_from_is_refused() {
        let sound = Agreed { revision: COUNT_MAX, ..begun() };
        assert_eq!(Agreed::decode(&sound.encode()), Ok(sound.clone()));
        let revision = COUNT_MAX + 1;
        let late = Agreed { revision, ..sound.clone() };
        assert_eq!(Agreed::decode(&late.encode()), Err(InvalidAgreed::Unsound));
        let born = Agreed { born: revision, ..sound };
        assert_eq!(Agreed::decode(&born.encode()), Err(InvalidAgreed::Unsound));
    }

    #[test]
    fn keys_say_whose_they_are() {
        assert_eq!(parts("services/crm"), Some(("crm", None)));
        assert_eq!(parts("services/crm/want/n1"), Some(("crm", Some("want/n1"))));
        assert_eq!(parts("plugins/live"), None);
        assert_eq!(key("crm"), "services/crm");
    }
}
