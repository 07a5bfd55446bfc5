//! What a service registry is opened with.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, User};

/// What a service registry is opened with. [`Config::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The ensemble: `host:port` with commas between them, and a path behind the last one when
    /// everything is below it.
    pub servers: String,
    /// How long one call may take, and the first connection; 5 s.
    pub timeout: Duration,
    /// How long the ensemble keeps what is ephemeral after it last heard of this program; 6 s. The
    /// servers bound it, usually to 4 s and above.
    pub session: Duration,
    /// Only read: everything that would change something is refused, and a server without a quorum
    /// will do.
    pub read_only: bool,
    /// Begin without the ensemble: it is connected when it can be, and what is set until then is
    /// deferred.
    pub lazy: bool,
    /// Who this program is; nobody in particular if not given.
    pub user: Option<User>,
    /// Where last known values are kept across restarts; nowhere if not given.
    pub cache: Option<PathBuf>,
    /// How much the ensemble is asked, and how much is remembered.
    pub bounds: Bounds,
}

/// How much the ensemble is asked, and how much is remembered. Each has a default one can live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls a second, of the program and of its watches together; 1,000. One server answers tens of
    /// thousands, and shares them among all programs.
    pub calls_per_second: u32,
    /// Calls at once before the rate holds; 1,000: a program that starts reads everything it needs.
    pub calls_at_once: u32,
    /// Paths watched; 1,024. Each holds its value in memory and two watches on the server.
    pub watched_max: usize,
    /// Children of a watched path; 4,096. Each holds its value in memory and a watch on the server.
    pub children_max: usize,
    /// Paths set; 1,024. Each has a task, and one watch when it is ephemeral.
    pub set_max: usize,
}

impl Config {
    /// The ensemble at `servers`, and the defaults.
    pub fn new(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            timeout: Duration::from_secs(5),
            session: Duration::from_secs(6),
            read_only: false,
            lazy: false,
            user: None,
            cache: None,
            bounds: Bounds::default(),
        }
    }

    /// Refuses what could never work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |what: &str| Err(Error::Config { what: what.to_owned() });
        let hosts = self.servers.split_once('/').map_or(self.servers.as_str(), |(hosts, _)| hosts);
        if hosts.split(',').any(|host| host.trim().is_empty()) {
            return bad("the ensemble is host:port with commas between them");
        }
        if self.timeout.is_zero() || self.session < SESSION_MIN {
            return bad("a call needs some time, and a session at least 100 ms");
        }
        Ok(())
    }
}

/// Below this a session ends between two of its own signs of life.
const SESSION_MIN: Duration = Duration::from_millis(100);

impl Default for Bounds {
    fn default() -> Self {
        Self {
            calls_per_second: 1000,
            calls_at_once: 1000,
            watched_max: 1024,
            children_max: 4096,
            set_max: 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use std::time::Duration;

    #[test]
    fn an_ensemble_without_hosts_is_refused() {
        for servers in ["", "/root", "a,,b", "a, /x"] {
            assert!(Config::new(servers).check().is_err(), "{servers:?}");
        }
        for servers in ["a", "a:1,b:2", "a:1,b/x/y", "[::1]:2181"] {
            assert_eq!(Config::new(servers).check(), Ok(()), "{servers:?}");
        }
        let none = Config { timeout: Duration::ZERO, ..Config::new("a") };
        assert!(none.check().is_err());
    }
}
