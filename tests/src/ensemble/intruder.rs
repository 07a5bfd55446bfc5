//! Another program on the same ensemble: writes what it likes, and ends sessions that are not its own.
//!
//! To end a session one needs its number and its password. The number stands in each of its ephemerals;
//! the password a ZooKeeper server makes from the number alone. So the node under test needs no door for
//! this, and a real process can be treated so too.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zookeeper::{Acls, Client, CreateMode, Error, Stat};

use crate::wait::Deadline;

/// What a server mixes into the number of a session.
const SESSION_SECRET: i64 = 0xB341_5C00;
/// The request "close my session".
const CLOSE_SESSION: i64 = -11;

/// A client of its own.
#[derive(Debug)]
pub struct Intruder {
    client: Client,
    servers: String,
}

impl Intruder {
    pub(super) async fn connect(servers: &str) -> Self {
        let client = Client::connect(servers).await.unwrap_or_else(|error| panic!("{error}"));
        Self { client, servers: servers.to_owned() }
    }

    /// Its client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What stands at `path`.
    pub async fn get(&self, path: &str) -> Option<(Vec<u8>, Stat)> {
        match self.client.get_data(path).await {
            Ok(found) => Some(found),
            Err(Error::NoNode) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Writes, whatever stands there; folders are made.
    pub async fn put(&self, path: &str, data: &[u8]) {
        let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
        if let Some((folder, _)) = path.rsplit_once('/').filter(|(folder, _)| !folder.is_empty()) {
            self.client.mkdir(folder, &open).await.unwrap_or_else(|error| panic!("{error}"));
        }
        let put = match self.client.create(path, data, &open).await {
            Err(Error::NodeExists) => self.client.set_data(path, data, None).await.map(drop),
            created => created.map(drop),
        };
        put.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Deletes it.
    pub async fn delete(&self, path: &str) {
        let deleted = self.client.delete(path, None).await;
        deleted.unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// The names below `path`.
    pub async fn names(&self, path: &str) -> Vec<String> {
        let mut names = match self.client.list_children(path).await {
            Ok(names) => names,
            Err(Error::NoNode) => Vec::new(),
            Err(error) => panic!("{path}: {error}"),
        };
        names.sort();
        names
    }

    /// Ends the session that `path`, an ephemeral, belongs to; its node is told so by the ensemble.
    /// Returns the session's number.
    ///
    /// # Panics
    /// When it is not there, or is no ephemeral.
    pub async fn expire_session_of(&self, path: &str) -> i64 {
        let (_, stat) = self.get(path).await.unwrap_or_else(|| panic!("{path} is not there"));
        let session = stat.ephemeral_owner;
        assert_ne!(session, 0, "{path} is no ephemeral");
        let deadline = Deadline::default();
        loop {
            for server in self.servers.split(',') {
                match end_session(server, session).await {
                    Ok(Known::No) => return session,
                    // Its owner may have taken it back in between: only when it is unknown it has ended.
                    Ok(Known::Yes) => {}
                    Err(error) => deadline.check("the end of a session", &error),
                }
            }
        }
    }
}

/// Whether a server knows a session.
enum Known {
    Yes,
    No,
}

/// Takes a session over, as a client that lost its connection would, and closes it in the same breath.
async fn end_session(server: &str, session: i64) -> io::Result<Known> {
    let mut stream = TcpStream::connect(server).await?;
    let mut hello = Vec::new();
    hello.extend(wire(0, 4)); // protocol
    hello.extend(wire(0, 8)); // last transaction seen
    hello.extend(wire(10_000, 4)); // session timeout
    hello.extend(wire(session, 8));
    hello.extend(wire(16, 4)); // length of the password
    hello.extend(password(session));
    hello.push(0); // not read-only
    let mut close = wire(1, 4);
    close.extend(wire(CLOSE_SESSION, 4));
    let mut both = frame(&hello)?;
    both.extend(frame(&close)?);
    stream.write_all(&both).await?;
    let answer = receive(&mut stream).await?;
    // Protocol, timeout, number: all zeros if the session is not there.
    let given = answer.get(8..16).unwrap_or_default();
    if given != wire(session, 8) {
        return Ok(Known::No);
    }
    // Answered, or cut off: the next attempt tells.
    drop(receive(&mut stream).await);
    Ok(Known::Yes)
}

/// Sixteen bytes of the pseudo-random numbers that a server draws with the session's number as seed.
fn password(session: i64) -> Vec<u8> {
    const FACTOR: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let seed = u64::from_le_bytes((session ^ SESSION_SECRET).to_le_bytes());
    let mut state = (seed ^ FACTOR) & MASK;
    let mut bytes = Vec::new();
    while bytes.len() < 16 {
        state = state.wrapping_mul(FACTOR).wrapping_add(0xB) & MASK;
        let drawn = (state >> 16).to_le_bytes();
        bytes.extend(&drawn[..4]);
    }
    bytes
}

/// The lower `bytes` bytes of a number, as ZooKeeper sends them.
#[expect(clippy::big_endian_bytes, reason = "ZooKeeper's own order")]
fn wire(number: i64, bytes: usize) -> Vec<u8> {
    number.to_be_bytes()[8 - bytes..].to_vec()
}

fn frame(body: &[u8]) -> io::Result<Vec<u8>> {
    let length = i64::try_from(body.len()).map_err(io::Error::other)?;
    let mut frame = wire(length, 4);
    frame.extend(body);
    Ok(frame)
}

async fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await?).map_err(io::Error::other)?;
    let mut body = vec![0; length.min(4096)];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
