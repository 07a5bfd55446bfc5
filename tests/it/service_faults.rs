//! A long run of faults between three processes and a service: nodes that are killed, or stand still, or give everything away,
//! and a service that fails, cuts connections with or without taking what came, hangs, and is paused. What is counted in the
//! end is what somebody behind the service would notice: what is missing, what came before something older, and what came
//! twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use serde_json::json;
use tests::{Deadline, HANGS, Http, Received, Receiver, until};

use crate::services::section;
use crate::three::Three;

/// Who sends, each in a chat of its own, one message after the other.
const CHATS: usize = 12;
/// How long somebody waits between two messages.
const PAUSE: Duration = Duration::from_millis(150);
/// So many faults of the service come with one of a process: those take seconds.
const SERVICES_A_PROCESS: usize = 9;
/// Until everything that is owed has come when all is well again.
const HEALED: Duration = Duration::from_secs(300);

/// What happens, and what came of it.
struct Story {
    random: Mutex<SmallRng>,
    /// Where each node answers; nothing while it is dead.
    doors: Mutex<Vec<Option<Http>>>,
    /// Faults of the service so far, and how many there may be by now.
    made: AtomicUsize,
    allowed: AtomicUsize,
    over: AtomicBool,
    /// What the service took, whether it could say so or not.
    taken: Mutex<Vec<Received>>,
}

impl Story {
    fn roll(&self, below: u32) -> u32 {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random.random_range(0..below)
    }

    fn door(&self) -> Option<Http> {
        let number = self.roll(3) as usize;
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)[number].clone()
    }

    /// What the service does with a request.
    fn answer(&self, request: &Received) -> u16 {
        let (status, takes) = self.status();
        if takes {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        }
        status
    }

    /// What it answers, and whether it takes what came: well, unless it is time for another fault.
    fn status(&self) -> (u16, bool) {
        if self.over.load(Ordering::SeqCst) || self.roll(3) > 0 {
            return (200, true);
        }
        let one = |made| (made < self.allowed.load(Ordering::SeqCst)).then_some(made + 1);
        if self.made.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).is_err() {
            return (200, true);
        }
        match self.roll(40) {
            0 => (HANGS, false),
            1..10 => (500, false),
            10..18 => (503, false),
            18..28 => (0, false),
            // It took it, and its connection broke before it could say so.
            _ => (0, true),
        }
    }
}

/// Says one thing after the other in a chat, at whichever node answers; what was said.
async fn talks(story: Arc<Story>, token: String, chat: usize) -> Vec<String> {
    let mut said = Vec::new();
    while !story.over.load(Ordering::SeqCst) {
        let text = format!("{chat}-{}", said.len());
        loop {
            let Some(door) = story.door() else { continue };
            let sent = door.try_send(&token, "alice", &text, &text);
            let stored = runtime::timeout(Duration::from_secs(10), sent).await;
            if matches!(stored, Ok(Ok(answer)) if [200, 201].contains(&answer.status)) {
                break;
            }
            runtime::sleep(PAUSE).await;
        }
        said.push(text);
        runtime::sleep(PAUSE).await;
    }
    said
}

/// Something happens to a process, or to what it does.
async fn happens(story: &Story, three: &mut Three) {
    let node = story.roll(3) as usize;
    let other = Http::new(&three.node((node + 1) % 3).operators().await);
    match story.roll(8) {
        0..4 => {
            story.doors.lock().unwrap_or_else(PoisonError::into_inner)[node] = None;
            three.take(node).kill().await;
            three.restart(node).await;
            let door = three.http(node).clone();
            story.doors.lock().unwrap_or_else(PoisonError::into_inner)[node] = Some(door);
        }
        4 | 5 => {
            three.node(node).signal(Signal::STOP);
            runtime::sleep(Duration::from_millis(u64::from(story.roll(5000)))).await;
            three.node(node).signal(Signal::CONT);
        }
        6 => {
            let admin = Http::new(&three.node(node).operators().await);
            for draining in [true, false] {
                drop(
                    admin
                        .ask("POST", "/admin/v1/drain", &[], Some(&json!({"draining": draining})))
                        .await,
                );
            }
        }
        _ => {
            for verb in ["pause", "resume"] {
                let path = format!("/admin/v1/services/crm/{verb}");
                drop(other.ask("POST", &path, &[], Some(&json!({}))).await);
            }
        }
    }
}

