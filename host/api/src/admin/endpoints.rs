//! The answers to operators, one function an endpoint.

use chat::Code;
use hashring::NodeId;
use hyper::StatusCode;

use super::order::Order;
use super::shape::{AboutShape, Drain, DrainingShape, Leave, LeavingShape, PartitionsShape, going};
use super::{Desk, Doing};
use crate::endpoints::{Answered, counted, json};
use crate::problem::Problem;
use crate::shape::RingShape;

pub(super) async fn info(order: Order) -> Answered {
    json(StatusCode::OK, &AboutShape::new(&order.into_desk().operate.about()))
}

pub(super) async fn ring(order: Order) -> Answered {
    json(StatusCode::OK, &RingShape::new(&order.into_desk().operate.ring()))
}

pub(super) async fn partitions(order: Order) -> Answered {
    json(StatusCode::OK, &PartitionsShape::new(&order.into_desk().operate.partitions()))
}

/// Here too, because the clients' edge asks for a token of an operator where it asks for tokens.
pub(super) async fn metrics(_order: Order) -> Answered {
    counted()
}

/// Begins and says so; how far it is stands in `info`.
pub(super) async fn drain(mut order: Order) -> Answered {
    let Drain { draining, force } = order.json().await?;
    let desk = order.into_desk();
    in_time(&desk, desk.operate.drain(going(draining, force))).await?;
    let draining = draining.unwrap_or(true);
    json(StatusCode::OK, &DrainingShape { draining, led: desk.operate.about().led })
}

pub(super) async fn leave(mut order: Order) -> Answered {
    let Leave { node, leaving, force } = order.json().await?;
    let node: NodeId = node.parse().map_err(|wrong| Problem::invalid(format!("node: {wrong}")))?;
    let desk = order.into_desk();
    in_time(&desk, desk.operate.leave(node.clone(), going(leaving, force))).await?;
    let leaving = leaving.unwrap_or(true);
    json(StatusCode::OK, &LeavingShape { node: &node, leaving })
}

/// Waits as long as anybody may wait for an answer.
pub(super) async fn in_time<T>(desk: &Desk, doing: Doing<'_, T>) -> Result<T, Problem> {
    match runtime::timeout(desk.patience.answer, doing).await {
        Ok(done) => done.map_err(Problem::from),
        Err(_elapsed) => Err(Problem::new(Code::Timeout, "no answer in time")),
    }
}
