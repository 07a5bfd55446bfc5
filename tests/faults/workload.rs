//! All clients of one load: chats for them, their start and their end.

use std::path::{Path, PathBuf};

use model::ChatToken;
use runtime::Stop;
use tests::Http;
use tokio::task::JoinHandle;

use crate::client::{Client, Load, Sample};
use crate::clock::Clock;
use crate::deployment::Deployment;

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    pub(crate) clients: u32,
    pub(crate) chats: usize,
    /// What all clients together begin in a second.
    pub(crate) per_second: u64,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) chats: Vec<ChatToken>,
    pub(crate) clock: Clock,
    pub(crate) history: PathBuf,
    stop: Stop,
    clients: Vec<JoinHandle<(Vec<Sample>, u64)>>,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) samples: Vec<Sample>,
    pub(crate) forgotten: u64,
}

impl Workload {
    /// Makes chats and sets clients to work.
    pub(crate) async fn start(deployment: &Deployment, seed: u64, amount: Amount) -> Self {
        let chats = chats(&deployment.nodes[0].http(), amount.chats).await;
        Self::start_on(deployment, seed, amount, chats)
    }

    /// The same on chats that are there.
    pub(crate) fn start_on(
        deployment: &Deployment,
        seed: u64,
        amount: Amount,
        chats: Vec<ChatToken>,
    ) -> Self {
        let history = folder(deployment.folder());
        let clock = Clock::begin();
        let stop = Stop::default();
        let load = Load {
            urls: deployment.urls(),
            chats: chats.clone(),
            clock,
            pace_us: 1_000_000 * u64::from(amount.clients) / amount.per_second.max(1),
            stop: stop.clone(),
        };
        let clients = (0..amount.clients)
            .map(|number| tokio::spawn(Client::new(number, seed, load.clone(), &history).work()))
            .collect();
        Self { chats, clock, history, stop, clients }
    }

    /// Lets everybody finish what they do.
    pub(crate) async fn stop(&mut self) -> Done {
        self.stop.stop();
        let mut done = Done { samples: Vec::new(), forgotten: 0 };
        for client in self.clients.drain(..) {
            let (samples, forgotten) = client.await.unwrap_or_else(|error| panic!("{error}"));
            done.samples.extend(samples);
            done.forgotten += forgotten;
        }
        done
    }
}

/// New chats.
pub(crate) async fn chats(node: &Http, count: usize) -> Vec<ChatToken> {
    let mut chats = Vec::new();
    for _ in 0..count {
        let token = node.create().await;
        chats.push(token.parse().unwrap_or_else(|error| panic!("{token}: {error}")));
    }
    chats
}

fn folder(below: &Path) -> PathBuf {
    let number = (0..).find(|number| !below.join(format!("history-{number}")).exists());
    let folder = below.join(format!("history-{}", number.unwrap_or_default()));
    std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder
}
