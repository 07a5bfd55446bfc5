//! After the last fault: everything becomes equal, every chat is read from every node, and the logs on
//! the disks are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use hashring::PartitionId;
use model::ChatToken;
use segment::{Chain, Folder, Log, LogConfig, Reserve};
use serde::Serialize;
use serde_json::{Value, json};
use tests::Deadline;
use tests::history::{Act, Content, Operation, Outcome, Sending, Survey, Writer};

use crate::clock::Clock;
use crate::deployment::Deployment;
use crate::door::{ANSWER_MAX, Ask, Door, outcome, page};
use crate::workload::Workload;

/// Who does in the history what is done here.
const SURVEYOR: u32 = 9_000;

/// What the disks hold in the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Compared {
    /// Partitions of which at least two nodes hold something.
    pub(crate) partitions: u64,
    /// Entries of the longest log of each.
    pub(crate) entries: u64,
    /// Pairs of logs that differ where both have something.
    pub(crate) different: Vec<String>,
    /// Places where a log is damaged.
    pub(crate) damaged: Vec<String>,
}

/// What the end found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ended {
    /// How long after the last fault every member had everything, in seconds.
    pub(crate) converged_s: f64,
    /// Chats whose displayed times go back.
    pub(crate) times_fall: u64,
    /// What the disks hold.
    pub(crate) compared: Compared,
}

/// Waits until all members have everything, reads it all, kills all nodes and compares their logs.
pub(crate) async fn end(deployment: &mut Deployment, workload: &Workload) -> Ended {
    let begun = runtime::now();
    deployment.restore().await;
    let notes = Notes { clock: workload.clock, number: SURVEYOR };
    converge(deployment, workload, notes).await;
    let converged_s = begun.elapsed().as_secs_f64();
    let mut reading = tokio::task::JoinSet::new();
    for (number, node) in (1..).zip(&deployment.nodes) {
        let (url, name, chats) = (node.url(), node.name.clone(), workload.chats.clone());
        let history = workload.history.clone();
        let notes = Notes { number: SURVEYOR + number, ..notes };
        reading.spawn(async move {
            let mut writer = Writer::create(&history, notes.number).expect("a file can be made");
            notes.survey(&url, &name, &chats, &mut writer).await
        });
    }
    let mut times_fall = 0;
    while let Some(read) = reading.join_next().await {
        times_fall = times_fall.max(read.unwrap_or_else(|error| panic!("{error}")));
    }
    deployment.nodes.iter_mut().for_each(crate::node::Node::kill);
    Ended { converged_s, times_fall, compared: compare(deployment) }
}

