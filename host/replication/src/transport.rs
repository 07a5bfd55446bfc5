//! One QUIC endpoint a node, and how much it lets others make it hold.
//!
//! quinn's defaults are for one client that trusts its server. Between nodes both sides are servers, so
//! every window, stream count and buffer has a bound here, and what is not used (datagrams, migration,
//! early data) is off.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};

use socket2::SockRef;

use crate::tls::{Credentials, TlsError};

/// Handshakes open at once; further ones are refused.
pub(crate) const HANDSHAKES_MAX: usize = 256;
/// With more handshakes open than this, an address has to show that it can be answered.
pub(crate) const HANDSHAKES_UNPROVEN_MAX: usize = 64;

/// Forwarded calls and streams of bulk data at once a connection, and the control stream.
const BIDI_STREAMS_MAX: u32 = 1024;
/// One for the log; the rest is for catch-up and archives.
const UNI_STREAMS_MAX: u32 = 256;
/// What one stream may send before it is read: one frame of the largest size.
const STREAM_WINDOW: u32 = 1 << 20;
/// What one connection may send before it is read, and what is kept until a peer confirms it.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Silence after which a connection is given up. Beats come every 250 ms, so this is only for a node
/// that died; the core suspects it long before.
const IDLE: VarInt = VarInt::from_u32(10_000);
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Bytes kept of one handshake that nobody has looked at yet, and of all of them.
const INCOMING_BYTES_MAX: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 4 << 20;
/// What the system keeps of a node's datagrams until they are read, and until they are sent: some windows of streams, so
/// that nothing is lost while the processors are busy. The usual 208 KiB lost one of fifteen beside a hundred uploads.
const SOCKET_BYTES: usize = 4 << 20;
/// Largest datagram tried: a jumbo frame. Smaller paths are found out by probing.
const MTU_MAX: u16 = 8900;

/// The endpoint could not be made. Nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The certificates are of no use. Nothing listens; see the cause.
    #[error("certificates")]
    Tls(#[from] TlsError),
    /// TLS cannot be used for QUIC. Nothing listens; this build lacks the cipher that QUIC begins with.
    #[error("no cipher for QUIC")]
    Cipher(#[from] NoInitialCipherSuite),
    /// The address is taken, or not of this machine. Nothing listens; choose another one.
    #[error("listening for nodes on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// An endpoint that listens on `address` in the name of `node`, and dials in its name too. To be called
/// within a runtime.
pub(crate) fn endpoint(
    node: &NodeId,
    credentials: &Credentials,
    address: SocketAddr,
) -> Result<Endpoint, EndpointError> {
    let (client, server) = credentials.configs(node)?;
    let transport = Arc::new(transport());
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
    client.transport_config(Arc::clone(&transport));
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?));
    server
        .transport_config(transport)
        .migration(false)
        .max_incoming(HANDSHAKES_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    let listen = |source| EndpointError::Listen { address, source };
    let socket = UdpSocket::bind(address).map_err(listen)?;
    make_room(&socket);
    let config = EndpointConfig::default();
    let mut endpoint =
        Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).map_err(listen)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

/// Asks the system for room; it gives as much as it allows (`net.core.rmem_max`), which it does not say. With less more
/// datagrams are lost, and sent again.
fn make_room(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    for error in [
        socket.set_recv_buffer_size(SOCKET_BYTES).err(),
        socket.set_send_buffer_size(SOCKET_BYTES).err(),
    ]
    .into_iter()
    .flatten()
    {
        tracing::debug!(%error, "the socket's buffers stay as they are");
    }
}

fn transport() -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_idle_timeout(Some(IdleTimeout::from(IDLE)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None);
    transport
}
