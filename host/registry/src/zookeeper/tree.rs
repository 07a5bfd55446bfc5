//! Keys as znodes, and the calls on them.
//!
//! A key is the path of a znode below the root, its version the znode's own. Requests are sent in the
//! order they are asked for and answered in that order, so many can be under way at once: a batch costs
//! a few round trips, not one for each key. A request whose answer was lost is never sent again from
//! here; whoever asked reads and decides.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use ::zookeeper::{Acl, Acls, AuthId, Client, CreateMode, Error as Refusal, Permission, Stat};

use super::config::ZooKeeperConfig;
use crate::{Cas, CasError, Error, Value};

/// Requests of one call that wait for an answer: 256 partitions are four round trips, and the server's
/// queue for one client stays short enough that a ping gets through.
const IN_FLIGHT_MAX: usize = 64;
/// Keys of one listing: a thousand nodes with 64 places each. What is beyond is left out, and said.
const LISTED_MAX: usize = 65_536;
/// Folders remembered as made; a node uses a handful.
const FOLDERS_MAX: usize = 1024;
/// How often a call begins again because a folder, or the znode itself, vanished in between.
const AGAIN_MAX: usize = 4;

/// A request that was sent and its answer to come.
type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Where the keys are, and who may do what with them.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Without a slash at its end; empty for `/`.
    root: String,
    acl: Vec<Acl>,
    /// Folders that exist, as far as is known.
    folders: Mutex<BTreeSet<String>>,
}

impl Tree {
    pub(crate) fn new(config: &ZooKeeperConfig) -> Self {
        let acl = match &config.digest {
            // `auth` is whoever the session has said it is: the server fills in the user.
            Some(_) => vec![
                Acl::new(Permission::ALL, AuthId::authed()),
                Acl::new(Permission::READ, AuthId::anyone()),
            ],
            None => vec![Acl::new(Permission::ALL, AuthId::anyone())],
        };
        let root = config.root.trim_end_matches('/').to_owned();
        Self { root, acl, folders: Mutex::default() }
    }

