//! A connection that goes on without HTTP: what is known of it from the request that asked for that.

use std::sync::Arc;

use chat::Code;
use hyper::header::AUTHORIZATION;
use hyper::upgrade::OnUpgrade;

use crate::asked::Asked;
use crate::auth::{Caller, Public};
use crate::connected::Connected;
use crate::endpoints::Edge;
use crate::problem::Problem;

/// What an endpoint that stops speaking HTTP goes on with.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) edge: Arc<Edge>,
    pub(crate) connected: Connected,
    pub(crate) request_id: String,
    /// Who asks; nobody if a token is wanted and the request brought none.
    pub(crate) caller: Option<Caller>,
    pub(crate) upgrade: OnUpgrade,
}

impl Handshake {
    /// Goes on without HTTP. Who asks is looked at here if the request says it, as a browser's cannot;
    /// what they may is asked for everything they do.
    pub(crate) async fn begin(mut asked: Asked<Public>) -> Result<Self, Problem> {
        let connected = asked.connected()?;
        let request_id = asked.id().to_owned();
        let upgrade = asked.parts.extensions.remove::<OnUpgrade>();
        let missing = || Problem::new(Code::Internal, "a connection that can only speak HTTP");
        let upgrade = upgrade.ok_or_else(missing)?;
        let brought = asked.parts.headers.contains_key(AUTHORIZATION);
        let caller = match asked.edge.auth.identify(&mut asked.parts.headers).await {
            Ok(caller) => Some(caller),
            Err(_none_yet) if !brought => None,
            Err(reason) => {
                asked.edge.auth.count(reason);
                return Err(reason.problem());
            }
        };
        Ok(Self { edge: asked.edge, connected, request_id, caller, upgrade })
    }
}
