//! What an operator decides about HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where clients connect and how much they may ask at once. What is not here is a constant beside the
/// code that enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest body of a message, in bytes.
    pub message_bytes: usize,
    /// Connections at once; one more is told `overloaded` and closed.
    pub connections: usize,
    /// Connections of one address at once, loopback excepted; of IPv6, of one /64.
    pub connections_per_address: usize,
    /// How long everything may take.
    pub patience: Patience,
}

/// How long a client, or the chats, may take. The defaults are what is promised; tests are less patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A new connection, until its first byte.
    pub first_byte: Duration,
    /// The head of a request; also a connection at rest between two requests.
    pub head: Duration,
    /// The body of a request.
    pub body: Duration,
    /// An answer, while its client takes none of it.
    pub stall: Duration,
    /// The chats over a request, beside what a reader wants to wait.
    pub answer: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7081)),
            message_bytes: 64 << 10,
            connections: 2000,
            connections_per_address: 100,
            patience: Patience::default(),
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            // Longer than the five seconds after which replication calls a send's outcome unknown, so
            // that clients hear that and not a time-out of ours.
            answer: Duration::from_secs(8),
        }
    }
}
