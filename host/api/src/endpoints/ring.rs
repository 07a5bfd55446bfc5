//! The ring as this node knows it.

use hyper::StatusCode;

use super::{Answered, json};
use crate::asked::Asked;
use crate::auth::{Reads, Within};
use crate::problem::ProblemShape;
use crate::shape::RingShape;

#[utoipa::path(
    get, path = "/v1/ring", tag = "cluster",
    security(("token" = ["read"])),
    responses(
        (status = 200, description = "Nodes and positions", body = RingShape<'static>),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Show the ring.
pub(super) async fn ring(asked: Asked<Within<Reads>>) -> Answered {
    asked.no_query()?;
    let ring = asked.edge().ask.ring();
    json(StatusCode::OK, &RingShape::new(&ring))
}
