//! Where a service answers, as an operator writes it: `https://crm.example/hook`.
//!
//! Few forms are taken, so that what is dialled, what stands in `Host` and what the certificate must say
//! are the same thing: no user, no fragment, no letters beyond ASCII. A URL may carry a secret in its path
//! or query, so only its origin is ever shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Bytes of a URL, and of the path that a request adds to it.
const URL_BYTES_MAX: usize = 4 << 10;
/// Letters of a host's name: DNS has no longer ones.
const HOST_BYTES_MAX: usize = 253;

/// A service's URL.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    pub(crate) origin: Origin,
    /// From its `/` on; empty for nothing.
    path: String,
    /// What follows the `?`.
    query: Option<String>,
}

/// The part of a URL that a connection needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// In TLS.
    Https,
}

/// What stands for the machine in a URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// Something that a resolver knows.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// The text is no URL that a service can have. Nothing was sent; it wants the form `https://host/path`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It does not begin as one. Nothing was sent; write `https://` or `http://` before the host.
    #[error("a service's URL begins with https:// or http://")]
    Scheme,
    /// A user or a password stands in it. Nothing was sent; use `token_file` or `secret_file`.
    #[error("a service's URL holds no user: use token_file or secret_file")]
    User,
    /// What should be the host is none. Nothing was sent; write a name in ASCII or an address.
    #[error("a service's URL names a host, in ASCII")]
    Host,
    /// What should be the port is none. Nothing was sent; write 1 to 65535, or nothing.
    #[error("a service's URL names a port from 1 to 65535, or none")]
    Port,
    /// Path or query cannot be sent. Nothing was sent; write other letters as `%XX`, and no fragment.
    #[error("path and query of a service's URL are visible ASCII, without a fragment")]
    Path,
}

impl ServiceUrl {
    /// What is dialled, and what a `Host` header says: no port where it is the usual one.
    pub(crate) fn authority(&self) -> String {
        let Origin { scheme, host, port } = &self.origin;
        if *port == scheme.port() { host.to_string() } else { format!("{host}:{port}") }
    }

    /// What is asked for when a request adds `path` to this URL; a query may stand in both.
    ///
    /// # Errors
    /// Why `path` must not be sent.
    pub(crate) fn join(&self, path: &str) -> Result<String, &'static str> {
        let (added, query) = match path.split_once('?') {
            Some((added, query)) => (added, Some(query)),
            None => (path, None),
        };
        fit(added, path)?;
        // Where nothing is added the operator's last slash stays: to some servers it is another place.
        let own = if added.is_empty() { &self.path } else { self.path.trim_end_matches('/') };
        let mut whole = format!("{own}{added}");
        if whole.is_empty() {
            whole.push('/');
        }
        let queries = [self.query.as_deref(), query];
        for (query, mark) in queries.into_iter().flatten().zip(['?', '&']) {
            whole.push(mark);
            whole.push_str(query);
        }
        Ok(whole)
    }
}

impl Scheme {
    /// The port of a URL that names none.
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Whether a plugin's path stays below the URL it is added to.
fn fit(added: &str, path: &str) -> Result<(), &'static str> {
    if path.len() > URL_BYTES_MAX {
        return Err("the path is too long");
    }
    if !path.bytes().all(is_plain) {
        return Err("a path is visible ASCII, without a fragment");
    }
    if !(added.is_empty() || added.starts_with('/')) {
        return Err("a path begins with /");
    }
    let leads_up = added.split('/').any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        matches!(part.as_str(), "." | "..")
    });
    let hides = added.starts_with("//") || added.contains('\\');
    let encoded = added.to_ascii_lowercase();
    if leads_up || hides || encoded.contains("%2f") || encoded.contains("%5c") {
        return Err("a path does not lead out of the service's URL");
    }
    Ok(())
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#\"<>`{}|^".contains(&byte)
}

