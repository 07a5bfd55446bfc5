//! The services of a node: its log, its chats and its HTTP, put together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{Chats, OutcallDone};
use hashring::{NodeId, PartitionId, Partitions};
use model::{ChatToken, Outbox, Outcall};
use outbox::{Access, Call, Desk, Hook, Later, Reply, Services};
use replication::core::Outcome;
use replication::{Replication, RequestHead};
use runtime::{Stop, Tasks};
use segment::LogEntry;
use tokio::sync::{oneshot, watch};
use transaction::{Names, Sender, SenderConfig};

use crate::assemble::StartError;
use crate::config::Config;
use crate::directory::{self, Directory, REGISTRY};

/// How long another node may take to answer: it only looks at what it has.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What is owed stands in the log, and what the log says of it is folded with the chats.
#[derive(Debug)]
struct Log {
    chats: Chats,
    replication: Replication,
    boot: u64,
    directory: Directory,
    hook: Option<Hook>,
}

impl Desk for Log {
    fn node(&self) -> NodeId {
        self.replication.node().clone()
    }

    fn boot(&self) -> u64 {
        self.boot
    }

    fn registry(&self) -> Access {
        self.replication.session().map_or(Access::Away, Access::There)
    }

    fn instances(&self, path: &str) -> Vec<String> {
        self.directory.instances(path)
    }

    fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
    }

    fn others(&self) -> Vec<NodeId> {
        let me = self.replication.node();
        let ring = self.replication.ring();
        ring.nodes.iter().map(|member| &member.id).filter(|id| *id != me).cloned().collect()
    }

    fn ask<'a>(&'a self, node: &'a NodeId, question: Bytes) -> Later<'a, Option<Bytes>> {
        Box::pin(async move {
            let wait_ms = u32::try_from(ANSWER_MAX.as_millis()).unwrap_or(u32::MAX);
            let head = RequestHead { hop: 1, wait_ms };
            let asked = self.replication.forward(node, head, question);
            runtime::timeout(ANSWER_MAX, asked).await.ok()?.ok()
        })
    }

    fn partitions(&self) -> Partitions {
        self.replication.partitions()
    }

    #[expect(clippy::cast_possible_truncation, reason = "eight digits name a cluster")]
    fn cluster(&self) -> u32 {
        self.replication.cluster().unwrap_or_default() as u32
    }

    fn leads(&self, partition: PartitionId) -> Option<u64> {
        self.chats.leads(partition)
    }

    fn owed(
        &self,
        partition: PartitionId,
        epoch: u64,
        look: &mut dyn FnMut(&Outbox),
    ) -> Option<u64> {
        self.chats.owed(partition, epoch, look).map(|((), committed)| committed)
    }

    fn number(
        &self,
        partition: PartitionId,
        epoch: u64,
        chat: ChatToken,
        seq: u64,
        index: u32,
    ) -> u64 {
        self.chats.number(partition, epoch, chat, seq, index)
    }

    fn calls(
        &self,
        partition: PartitionId,
        epoch: u64,
        wanted: &dyn Fn(&Outcall) -> bool,
    ) -> Vec<Call> {
        let calls = self.chats.calls_out(partition, epoch, wanted).into_iter();
        calls.map(|(chat, number, outcall)| Call { chat, number, outcall }).collect()
    }

    fn reply(&self, reply: Reply) -> Later<'_, bool> {
        let Reply { chat, number, status, body, attempts } = reply;
        let body = body.to_vec();
        let done = OutcallDone { token: chat, number, status, body, attempts };
        Box::pin(self.chats.call_out_done(done))
    }

    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
    ) -> Option<oneshot::Receiver<Outcome>> {
        let acks = self.replication.commit();
        self.chats.append(partition, epoch, payload, acks).map(|(_place, answer)| answer)
    }

    fn give_up(&self, partition: PartitionId, epoch: u64) {
        self.chats.give_up(partition, epoch);
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        Box::pin(async move {
            let read = self.replication.read(partition, from, entries_max, bytes_max).await;
            // Nobody is sent what was taken back.
            read.map(|entries| self.chats.shown(partition, entries))
        })
    }
}

/// Begins to bring the services of the configuration what they are owed.
pub(crate) async fn start(
    config: &Config,
    replication: &Replication,
    chats: &Chats,
    (boot, hook): (u64, Option<Hook>),
    tasks: &Tasks,
) -> Result<Services, StartError> {
    let sender = Sender::new(SenderConfig::default())?;
    let directory = Directory::open(config).await;
    let (news, stop) = (directory.news(), tasks.stop().clone());
    let log = Log { chats: chats.clone(), replication: replication.clone(), boot, directory, hook };
    let names = Names { cluster: config.cluster.name.clone() };
    let configs = config.service_configs();
    let services = Services::start(Arc::new(log), Arc::new(sender), configs, &names, tasks);
    let urls: Vec<String> =
        directory::paths(config).map(|path| format!("{REGISTRY}{path}")).collect();
    if !urls.is_empty() {
        tasks.spawn("service instances", tell_news(services.clone(), urls, news, stop));
    }
    Ok(services)
}

/// Has what waits for an instance tried when some come or go.
async fn tell_news(
    services: Services,
    urls: Vec<String>,
    mut news: watch::Receiver<u64>,
    stop: Stop,
) {
    loop {
        tokio::select! { biased;
            () = stop.stopped() => return,
            changed = news.changed() => if changed.is_err() { return },
        }
        for url in &urls {
            services.news_of(url).await;
        }
    }
}