/// What somebody behind the service noticed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noticed {
    missing: usize,
    /// What came first after something that was said later in its chat.
    inversions: usize,
    /// Events that were taken more than once, as they had been.
    again: usize,
    /// Those that came under another id than before, and ids that came with other bytes.
    strange: usize,
}

fn noticed(said: &[Vec<String>], taken: &[Received]) -> Noticed {
    let id = |request: &Received| request.header("webhook-id").unwrap_or_default().to_owned();
    let mut all = Noticed::default();
    let mut bytes: BTreeMap<String, &[u8]> = BTreeMap::new();
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for request in taken {
        let id = id(request);
        all.strange +=
            usize::from(*bytes.entry(id.clone()).or_insert(&request.body) != request.body);
        for event in request.events() {
            let text = event["data"]["text"].as_str().unwrap_or_default().to_owned();
            let (chat, number) = text.split_once('-').expect("chat and number");
            let number: usize = number.parse().expect("a number");
            match first.get(&text) {
                Some(before) => {
                    all.again += 1;
                    all.strange += usize::from(*before != id);
                }
                None => {
                    let next = last.get(chat).map_or(0, |last| last + 1);
                    all.inversions += usize::from(number != next);
                    last.insert(chat.to_owned(), number);
                    first.insert(text, id.clone());
                }
            }
        }
    }
    all.missing = said.iter().flatten().filter(|text| !first.contains_key(*text)).count();
    all
}

/// `FAULTS` is how many (a thousand), `SEED` in which order.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure: make faults-services"]
async fn nothing_is_lost_or_comes_before_what_is_older_through_a_thousand_faults() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let (faults, seed) = (number("FAULTS").unwrap_or(1000), number("SEED").unwrap_or(1));
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let lines = section(&receiver, folder.path(), "kinds = [\"text\"]\n");
    let Some(mut three) = Three::start_with(&lines).await else { return };
    let story = Arc::new(Story {
        random: Mutex::new(SmallRng::seed_from_u64(seed as u64)),
        doors: Mutex::new((0..3).map(|node| Some(three.http(node).clone())).collect()),
        made: AtomicUsize::new(0),
        allowed: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        taken: Mutex::default(),
    });
    let answers = Arc::clone(&story);
    receiver.answer(move |request| answers.answer(request));
    let mut talking = tokio::task::JoinSet::new();
    for chat in 0..CHATS {
        let token = three.http(chat % 3).create().await;
        let story = Arc::clone(&story);
        talking.spawn(async move { (chat, talks(story, token, chat).await) });
    }

    let (processes, mut happened) = (faults.div_ceil(SERVICES_A_PROCESS + 1), 0);
    while happened + story.made.load(Ordering::SeqCst) < faults {
        if happened < processes {
            happens(&story, &mut three).await;
            happened += 1;
        }
        let services = (happened * SERVICES_A_PROCESS).min(faults - processes);
        story.allowed.store(services, Ordering::SeqCst);
        until(Deadline::after(HEALED), "the service's faults", async || {
            let made = story.made.load(Ordering::SeqCst);
            if made >= services { Ok(()) } else { Err((made, services)) }
        })
        .await;
    }
    story.over.store(true, Ordering::SeqCst);
    let mut said = vec![Vec::new(); CHATS];
    for (chat, texts) in talking.join_all().await {
        said[chat] = texts;
    }
    let admin = Http::new(&three.node(0).operators().await);
    until(Deadline::after(HEALED), "nothing to be owed", async || {
        let told = admin.ask("GET", "/admin/v1/services", &[], None).await?.only(200)?.body;
        let service = &told["services"][0];
        let all = service["pending"] == 0 && service["partitions"] == 16;
        if all && told["silent"] == json!([]) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let taken = story.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let noticed = noticed(&said, &taken);
    let events: usize = said.iter().map(Vec::len).sum();
    println!(
        "{} faults ({happened} of processes and what they do, {} of the service), {events} events in {CHATS} chats: \
         {} missing, {} inversions, {} taken again under the same id with the same bytes, {} otherwise",
        happened + story.made.load(Ordering::SeqCst),
        story.made.load(Ordering::SeqCst),
        noticed.missing,
        noticed.inversions,
        noticed.again,
        noticed.strange,
    );
    assert!(events > faults / 2, "{events} events are nothing");
    assert_eq!((noticed.missing, noticed.inversions, noticed.strange), (0, 0, 0));
}