impl FromStr for ServiceUrl {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(is_plain) {
            return Err(InvalidUrl::Path);
        }
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(InvalidUrl::Scheme),
        };
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUrl::User);
        }
        let (host, port) = parts(authority)?;
        let usual = scheme.port();
        let port = port.map_or(Ok(usual), parse_port)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        if path.contains('\\') {
            return Err(InvalidUrl::Path);
        }
        let origin = Origin { scheme, host, port };
        Ok(Self { origin, path: path.to_owned(), query })
    }
}

/// Host and port of `authority`.
fn parts(authority: &str) -> Result<(Host, Option<&str>), InvalidUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(InvalidUrl::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_no_address| InvalidUrl::Host)?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':').ok_or(InvalidUrl::Host)?),
        };
        return Ok((Host::Address(address.into()), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((Host::Address(address.into()), port));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(fits) {
        return Err(InvalidUrl::Host);
    }
    Ok((Host::Name(host.to_ascii_lowercase()), port))
}

fn parse_port(text: &str) -> Result<u16, InvalidUrl> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port > 0);
    port.filter(|_| digits).ok_or(InvalidUrl::Port)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.origin.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidUrl, ServiceUrl};

    #[test]
    fn a_url_is_a_scheme_a_host_and_what_follows() {
        let read = |url: &str, path: &str| {
            let url: ServiceUrl = url.parse().unwrap();
            (url.to_string(), url.join(path).unwrap())
        };
        let pair = |origin: &str, path: &str| (origin.to_owned(), path.to_owned());
        assert_eq!(read("https://A.example", ""), pair("https://a.example", "/"));
        assert_eq!(read("https://a.example:443/hook/", "/x"), pair("https://a.example", "/hook/x"));
        assert_eq!(read("https://a.example/hook/", ""), pair("https://a.example", "/hook/"));
        assert_eq!(read("HTTP://127.0.0.1:80", "/x?y=1"), pair("http://127.0.0.1", "/x?y=1"));
        assert_eq!(
            read("http://[::1]:8080/a?b=c", "/d?e"),
            pair("http://[::1]:8080", "/a/d?b=c&e")
        );
        assert_eq!(read("https://a?k=1", ""), pair("https://a", "/?k=1"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (bad, why) in [
            ("ftp://a", InvalidUrl::Scheme),
            ("a.example", InvalidUrl::Scheme),
            ("https://u:p@a", InvalidUrl::User),
            ("https://a@b:1/", InvalidUrl::User),
            ("https://", InvalidUrl::Host),
            ("https:///x", InvalidUrl::Host),
            ("https://[::1", InvalidUrl::Host),
            ("https://[::1]x", InvalidUrl::Host),
            ("https://a%41", InvalidUrl::Host),
            ("https://a:0", InvalidUrl::Port),
            ("https://a:", InvalidUrl::Port),
            ("https://a:+80", InvalidUrl::Port),
            ("https://a:65536", InvalidUrl::Port),
            ("https://a/b#c", InvalidUrl::Path),
            ("https://a/ b", InvalidUrl::Path),
            ("https://ä/", InvalidUrl::Path),
            ("https://a\\b", InvalidUrl::Path),
            ("https://a/\r\nx: y", InvalidUrl::Path),
        ] {
            assert_eq!(bad.parse::<ServiceUrl>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_path_does_not_lead_out_of_its_url() {
        let url: ServiceUrl = "https://a/hook".parse().unwrap();
        for bad in [
            "x",
            "/../admin",
            "/x/..",
            "/%2e%2E/admin",
            "/.%2e/x",
            "//b/x",
            "/a\\..\\b",
            "/x%2f..",
            "/a b",
            "/x#y",
            "/x\r\ny",
            "/..",
        ] {
            assert!(url.join(bad).is_err(), "{bad}");
        }
        assert_eq!(url.join("/x..y/z?a=../b").as_deref(), Ok("/hook/x..y/z?a=../b"));
        assert!(url.join(&format!("/{}", "x".repeat(5000))).is_err());
    }

    #[test]
    fn nothing_but_the_origin_is_shown() {
        let url: ServiceUrl = "https://a/hook/hush?key=hush".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://a https://a");
    }
}
