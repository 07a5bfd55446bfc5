//! `[http]`, `[admin]` and `[quic]`: where a node listens, for whom, and what others are told of that.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::read::{Reading, Section};

/// `[http]`: where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub listen: SocketAddr,
    /// The host and port that clients and other nodes are told; empty: the address listened on.
    pub advertise: String,
}

/// `[admin]`: where operators connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminListener {
    /// The address.
    pub listen: SocketAddr,
}

/// `[quic]`: where other nodes connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quic {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address others are told; empty: the one listened on.
    pub advertise: String,
    /// This node's certificate, PEM. Empty, with `key` and `ca`: made in memory, for a node that is alone.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Default for Listener {
    fn default() -> Self {
        Self { listen: loopback(7081), advertise: String::new() }
    }
}

impl Default for AdminListener {
    fn default() -> Self {
        Self { listen: loopback(7181) }
    }
}

impl Default for Quic {
    fn default() -> Self {
        let none = PathBuf::new();
        let listen = loopback(7091);
        Self { listen, advertise: String::new(), cert: none.clone(), key: none.clone(), ca: none }
    }
}

impl Listener {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "listen", &mut self.listen);
        table.key(reading, "advertise", &mut self.advertise);
    }
}

impl AdminListener {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "listen", &mut self.listen);
    }
}

impl Quic {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "listen", &mut self.listen);
        table.key(reading, "advertise", &mut self.advertise);
        table.key(reading, "cert", &mut self.cert);
        table.key(reading, "key", &mut self.key);
        table.key(reading, "ca", &mut self.ca);
    }
}