/// Every chat takes a message that all members hold: a log has no holes, so they hold all before it.
async fn converge(deployment: &Deployment, workload: &Workload, notes: Notes) {
    let mut writer = Writer::create(&workload.history, notes.number).expect("a file can be made");
    let mut door = Door::new(&deployment.urls());
    let deadline = Deadline::default();
    for (number, chat) in workload.chats.iter().enumerate() {
        let key = format!("last-{number}");
        for node in (0..door.nodes()).cycle() {
            let outcome = notes.send_to_all(&mut door, node, *chat, &key, &mut writer).await;
            if matches!(outcome, Outcome::Ok(_)) {
                break;
            }
            deadline.check("a message on every member", &(chat, outcome));
            runtime::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Who writes into the history, and with which clock.
#[derive(Clone, Copy, Debug)]
struct Notes {
    clock: Clock,
    number: u32,
}

impl Notes {
    async fn send_to_all(
        self,
        door: &mut Door,
        node: usize,
        chat: ChatToken,
        key: &str,
        writer: &mut Writer,
    ) -> Outcome {
        let sender = "surveyor";
        let body = json!({"sender": sender, "text": key}).to_string();
        let path = format!("/v1/chats/{chat}/messages?w=3");
        let headers = format!("idempotency-key: {key}\r\n");
        let ask = Ask {
            method: "POST",
            path: &path,
            headers: &headers,
            body: Some(body.as_bytes()),
            within: ANSWER_MAX,
        };
        let begun = self.clock.us();
        let outcome = outcome(door.ask(node, ask).await);
        let act = Act::Send(Sending {
            key: key.to_owned(),
            sender: sender.to_owned(),
            content: Content::of(sender, key),
            w: 3,
            n: None,
            outcome: outcome.clone(),
        });
        self.write(begun, chat, act, writer);
        outcome
    }

    /// Reads every chat from one node; in how many displayed times go back.
    async fn survey(self, url: &str, name: &str, chats: &[ChatToken], writer: &mut Writer) -> u64 {
        let mut door = Door::new(&[url.to_owned()]);
        let mut times_fall = 0;
        for chat in chats {
            let begun = self.clock.us();
            let (mut messages, mut times, mut after) = (Vec::new(), Vec::new(), String::new());
            loop {
                let path = format!("/v1/chats/{chat}/messages?limit=1000&confirmed=true{after}");
                let body = surely(&mut door, &path).await;
                let shown = page(&body).unwrap_or_else(|| panic!("not a page: {body}"));
                messages.extend(shown.messages);
                let shown = body["messages"].as_array().into_iter().flatten();
                times.extend(shown.filter_map(|message| message["time_ms"].as_u64()));
                if body["more"] != true {
                    break;
                }
                after = format!("&after={}", body["cursor"].as_str().unwrap_or_default());
            }
            times_fall += u64::from(!times.is_sorted());
            let survey = Survey { node: name.to_owned(), messages };
            self.write(begun, *chat, Act::Final(survey), writer);
        }
        times_fall
    }

    fn write(self, begun: u64, chat: ChatToken, act: Act, writer: &mut Writer) {
        let ended = Some(self.clock.us());
        let operation = Operation { begun, ended, client: self.number, chat, act };
        writer.write(&operation).unwrap_or_else(|error| panic!("the history: {error}"));
    }
}

/// Reads until it is answered.
async fn surely(door: &mut Door, path: &str) -> Value {
    let deadline = Deadline::default();
    loop {
        let ask = Ask { method: "GET", path, headers: "", body: None, within: ANSWER_MAX };
        match door.ask(0, ask).await {
            Ok(answer) if answer.status == 200 => return answer.body,
            other => deadline.check(path, &other),
        }
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

/// Opens the logs of nodes that are dead and compares how they came to be, as far as each pair goes: a
/// chain is a hash over an entry and everything before it.
fn compare(deployment: &Deployment) -> Compared {
    let mut compared = Compared::default();
    let logs: Vec<Opened> =
        deployment.nodes.iter().map(|node| Opened::open(node, deployment.partitions)).collect();
    for opened in &logs {
        compared.damaged.extend(opened.damages.iter().cloned());
    }
    for partition in (0..deployment.partitions).map(PartitionId) {
        let ends: Vec<(&Opened, u64)> = logs
            .iter()
            .filter_map(|opened| Some((opened, opened.ends.get(&partition).copied()?)))
            .filter(|(_, end)| *end > 0)
            .collect();
        let Some(shortest) = ends.iter().map(|(_, end)| *end).min() else { continue };
        compared.partitions += u64::from(ends.len() > 1);
        compared.entries += ends.iter().map(|(_, end)| *end).max().unwrap_or_default();
        let chains: Vec<(&str, Option<Chain>)> = ends
            .iter()
            .map(|(opened, _)| (opened.name.as_str(), opened.chain(partition, shortest)))
            .collect();
        if chains.iter().any(|(_, chain)| chain.is_none() || *chain != chains[0].1) {
            compared.different.push(format!("{partition} at {shortest}: {chains:?}"));
        }
    }
    compared
}

/// The log of a dead node.
struct Opened {
    name: String,
    log: Log,
    ends: BTreeMap<PartitionId, u64>,
    damages: Vec<String>,
    // The lock ends with it.
    _folder: Folder,
}

impl Opened {
    fn open(node: &crate::node::Node, partitions: u16) -> Self {
        let id = node.name.parse().unwrap_or_else(|_not| panic!("{} is no name", node.name));
        let folder = Folder::open(&node.data, &id, partitions, Vec::new);
        let folder = folder.unwrap_or_else(|error| panic!("{}: {error}", node.data.display()));
        let config = LogConfig {
            folder: folder.logs(),
            store: folder.store(),
            partitions,
            value_file_bytes_max: 64 << 20,
            reserve: Reserve::Bytes(0),
        };
        let (log, recovered) = Log::open(config, |_notice| {})
            .unwrap_or_else(|error| panic!("{}: {error}", node.name));
        let ends = recovered.partitions.iter();
        let ends = ends.map(|(partition, restored)| (*partition, restored.end.seq)).collect();
        let damages = recovered.damages.iter();
        let damages = damages.map(|damage| {
            format!("{} at {}: {}", damage.file.display(), damage.offset, damage.what)
        });
        Self { name: node.name.clone(), log, ends, damages: damages.collect(), _folder: folder }
    }

    fn chain(&self, partition: PartitionId, seq: u64) -> Option<Chain> {
        let read = self.log.read(partition, seq, 1, 1).ok()?;
        read.first().map(|entry| entry.chain)
    }
}
