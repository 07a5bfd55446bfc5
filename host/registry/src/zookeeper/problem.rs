//! Why there is no session with the ensemble, in words that say what to do.
//!
//! The client only knows that nobody answered in time; which of the usual reasons it is, is found out
//! here by asking each server once more, in steps. This is for people: nothing is decided by it.

use std::time::Duration;

use ::zookeeper::{Client, Error};

use super::config::ZooKeeperConfig;

/// How long one server may take for one step.
const STEP_MAX: Duration = Duration::from_secs(2);

/// Why there is no session with ZooKeeper. The node goes on with what it knows and tries again; only what
/// is wrong with the configuration will not mend itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A server's address cannot be meant. Nobody was asked; correct the configuration.
    #[error("registry.hosts: {host:?}: {why}. Write host:port")]
    Hosts {
        /// The address.
        host: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The root is not a path. Nobody was asked; correct the configuration.
    #[error("registry.root: {root:?} is not the path of a znode. Write it like /services/carillon")]
    Root {
        /// What it is.
        root: String,
    },
    /// A time makes no sense. Nobody was asked; correct the configuration.
    #[error(
        "registry.session {session:?}, registry.timeout {timeout:?}: a session lasts 0.5 s to 60 s, and a call more than nothing"
    )]
    Times {
        /// Of a session.
        session: Duration,
        /// Of a call.
        timeout: Duration,
    },
    /// The user cannot be read. Nobody was asked; correct the file.
    #[error("registry.digest_file: {why}. Write one line, user:password")]
    Digest {
        /// What is wrong, without the password.
        why: String,
    },
    /// A host's name has no address. Nothing was changed; correct the name, or the name service.
    #[error(
        "the name of ZooKeeper server {host:?} is not known: {why}. Correct registry.hosts, or the name service"
    )]
    Unresolved {
        /// The name.
        host: String,
        /// What the name service said.
        why: String,
    },
    /// Nobody listens. Nothing was changed; start the servers, or correct the addresses.
    #[error(
        "no ZooKeeper server answers at {servers}: {why}. Start one, or correct registry.hosts"
    )]
    Unreachable {
        /// All of them.
        servers: String,
        /// What the last one did.
        why: String,
    },
    /// Somebody listens and makes no session. Nothing was changed; look at the servers.
    #[error(
        "{servers} accept connections and give no session: the ensemble has no leader, or that is not ZooKeeper. Look at its servers' logs"
    )]
    NoSession {
        /// All of them.
        servers: String,
    },
    /// The servers that answer have no quorum and only let read. Nothing was changed; start the others.
    #[error(
        "the ZooKeeper servers at {servers} are read-only: they have lost their quorum. Start the others"
    )]
    ReadOnly {
        /// All of them.
        servers: String,
    },
    /// The chroot does not exist. Nothing was made; create it, or correct the configuration.
    #[error(
        "the chroot {chroot} of registry.hosts does not exist. Create that znode, or remove it from the last host"
    )]
    Chroot {
        /// Its path.
        chroot: String,
    },
    /// This user may not write below the root. Nothing was changed; correct the user, or the znode's ACL.
    #[error(
        "user {user:?} may not write below {root}: the password is wrong, or the znode belongs to another. Correct registry.digest_file, or the ACL of {root}"
    )]
    Denied {
        /// Who; empty without a user.
        user: String,
        /// Where.
        root: String,
    },
    /// The servers refuse this way of saying who one is. Nothing was changed; look at their settings.
    #[error(
        "ZooKeeper refused to authenticate: it demands another scheme than digest. Change the servers' authentication"
    )]
    Authentication,
    /// Something else. Nothing is known to have changed; the text is the client's.
    #[error("ZooKeeper at {servers}: {text}. Look at the servers' logs")]
    Other {
        /// All of them.
        servers: String,
        /// What the client said.
        text: String,
    },
}

impl Problem {
    /// Whether only somebody who changes something can mend it.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Hosts { .. }
            | Self::Root { .. }
            | Self::Times { .. }
            | Self::Digest { .. }
            | Self::Chroot { .. }
            | Self::Denied { .. }
            | Self::Authentication => true,
            Self::Unresolved { .. }
            | Self::Unreachable { .. }
            | Self::NoSession { .. }
            | Self::ReadOnly { .. }
            | Self::Other { .. } => false,
        }
    }
}

/// Why a connection attempt ended with `error`.
pub(crate) async fn why(config: &ZooKeeperConfig, error: &Error) -> Problem {
    let servers = config.servers();
    match error {
        Error::AuthFailed => return Problem::Authentication,
        Error::NoHosts | Error::Timeout | Error::ConnectionLoss | Error::Custom(_) => {}
        _ => return Problem::Other { servers, text: error.to_string() },
    }
    let mut accepted = false;
    let mut silent = None;
    for (host, port) in config.addresses() {
        match knock(host, port).await {
            Ok(()) => accepted = true,
            Err(problem @ Problem::Unresolved { .. }) => return problem,
            Err(problem) => silent = Some(problem),
        }
    }
    if !accepted {
        return silent.unwrap_or_else(|| Problem::NoSession { servers: servers.clone() });
    }
    let asked = Client::connector()
        .with_session_timeout(config.session)
        .with_readonly(true)
        .with_fail_eagerly()
        .connect(&servers);
    match runtime::timeout(STEP_MAX, asked).await {
        Ok(Ok(client)) if client.session().is_readonly() => Problem::ReadOnly { servers },
        _ => Problem::NoSession { servers },
    }
}

/// Whether somebody accepts connections there.
async fn knock(host: &str, port: u16) -> Result<(), Problem> {
    let at = |why: &dyn std::fmt::Display| Problem::Unreachable {
        servers: format!("{host}:{port}"),
        why: why.to_string(),
    };
    let found = runtime::timeout(STEP_MAX, tokio::net::lookup_host((host, port))).await;
    let unknown = |why: String| Problem::Unresolved { host: host.to_owned(), why };
    match found {
        Ok(Ok(_addresses)) => {}
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_elapsed) => return Err(unknown("the name service does not answer".to_owned())),
    }
    match runtime::timeout(STEP_MAX, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_accepted)) => Ok(()),
        Ok(Err(error)) => Err(at(&error)),
        Err(_elapsed) => Err(at(&"no answer")),
    }
}
