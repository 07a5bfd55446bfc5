//! The archive over HTTP: collections, and objects in them.
//!
//! Bytes are never collected: what comes goes on as it comes, and what goes out is read while it is taken.
//! Names and who may use them are read in [`crate::auth`], where the object is, is the archive's to know.

mod collections;
mod headers;
mod objects;
mod range;
mod uploads;

use archive::{InvalidVersion, UnifiedId};
use runtime::Instant;

use super::Edge;
use crate::problem::Problem;

pub(super) use collections::{__path_create, __path_list, create, list};
pub(super) use objects::{__path_delete, __path_get, __path_head, delete, get, head};
pub(super) use uploads::{__path_act, __path_put, act, put};

/// Until when the archive must have answered.
fn until(edge: &Edge) -> Instant {
    runtime::now() + edge.config.patience.answer
}

/// A version, in a query.
fn version(field: &str, text: Option<&str>) -> Result<Option<UnifiedId>, Problem> {
    let wrong = |wrong: InvalidVersion| Problem::invalid(format!("{field}: {wrong}"));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}
