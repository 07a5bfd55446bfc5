//! Where the ZooKeeper ensemble is and how this node behaves towards it.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Problem;

/// Shortest and longest session timeout that makes sense here: below it a pause of the garbage collector
/// ends a session, above it a dead node stays on the ring for minutes. The servers have bounds of their own.
const SESSION: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];
/// Longest digest file, in bytes: one line with a name and a password.
const DIGEST_BYTES_MAX: u64 = 1024;

/// A registry on ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperConfig {
    /// The servers, `host:port` or `host` (port 2181); behind the last one a chroot may stand, which must
    /// exist: `["a:2181", "b:2181/carillon"]`.
    pub hosts: Vec<String>,
    /// The znode below which everything stands; made if it is not there.
    pub root: String,
    /// How long the ensemble keeps a silent node's ephemerals. The servers may give another.
    pub session: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// Who writes; without it every znode is open to everybody.
    pub digest: Option<Digest>,
    /// Where the last known ring is kept, if it is to be.
    pub cache: Option<PathBuf>,
    /// Only to look: nothing is made, also not the root, and no right to write is asked for. What is written
    /// all the same is refused where there are access rules.
    pub observes: bool,
}

/// A user of ZooKeeper's `digest` scheme.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest {
    /// Its name, without a colon.
    pub user: String,
    /// Its password; never logged.
    pub password: String,
}

impl Default for ZooKeeperConfig {
    fn default() -> Self {
        Self {
            hosts: vec!["127.0.0.1:2181".to_owned()],
            root: "/services/carillon".to_owned(),
            session: Duration::from_secs(6),
            timeout: Duration::from_secs(5),
            digest: None,
            cache: None,
            observes: false,
        }
    }
}

impl ZooKeeperConfig {
    /// Whether it can mean anything at all; nobody is asked.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let chroot_last = self.hosts.len().saturating_sub(1);
        for (index, host) in self.hosts.iter().enumerate() {
            let bad = |why| Problem::Hosts { host: host.clone(), why };
            let (address, chroot) = match host.split_once('/') {
                Some((address, chroot)) => (address, Some(chroot)),
                None => (host.as_str(), None),
            };
            if address.contains([',', ' ']) || address.is_empty() {
                return Err(bad("it is not one host"));
            }
            let (name, port) =
                split(address).ok_or_else(|| bad("the port is no number from 1 to 65535"))?;
            if name.is_empty() || port == 0 {
                return Err(bad("it lacks a name, or its port is 0"));
            }
            if let Some(chroot) = chroot {
                if index != chroot_last {
                    return Err(bad("only the last host may have a chroot behind it"));
                }
                if !is_path(chroot) {
                    return Err(bad("the chroot is not a path like /carillon"));
                }
            }
        }
        if self.hosts.is_empty() {
            return Err(Problem::Hosts { host: String::new(), why: "there is none" });
        }
        let sound =
            self.root.strip_prefix('/').is_some_and(|path| path.is_empty() || is_path(path));
        if !sound {
            return Err(Problem::Root { root: self.root.clone() });
        }
        let [least, most] = SESSION;
        if self.session < least || self.session > most || self.timeout.is_zero() {
            return Err(Problem::Times { session: self.session, timeout: self.timeout });
        }
        let user = self.digest.as_ref().map(|digest| digest.user.as_str());
        if user.is_some_and(|user| user.is_empty() || user.contains(':')) {
            return Err(Problem::Digest { why: "a user has a name without a colon".to_owned() });
        }
        Ok(())
    }

    /// The servers as the client wants them: in one line.
    pub(crate) fn servers(&self) -> String {
        self.hosts.join(",")
    }

    /// Name and port of each server.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, u16)> {
        self.hosts.iter().filter_map(|host| split(host.split('/').next()?))
    }

    /// The chroot, if there is one.
    pub(crate) fn chroot(&self) -> Option<&str> {
        self.hosts.last().and_then(|host| host.find('/').and_then(|at| host.get(at..)))
    }
}

impl Digest {
    /// Reads `user:password` from the first line of a file.
    ///
    /// # Errors
    /// [`Problem::Digest`], with words that never contain the password.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        let bad = |why: String| Problem::Digest { why: format!("{}: {why}", path.display()) };
        let found = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
        let (length, mode) = (found.len(), found.permissions().mode());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others on this machine may read it: chmod 600");
        }
        if length > DIGEST_BYTES_MAX {
            return Err(bad(format!("{length} bytes are no line with user:password")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let line = text.lines().next().unwrap_or_default();
        match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Self { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err(bad("its first line is not user:password".to_owned())),
        }
    }

    /// What the client sends for it.
    pub(crate) fn credentials(&self) -> Vec<u8> {
        format!("{}:{}", self.user, self.password).into_bytes()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digest").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `a/b`, no empty part, no `.` or `..`.
fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.chars().any(char::is_control)
}

/// Name and port; an IPv6 address stands in brackets.
fn split(address: &str) -> Option<(&str, u16)> {
    const PORT: u16 = 2181;
    if let Some(rest) = address.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((name, PORT)),
            _ => Some((name, rest.strip_prefix(':')?.parse().ok()?)),
        };
    }
    match address.rsplit_once(':') {
        Some((name, port)) => Some((name, port.parse().ok()?)),
        None => Some((address, PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(hosts: &[&str], root: &str) -> Result<(), Problem> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        ZooKeeperConfig { hosts, root: root.to_owned(), ..ZooKeeperConfig::default() }.check()
    }

    #[test]
    fn what_cannot_be_meant_is_said_before_anybody_is_asked() {
        with(&["a", "b:2181", "[::1]:2182/chat/one"], "/services/carillon").unwrap();
        with(&["127.0.0.1:2181"], "/").unwrap();
        let bad: [&[&str]; 8] = [
            &[],
            &[""],
            &["a:0"],
            &["a:x"],
            &["a:2181,b:2181"],
            &["a/x", "b"],
            &["a//x"],
            &["[::1"],
        ];
        for hosts in bad {
            let told = with(hosts, "/r").unwrap_err().to_string();
            assert!(told.contains("registry.hosts"), "{told}");
        }
        for root in ["", "r", "/r/", "/a//b", "/a/../b", "//"] {
            let told = with(&["a"], root).unwrap_err().to_string();
            assert!(told.contains("registry.root"), "{told}");
        }
    }

    #[test]
    fn a_digest_file_is_one_line_and_its_password_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("digest");
        std::fs::write(&path, "chat:se:cret\n").unwrap();
        let digest = Digest::read(&path).unwrap();
        assert_eq!((digest.user.as_str(), digest.password.as_str()), ("chat", "se:cret"));
        assert!(!format!("{digest:?}").contains("cret"));
        for text in ["", "chat", ":x", "chat:"] {
            std::fs::write(&path, text).unwrap();
            assert!(Digest::read(&path).unwrap_err().to_string().contains("user:password"));
        }
        assert!(Digest::read(&folder.path().join("none")).is_err());
    }
}
