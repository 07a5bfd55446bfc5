//! Where a node answers: the part of a URL that a connection needs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Host and port of a node, from `http://host:port`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(Arc<str>);

/// The text is not a URL this client can use. Nothing was sent; it wants `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a URL like http://127.0.0.1:7081")]
pub struct InvalidUrl(pub String);

impl Target {
    /// `host:port`, for the connection and for the `Host` header.
    pub fn authority(&self) -> &str {
        &self.0
    }
}

impl FromStr for Target {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(url.to_owned());
        let authority = url.strip_prefix("http://").ok_or_else(invalid)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(plain) {
            return Err(invalid());
        }
        // A colon inside brackets belongs to an address.
        let after_host = authority.rsplit(']').next().unwrap_or(authority);
        match after_host.split_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Self(authority.into())),
            Some(_) => Err(invalid()),
            None => Ok(Self(format!("{authority}:80").into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_target_is_host_and_port() {
        let authority = |url: &str| url.parse::<Target>().ok().map(|at| at.authority().to_owned());
        assert_eq!(authority("http://127.0.0.1:7081").as_deref(), Some("127.0.0.1:7081"));
        assert_eq!(authority("http://[::1]:7081/").as_deref(), Some("[::1]:7081"));
        assert_eq!(authority("http://node").as_deref(), Some("node:80"));
        for bad in ["", "https://a:1", "http://", "http://a:x", "http://a:1/b", "http://a b", "a:1"]
        {
            assert_eq!(authority(bad), None, "{bad}");
        }
    }
}