    pub(crate) fn acls(&self) -> Acls<'_> {
        Acls::new(&self.acl)
    }

    /// The root as a path.
    pub(crate) fn root(&self) -> &str {
        if self.root.is_empty() { "/" } else { &self.root }
    }

    /// The znode of a key, or of a prefix: of the folder that everything with it is in.
    pub(crate) fn path(&self, key: &str) -> String {
        let key = key.trim_end_matches('/');
        if key.is_empty() { self.root().to_owned() } else { format!("{}/{key}", self.root) }
    }

    /// The key of a znode below the root.
    pub(crate) fn key<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.root.as_str())?.strip_prefix('/').filter(|key| !key.is_empty())
    }

    /// Nothing that was known of folders holds any more.
    pub(crate) fn forget_folders(&self) {
        self.lock_folders().clear();
    }

    pub(crate) async fn get(&self, client: &Client, key: &str) -> Result<Option<Value>, Error> {
        match client.get_data(&self.path(key)).await {
            Ok((data, stat)) => Ok(Some(value(data, &stat))),
            Err(Refusal::NoNode) => Ok(None),
            Err(refusal) => Err(read_error(key, &refusal)),
        }
    }

    /// Every record whose key begins with `prefix`. A znode that vanishes while this reads is absent; one
    /// that only has children and no data is a folder and no record.
    pub(crate) async fn list(
        &self,
        client: &Client,
        prefix: &str,
    ) -> Result<Vec<(String, Value)>, Error> {
        let mut found = Vec::new();
        let mut folders = vec![folder(prefix).to_owned()];
        while let Some(folder) = folders.pop() {
            let path = self.path(&folder);
            let names = match client.list_children(&path).await {
                Ok(names) => names,
                Err(Refusal::NoNode) => continue,
                Err(refusal) => return Err(read_error(&folder, &refusal)),
            };
            let keys: Vec<String> = names
                .into_iter()
                .map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") })
                // Below `/` ZooKeeper keeps its own.
                .filter(|key| {
                    key.starts_with(prefix) && !(key == "zookeeper" && self.root.is_empty())
                })
                .collect();
            if keys.len() + found.len() > LISTED_MAX {
                tracing::error!(
                    folder = path,
                    keys = keys.len(),
                    "too many znodes for one listing: what is beyond {LISTED_MAX} is left out"
                );
            }
            let keys = keys.get(..LISTED_MAX.saturating_sub(found.len()).min(keys.len()));
            let keys = keys.unwrap_or_default();
            let read = |key: &String| -> Pending<'_, (Vec<u8>, Stat)> {
                Box::pin(client.get_data(&self.path(key)))
            };
            for (key, answer) in keys.iter().zip(pipelined(keys.iter(), read).await) {
                match answer {
                    Ok((data, stat)) => {
                        let is_folder = stat.num_children > 0;
                        if is_folder {
                            folders.push(key.clone());
                        }
                        if !is_folder || !data.is_empty() {
                            found.push((key.clone(), value(data, &stat)));
                        }
                    }
                    Err(Refusal::NoNode) => {}
                    Err(refusal) => return Err(read_error(key, &refusal)),
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Conditional writes, each with a result of its own.
    pub(crate) async fn cas_many(
        &self,
        client: &Client,
        writes: &[Cas],
    ) -> Result<Vec<Result<u64, CasError>>, Error> {
        let created = writes.iter().filter(|write| write.expect.is_none() && write.data.is_some());
        // So far nothing of what is asked for has been written.
        self.make_folders(client, created).await.map_err(|refusal| match refusal {
            (key, Refusal::NoAuth) => Error::Denied { key },
            _ => Error::Unreachable,
        })?;
        let paths: Vec<String> = writes.iter().map(|write| self.path(&write.key)).collect();
        let items = writes.iter().zip(paths.iter().map(String::as_str));
        let answers = pipelined(items, |(write, path)| self.send(client, write, path)).await;
        let mut results = Vec::with_capacity(writes.len());
        for (write, answer) in writes.iter().zip(answers) {
            results.push(match answer {
                Ok(version) => Ok(version),
                Err(Refusal::NoNode) if write.expect.is_none() => {
                    self.create_again(client, write).await?
                }
                // Refused for certain; what stands there is filled in below.
                Err(Refusal::BadVersion | Refusal::NodeExists | Refusal::NoNode) => {
                    Err(CasError { current: None })
                }
                Err(refusal) => return Err(write_error(&write.key, &refusal)),
            });
        }
        self.fill_in(client, &paths, &mut results).await?;
        Ok(results)
    }

    /// Reads what stands where a write was refused.
    async fn fill_in(
        &self,
        client: &Client,
        paths: &[String],
        results: &mut [Result<u64, CasError>],
    ) -> Result<(), Error> {
        let refused: Vec<(&String, &mut CasError)> = paths
            .iter()
            .zip(results)
            .filter_map(|(path, result)| Some((path, result.as_mut().err()?)))
            .collect();
        let items: Vec<&String> = refused.iter().map(|(path, _)| *path).collect();
        let read =
            |path: &String| -> Pending<'_, (Vec<u8>, Stat)> { Box::pin(client.get_data(path)) };
        let found = pipelined(items.into_iter(), read).await;
        for ((_, error), found) in refused.into_iter().zip(found) {
            error.current = match found {
                Ok((data, stat)) => Some(value(data, &stat)),
                Err(Refusal::NoNode) => None,
                // Others of the batch were written, and now nobody can say which.
                Err(_unread) => return Err(Error::Unknown),
            };
        }
        Ok(())
    }

    fn send<'a>(&'a self, client: &'a Client, write: &Cas, path: &'a str) -> Pending<'a, u64> {
        let expect = match write.expect.map(i32::try_from) {
            None => None,
            Some(Ok(version)) => Some(version),
            // No znode has such a version.
            Some(Err(_beyond)) => return Box::pin(async { Err(Refusal::BadVersion) }),
        };
        match (expect, &write.data) {
            (None, Some(data)) => {
                let options = CreateMode::Persistent.with_acls(self.acls());
                let sent = client.create(path, data, &options);
                Box::pin(async { sent.await.map(|(stat, _)| version(&stat)) })
            }
            (Some(expect), Some(data)) => {
                let sent = client.set_data(path, data, Some(expect));
                Box::pin(async { sent.await.map(|stat| version(&stat)) })
            }
            (Some(expect), None) => {
                let sent = client.delete(path, Some(expect));
                let gone = write.expect.unwrap_or_default() + 1;
                Box::pin(async move { sent.await.map(|()| gone) })
            }
            (None, None) => {
                let sent = client.check_stat(path);
                Box::pin(async {
                    match sent.await? {
                        None => Ok(0),
                        Some(_) => Err(Refusal::NodeExists),
                    }
                })
            }
        }
    }

    /// Creates after the folder vanished under the first attempt, which for certain wrote nothing.
    async fn create_again(
        &self,
        client: &Client,
        write: &Cas,
    ) -> Result<Result<u64, CasError>, Error> {
        let path = self.path(&write.key);
        for _ in 0..AGAIN_MAX {
            self.forget_folders();
            let made = self.make_folders(client, std::iter::once(write)).await;
            made.map_err(|(key, refusal)| write_error(&key, &refusal))?;
            match self.send(client, write, &path).await {
                Ok(version) => return Ok(Ok(version)),
                Err(Refusal::NoNode) => {}
                // What stands there is filled in by the caller.
                Err(Refusal::NodeExists) => return Ok(Err(CasError { current: None })),
                Err(refusal) => return Err(write_error(&write.key, &refusal)),
            }
        }
        Err(Error::Refused {
            key: write.key.clone(),
            text: "its folder vanishes again and again".into(),
        })
    }

    /// Puts a key that goes with the client's session. One of any other session, and be it an earlier one
    /// of this very node, is left as it is.
    pub(crate) async fn put_ephemeral(
        &self,
        client: &Client,
        key: &str,
        data: &[u8],
    ) -> Result<Result<(), CasError>, Error> {
        let path = self.path(key);
        let options = CreateMode::Ephemeral.with_acls(self.acls());
        for _ in 0..AGAIN_MAX {
            let Err(refusal) = client.create(&path, data, &options).await else {
                return Ok(Ok(()));
            };
            match refusal {
                Refusal::NoNode => {
                    self.forget_folders();
                    let made = self.make_folder(client, folder(key)).await;
                    made.map_err(|refusal| write_error(key, &refusal))?;
                }
                Refusal::NodeExists => match client.get_data(&path).await {
                    Ok((stands, stat)) if stat.ephemeral_owner != client.session_id().0 => {
                        return Ok(Err(CasError { current: Some(value(stands, &stat)) }));
                    }
                    Ok((stands, _)) if stands == data => return Ok(Ok(())),
                    Ok(_) => match client.set_data(&path, data, None).await {
                        Ok(_) => return Ok(Ok(())),
                        Err(Refusal::NoNode) => {}
                        Err(refusal) => return Err(write_error(key, &refusal)),
                    },
                    Err(Refusal::NoNode) => {}
                    Err(refusal) => return Err(read_error(key, &refusal)),
                },
                refusal => return Err(write_error(key, &refusal)),
            }
        }
        Err(Error::Refused { key: key.to_owned(), text: "it comes and goes".into() })
    }

    /// Takes away a key that this session put; one of another session stays.
    pub(crate) async fn remove_ephemeral(&self, client: &Client, key: &str) -> Result<(), Error> {
        let path = self.path(key);
        match client.check_stat(&path).await {
            Ok(Some(stat)) if stat.ephemeral_owner == client.session_id().0 => {}
            Ok(_) => return Ok(()),
            Err(refusal) => return Err(read_error(key, &refusal)),
        }
        match client.delete(&path, None).await {
            Ok(()) | Err(Refusal::NoNode) => Ok(()),
            Err(refusal) => Err(write_error(key, &refusal)),
        }
    }

    async fn make_folders(
        &self,
        client: &Client,
        writes: impl Iterator<Item = &Cas>,
    ) -> Result<(), (String, Refusal)> {
        let wanted: BTreeSet<&str> = writes.map(|write| folder(&write.key)).collect();
        for wanted in wanted {
            let made = self.make_folder(client, wanted).await;
            made.map_err(|refusal| (wanted.to_owned(), refusal))?;
        }
        Ok(())
    }

    async fn make_folder(&self, client: &Client, folder: &str) -> Result<(), Refusal> {
        if folder.is_empty() || self.lock_folders().contains(folder) {
            return Ok(());
        }
        let options = CreateMode::Persistent.with_acls(self.acls());
        client.mkdir(&self.path(folder), &options).await?;
        let mut folders = self.lock_folders();
        if folders.len() >= FOLDERS_MAX {
            folders.clear();
        }
        folders.insert(folder.to_owned());
        Ok(())
    }

    fn lock_folders(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder that a key, or everything with a prefix, is in.
pub(crate) fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Sends a request for each item, in order and with a bound on what is under way, and returns the answers
/// in the same order.
async fn pipelined<'a, I, T>(
    items: impl Iterator<Item = I>,
    send: impl Fn(I) -> Pending<'a, T>,
) -> Vec<Result<T, Refusal>> {
    let mut answers = Vec::new();
    let mut under_way = VecDeque::with_capacity(IN_FLIGHT_MAX);
    for item in items {
        if under_way.len() == IN_FLIGHT_MAX
            && let Some(first) = under_way.pop_front()
        {
            answers.push(first.await);
        }
        under_way.push_back(send(item));
    }
    for pending in under_way {
        answers.push(pending.await);
    }
    answers
}

fn value(data: Vec<u8>, stat: &Stat) -> Value {
    Value { data, version: version(stat) }
}

fn version(stat: &Stat) -> u64 {
    u64::try_from(stat.version).unwrap_or_default()
}

/// What it means for a caller that a read was refused.
fn read_error(key: &str, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::NoAuth => Error::Denied { key: key.to_owned() },
        Refusal::BadArguments(why) => refused(key, why),
        _ => Error::Unreachable,
    }
}

/// What it means for a caller that a write was not confirmed.
fn write_error(key: &str, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::NoAuth => Error::Denied { key: key.to_owned() },
        Refusal::BadArguments(why) => refused(key, why),
        Refusal::NotEmpty => refused(key, "other znodes stand below it"),
        Refusal::NoChildrenForEphemerals => refused(key, "its folder is ephemeral"),
        Refusal::QuotaExceeded => refused(key, "the quota is used up"),
        Refusal::InvalidAcl => refused(key, "its access rules are not taken"),
        Refusal::NotReadOnly | Refusal::Throttled => Error::Unreachable,
        _ => Error::Unknown,
    }
}

fn refused(key: &str, text: &str) -> Error {
    Error::Refused { key: key.to_owned(), text: text.to_owned() }
}
