//! What QUIC between two nodes costs with nothing on top: the floor that a bench compares with.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hashring::NodeId;
use quinn::Connection;

use crate::Authority;
use crate::tls::{Credentials, TlsError};
use crate::transport::{self, EndpointError};

/// Bytes of a round trip, each way.
const BYTES: usize = 200;
/// How long one may take before the measurement is given up.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);

/// The measurement did not come to an end. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// The endpoints could not be made. Nothing was measured; see the cause.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No certificate could be made. Nothing was measured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection broke, or a round trip took too long. What was measured is thrown away.
    #[error("the connection: {0}")]
    Connection(String),
}

/// Round trips of 200 bytes over one long-lived stream between two endpoints on loopback, with the
/// certificates and settings that nodes use: how long each took, in order.
///
/// # Errors
/// [`FloorError`].
pub async fn floor_quic(round_trips: usize) -> Result<Vec<Duration>, FloorError> {
    let authority = Authority::new("floor")?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = |name: &str| {
        let node: NodeId = name.parse().map_err(lost)?;
        let credentials = Credentials::new(&authority.issue(&node)?)?;
        Ok::<_, FloorError>((transport::endpoint(&node, &credentials, here)?, node))
    };
    let (near, _) = endpoint("near")?;
    let (far, far_node) = endpoint("far")?;
    let address = far.local_addr().map_err(lost)?;
    let dialled = async {
        let name = crate::tls::server_name(&far_node);
        near.connect(address, &name).map_err(lost)?.await.map_err(lost)
    };
    let accepted = async {
        let incoming = far.accept().await.ok_or_else(|| lost("nobody came"))?;
        incoming.accept().map_err(lost)?.await.map_err(lost)
    };
    let (dialled, accepted) = tokio::try_join!(dialled, accepted)?;
    let tasks = runtime::Tasks::current(runtime::Stop::default());
    tasks.spawn("echo", async move { drop(echo(accepted).await) });
    let took = measure(&dialled, round_trips).await;
    dialled.close(0_u32.into(), b"");
    tasks.finish().await;
    took
}

async fn echo(connection: Connection) -> Result<(), FloorError> {
    let (mut out, mut from) = connection.accept_bi().await.map_err(lost)?;
    let mut bytes = [0; BYTES];
    loop {
        from.read_exact(&mut bytes).await.map_err(lost)?;
        out.write_all(&bytes).await.map_err(lost)?;
    }
}

async fn measure(connection: &Connection, round_trips: usize) -> Result<Vec<Duration>, FloorError> {
    let (mut out, mut from) = connection.open_bi().await.map_err(lost)?;
    let mut bytes = [7; BYTES];
    let mut took = Vec::with_capacity(round_trips);
    for _ in 0..round_trips {
        let began = runtime::now();
        let trip = runtime::timeout(ROUND_TRIP_MAX, async {
            out.write_all(&bytes).await.map_err(lost)?;
            from.read_exact(&mut bytes).await.map_err(lost)
        });
        trip.await.map_err(lost)??;
        took.push(runtime::now().saturating_duration_since(began));
    }
    Ok(took)
}

fn lost(error: impl std::fmt::Display) -> FloorError {
    FloorError::Connection(error.to_string())
}

#[cfg(test)]
mod tests {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_round_trip_is_measured() {
        let took = super::floor_quic(20).await.unwrap();
        assert_eq!(took.len(), 20);
        assert!(took.iter().all(|trip| !trip.is_zero()));
    }
}
