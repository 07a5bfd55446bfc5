//! For those who watch a node: does it run, can it be asked, what has it counted.

use axum::response::IntoResponse;
use chat::Code;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::{Answered, json};
use crate::asked::Asked;
use crate::auth::{Operating, Public, Within};
use crate::metrics::render;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{HealthyShape, ReadyShape};

/// Prometheus' text format.
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[utoipa::path(
    get, path = "/healthz", tag = "watching",
    security(()),
    responses((status = 200, description = "The node runs", body = HealthyShape)),
)]
/// Whether the node runs.
pub(super) async fn healthz(_asked: Asked<Public>) -> Answered {
    json(StatusCode::OK, &HealthyShape { status: "ok" })
}

#[utoipa::path(
    get, path = "/readyz", tag = "watching",
    security(()),
    responses(
        (status = 200, description = "Every partition has a leader", body = ReadyShape),
        (status = "default", description = "`not-ready`, and what is missing", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Whether the node can be asked.
pub(super) async fn readyz(asked: Asked<Public>) -> Answered {
    let readiness = asked.edge().ask.readiness();
    let (partitions, led) = (readiness.partitions, readiness.led);
    let missing = if readiness.stopping {
        "the node is stopping".to_owned()
    } else if partitions == 0 {
        "the cluster does not exist yet".to_owned()
    } else if led < partitions {
        format!("{led} of {partitions} partitions have a leader")
    } else {
        let thin = readiness.thin;
        return json(StatusCode::OK, &ReadyShape { ready: true, partitions, led, thin });
    };
    Err(Problem::new(Code::NotReady, missing))
}

#[utoipa::path(
    get, path = "/metrics", tag = "watching",
    security(("token" = ["admin"])),
    responses((status = 200, description = "Counters, in Prometheus' text format", body = String,
               content_type = "text/plain")),
)]
/// What the process has counted.
pub(super) async fn metrics(_asked: Asked<Within<Operating>>) -> Answered {
    counted()
}

/// What the process has counted, for whoever may see it.
pub(crate) fn counted() -> Answered {
    Ok(([(CONTENT_TYPE, PROMETHEUS)], render()).into_response())
}
