//! Generations of plugins across nodes: prepare everywhere, one compare-and-set, rollback, audit.
//!
//! Which version of which plugin is live stands in the registry, in one record for all of them
//! ([`LiveSet`]). A new version is pushed to one node, which keeps it by its digest; the others fetch it.
//! Every registered node prepares it beside its messages: digest, signature, compiling, linking, its own
//! word about its configuration, a self-test. Only when all of them are ready is the record replaced, by
//! one compare-and-set; each node learns of it, switches, and says so. Whatever fails before that changes
//! nothing, and what fails on a node after it keeps that node from serving by an earlier version where a
//! later one has been.
//!
//! The cores are pure: [`record`](LiveSet) decides what a change makes of a record, `gathering` who has to
//! be ready and for how long they are waited for. A [`Rollout`] is the driver of one node.

#![forbid(unsafe_code)]

mod artefacts;
mod aside;
mod audit;
mod beside;
mod changing;
mod digest;
mod fetching;
mod following;
mod gathering;
mod guard;
mod guarding;
mod last;
mod meters;
mod preparation;
mod preparing;
mod progress;
mod question;
mod record;
mod refused;
mod rollout;
mod settings;
mod shadowing;
mod signature;
mod starting;
mod transfer;
mod versions;

pub use artefacts::{ARTEFACT_BYTES_MAX, ArtefactError};
pub use audit::{AUDIT_TOLD_MAX, AuditLine};
pub use digest::{Digest, InvalidDigest};
pub use guard::Guard;
pub use preparation::{Step, Told};
pub use progress::{Changed, NodeProgress, Progress, Pushed};
pub use question::{is_piece, is_question};
pub use record::{InvalidRecord, LIVE, LivePlugin, LiveSet, PAST_MAX, PLUGINS_MAX, Past, is_name};
pub use refused::Refused;
pub use rollout::Rollout;
pub use settings::{
    Beside, Explain, GuardOf, Hook, Lineup, Point, Settings, SpecOf, Switch, Unusable,
};
pub use shadowing::{SHADOW_MAX, Trial, Trialled};
pub use signature::{InvalidKey, Trust, Unsigned, statement};
pub use starting::{Begun, StartError};
