//! How a service is reached: where it is at the moment, what proves who sends, and which of its instances is tried.
//!
//! All of it is read anew for each attempt, so that a new secret and another instance count from the next one on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use hashring::PartitionId;
use model::FrozenId;
use runtime::Instant;
use transaction::{
    Attempt, Instances, Outcome, Rendered, Secret, Target, TransactionId, render_outcall,
};

use crate::attempts::AttemptRecord;
use crate::config::ServiceConfig;
use crate::desk::{Call, Reply};
use crate::unserved;
use crate::working::{Happened, Work};

/// What begins the URL of a service whose instances the registry knows.
const REGISTRY: &str = "registry:";

impl Work {
    /// One attempt: at the service, or at those of its instances that the registry knows, until one is there.
    pub(crate) async fn deliver(
        &self,
        target: &Target,
        rendered: &Rendered,
        until: Option<Instant>,
    ) -> Attempt {
        let Some(path) = target.url.strip_prefix(REGISTRY) else {
            return self.courier.attempt(target, rendered).await;
        };
        let there = self.desk.instances(path);
        let order = self.instances().order(&there, runtime::now());
        let mut last = failed(format!("the registry knows no instance at {path}"));
        for url in order {
            let now = runtime::now();
            if until.is_some_and(|until| now > until) {
                break;
            }
            last = self
                .courier
                .attempt(&Target { url: url.clone(), ..target.clone() }, rendered)
                .await;
            let Outcome::Retry { connected } = last.outcome else {
                self.instances().answers(&url);
                break;
            };
            self.instances().fails(&url, now);
            if connected {
                // It may have got it. The next attempt is another one's.
                break;
            }
        }
        last
    }

    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the service is now, and how we prove who we are: read for each attempt, so that a new secret
    /// counts from the next one on.
    pub(crate) async fn target(&self) -> Result<Target, Attempt> {
        let ServiceConfig { name, url, secret_file, allow_private, .. } = &self.config;
        let secret = match secret_file.clone() {
            None => None,
            Some(path) => Some(secret(path).await?),
        };
        Ok(Target {
            service: name.clone(),
            url: url.clone(),
            secret,
            allow_private: allow_private.clone(),
            dialect: self.terms().dialect,
            secrets: BTreeMap::new(),
        })
    }

    /// What tells this service from one that is elsewhere, or has another secret. A secret that cannot be read is none.
    pub(crate) async fn reached_by(&self) -> String {
        let secret = match self.config.secret_file.clone() {
            None => None,
            Some(path) => secret(path).await.ok(),
        };
        transaction::mark(&self.config.url, secret.as_ref())
    }

    /// Makes a call of a plugin. Its id says which it is, so that it is the same again wherever it is made.
    pub(crate) async fn call(
        self: Arc<Self>,
        partition: PartitionId,
        call: Call,
        wait: bool,
    ) -> Happened {
        let _room = match wait {
            // Cannot be an error: nobody closes it.
            true => self.room.acquire().await.ok(),
            false => None,
        };
        let id = format!("{:08x}-{}-{:x}", self.desk.cluster(), call.chat, call.number);
        let target = match self.target().await {
            Ok(target) => self.secrets().await.map(|secrets| Target { secrets, ..target }),
            Err(attempt) => Err(attempt),
        };
        if self.is_halted() || self.desk.leads(partition).is_none() {
            // That became so while there was no room for it.
            return Happened::Made { partition, call, attempt: None };
        }
        let attempt = match target {
            Err(attempt) => attempt,
            Ok(target) => {
                let rendered = render_outcall(id.clone(), &call.outcall);
                self.deliver(&target, &rendered, None).await
            }
        };
        let (service, status, error) = (&self.config.name, attempt.status, &attempt.error);
        tracing::debug!(service, id, outcome = ?attempt.outcome, status, error, "call of a plugin");
        Happened::Made { partition, call, attempt: Some(attempt) }
    }

    async fn secrets(&self) -> Result<BTreeMap<String, Secret>, Attempt> {
        let mut secrets = BTreeMap::new();
        for (name, path) in &self.config.secrets {
            secrets.insert(name.clone(), secret(path.clone()).await?);
        }
        Ok(secrets)
    }

    /// Gives a reply to the plugin that waits for it.
    pub(crate) async fn reply(self: Arc<Self>, partition: PartitionId, reply: Reply) -> Happened {
        let (chat, number, status) = (reply.chat, reply.number, reply.status);
        let over = self.desk.reply(reply).await;
        if over && status == 0 {
            unserved::count(&self.config.name);
        }
        Happened::Replied { partition, chat, number, over }
    }

    /// Asks the service whether it is there, in its dialect.
    pub(crate) async fn ping(&self) -> AttemptRecord {
        let id = TransactionId::of(self.desk.cluster(), 0, FrozenId::default());
        let attempt = match self.target().await {
            Ok(target) => {
                let rendered = transaction::ping(self.terms().dialect, &id);
                self.deliver(&target, &rendered, None).await
            }
            Err(attempt) => attempt,
        };
        AttemptRecord::of(id, 0, &attempt)
    }
}

/// What a file holds.
async fn secret(path: PathBuf) -> Result<Secret, Attempt> {
    let shown = path.display().to_string();
    let read = runtime::blocking(move || std::fs::read_to_string(path)).await;
    let text = read.ok_or_else(|| failed("this node is stopping".to_owned()))?;
    let text = text.map_err(|error| failed(format!("{shown}: {error}")))?;
    Ok(Secret::new(&text))
}

/// An attempt that could not be made.
fn failed(error: String) -> Attempt {
    Attempt {
        outcome: Outcome::Retry { connected: false },
        status: None,
        ms: 0,
        head: Bytes::new(),
        body: Bytes::new(),
        failed: Vec::new(),
        retry_after: None,
        error: Some(error),
    }
}
