//! Why a node does not start, in words that say what is left behind.

use std::path::PathBuf;

use hashring::InvalidPartitions;

/// Why a node did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder cannot be made. Nothing was written; see the cause.
    #[error("{}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The registry cannot be opened. Nothing was changed; another process may have it.
    #[error(transparent)]
    Registry(#[from] registry::OpenError),
    /// What the configuration says of ZooKeeper cannot be meant. Nobody was asked; mend it.
    #[error(transparent)]
    ZooKeeper(#[from] registry::Problem),
    /// The engine for plugins cannot be set up. Nothing was started; see the cause.
    #[error(transparent)]
    Engine(#[from] plugin::HostError),
    /// Plugins cannot be used, all of them are listed. Nothing was started; mend the configuration.
    #[error("{}", .0.iter().map(|plugin| plugin.what.as_str()).collect::<Vec<_>>().join("; "))]
    Plugins(Vec<rollout::Unusable>),
    /// What is live cannot be found out, or its folder not be used. Nothing was started; see the cause.
    #[error(transparent)]
    Generations(rollout::StartError),
    /// The data folder cannot be used. Nothing in it was changed; the text says what to do.
    #[error(transparent)]
    Data(#[from] segment::FolderError),
    /// The log cannot be opened. Nothing in it was changed; see the cause.
    #[error("the log")]
    Log(#[from] segment::OpenError),
    /// The archive cannot be opened. Nothing in it was changed; see the cause.
    #[error("the archive")]
    Archive(#[from] segment::archive::OpenError),
    /// The number of partitions is none. Nothing was started; mend the configuration.
    #[error(transparent)]
    Partitions(#[from] InvalidPartitions),
    /// The certificates cannot be used. Nothing was started; see the cause.
    #[error(transparent)]
    Tls(#[from] replication::TlsError),
    /// The keys of tokens cannot be used. Nothing was started; mend the file.
    #[error("auth.jwks, {}", .path.display())]
    Auth {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: api::KeySetError,
    },
    /// The auth tokens of Twilio cannot be used. Nothing was started; mend the file.
    #[error("twilio.auth_token_file, {}", .path.display())]
    Twilio {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: api::TokensError,
    },
    /// What services are called with cannot be set up. Nothing was started; see the cause.
    #[error(transparent)]
    Trust(#[from] transaction::TrustError),
    /// An address for clients or operators cannot be listened on. Nothing was registered; choose another
    /// port.
    #[error(transparent)]
    Http(#[from] api::BindError),
    /// The address for nodes cannot be listened on. Nothing was registered; choose another port.
    #[error(transparent)]
    Quic(#[from] replication::StartError),
    /// Replication ended before it began. What is on the disks stays; the text says why.
    #[error(transparent)]
    Replication(#[from] replication::Failure),
    /// The node ended while it started. What is on the disks stays; the text says why.
    #[error("the node ended while it started: {0}")]
    Ended(String),
    /// Not every partition got a leader in time. The nodes were stopped again; see their logs.
    #[error("{led} of {partitions} partitions have a leader after {after_s} s")]
    NotLed {
        /// How many have.
        led: usize,
        /// How many there are.
        partitions: usize,
        /// How long it waited, in seconds.
        after_s: u64,
    },
}
