//! A new connection to a service, to an address that was checked.
//!
//! The address that is checked is the one that is dialled, so it does not matter what the name meant a
//! moment ago or means in the next. In the clear only such addresses are called as the operator has
//! named: what a token and a conversation cross there is their own network.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use runtime::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::address::{Range, Reach, check};
use crate::resolver::Resolve;
use crate::service_url::{Host, Origin, Scheme};
use crate::trust::Trust;

/// Addresses of one name that are tried, one after the other, in the time for one connection.
const ADDRESSES_MAX: usize = 4;

/// A connection, whatever is spoken below HTTP.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) trust: Trust,
}

/// There is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The name means nothing. Nothing was sent; the name server may know it later.
    #[error("{host} cannot be looked up: {source}")]
    Unknown { host: String, source: io::Error },
    /// The name has no address. Nothing was sent; the name server may know one later.
    #[error("{host} has no address")]
    Nowhere { host: String },
    /// No address of it may be called. Nothing was sent; an operator can allow it.
    #[error("{host} is at {address}, which is {kind}: name it in allow_private if that is meant")]
    Forbidden { host: String, address: IpAddr, kind: &'static str },
    /// It is outside, and TLS was not asked for. Nothing was sent; an operator can ask for it.
    #[error(
        "{host} is at {address}, and nothing is sent there in the clear: let url begin with https://"
    )]
    Clear { host: String, address: IpAddr },
    /// Nobody takes the connection. Nothing was sent; somebody may listen later.
    #[error("{host} does not take a connection at {address}: {source}")]
    Refused { host: String, address: IpAddr, source: io::Error },
    /// Its certificate is not believed, or it speaks no TLS. Nothing was sent; either side's operator can
    /// mend it.
    #[error("no TLS with {host}: {source}")]
    Tls { host: String, source: io::Error },
    /// It took too long. Nothing was sent; it may be faster later.
    #[error("no connection to {host} within {} ms", limit.as_millis())]
    Late { host: String, limit: Duration },
}

impl Dialer {
    /// A connection to `origin` within `limit`, and the address it goes to.
    pub(crate) async fn dial(
        &self,
        origin: &Origin,
        allowed: &[Range],
        limit: Duration,
    ) -> Result<(Box<dyn Stream>, IpAddr), DialError> {
        let deadline = runtime::now() + limit;
        let dialling = Box::pin(self.dial_until(origin, allowed, deadline));
        let late = |_elapsed| DialError::Late { host: origin.host.to_string(), limit };
        runtime::timeout(limit, dialling).await.map_err(late)?
    }

    async fn dial_until(
        &self,
        origin: &Origin,
        allowed: &[Range],
        deadline: Instant,
    ) -> Result<(Box<dyn Stream>, IpAddr), DialError> {
        let addresses = self.addresses(&origin.host).await?;
        let addresses = permitted(origin, &addresses, allowed)?;
        let (stream, address) = connect(origin, &addresses, deadline).await?;
        match origin.scheme {
            Scheme::Http => Ok((Box::new(stream), address)),
            Scheme::Https => {
                let failed = |source| DialError::Tls { host: origin.host.to_string(), source };
                let stream = self.trust.greet(&origin.host, stream).await.map_err(failed)?;
                Ok((Box::new(stream), address))
            }
        }
    }

    async fn addresses(&self, host: &Host) -> Result<Vec<IpAddr>, DialError> {
        match host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => {
                let unknown = |source| DialError::Unknown { host: name.clone(), source };
                self.resolver.resolve(name).await.map_err(unknown)
            }
        }
    }
}

/// Those of `addresses` that may be dialled; if none may, why the first one may not.
fn permitted(
    origin: &Origin,
    addresses: &[IpAddr],
    allowed: &[Range],
) -> Result<Vec<IpAddr>, DialError> {
    let host = || origin.host.to_string();
    let mut refused = DialError::Nowhere { host: host() };
    let mut permitted = Vec::new();
    for &address in addresses.iter().rev() {
        match may_dial(origin.scheme, address, allowed) {
            Ok(()) => permitted.push(address),
            Err(Some(kind)) => refused = DialError::Forbidden { host: host(), address, kind },
            Err(None) => refused = DialError::Clear { host: host(), address },
        }
    }
    permitted.reverse();
    permitted.truncate(ADDRESSES_MAX);
    if permitted.is_empty() { Err(refused) } else { Ok(permitted) }
}

/// Whether `address` may be spoken to like this. If not: what it is, or nothing where only TLS is missing.
pub(crate) fn may_dial(
    scheme: Scheme,
    address: IpAddr,
    allowed: &[Range],
) -> Result<(), Option<&'static str>> {
    match (check(address, allowed).map_err(Some)?, scheme) {
        (Reach::Allowed, _) | (Reach::Public, Scheme::Https) => Ok(()),
        (Reach::Public, Scheme::Http) => Err(None),
    }
}

/// A connection to the first of `addresses` that takes one. Each gets its share of the time.
async fn connect(
    origin: &Origin,
    addresses: &[IpAddr],
    deadline: Instant,
) -> Result<(TcpStream, IpAddr), DialError> {
    let host = || origin.host.to_string();
    let mut refused = DialError::Nowhere { host: host() };
    for (tried, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(runtime::now()) / left;
        let connecting = TcpStream::connect((address, origin.port));
        let failed = match runtime::timeout(share, connecting).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok((stream, address)),
                Err(error) => error,
            },
            Ok(Err(error)) => error,
            Err(_elapsed) => io::ErrorKind::TimedOut.into(),
        };
        refused = DialError::Refused { host: host(), address, source: failed };
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use super::{DialError, permitted};
    use crate::ServiceUrl;
    use std::net::IpAddr;

    #[test]
    fn only_what_may_be_dialled_is_left_and_the_first_refusal_is_told() {
        let of = |url: &str, addresses: &[&str], allowed: &[&str]| {
            let url: ServiceUrl = url.parse().unwrap();
            let addresses: Vec<IpAddr> =
                addresses.iter().map(|text| text.parse().unwrap()).collect();
            let allowed: Vec<_> = allowed.iter().map(|text| text.parse().unwrap()).collect();
            permitted(&url.origin, &addresses, &allowed)
        };
        let mixed = of("https://a", &["10.0.0.1", "1.1.1.1", "127.0.0.1", "8.8.8.8"], &[]).unwrap();
        assert_eq!(mixed, ["1.1.1.1".parse::<IpAddr>().unwrap(), "8.8.8.8".parse().unwrap()]);
        let refused =
            of("https://a", &["10.0.0.1", "169.254.169.254"], &[]).unwrap_err().to_string();
        assert!(refused.contains("a is at 10.0.0.1, which is private"), "{refused}");
        assert!(matches!(of("http://a", &["1.1.1.1"], &[]), Err(DialError::Clear { .. })));
        assert_eq!(of("http://a", &["1.1.1.1"], &["1.1.1.0/24"]).unwrap().len(), 1);
        assert_eq!(of("http://a", &["10.0.0.1"], &["10.0.0.0/8"]).unwrap().len(), 1);
        assert!(matches!(of("https://a", &[], &[]), Err(DialError::Nowhere { .. })));
        assert_eq!(of("https://a", &["1.1.1.1"; 9], &[]).unwrap().len(), 4);
    }
}
