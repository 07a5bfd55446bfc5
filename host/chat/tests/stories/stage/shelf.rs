//! An archive in memory, and a policy that says what a story wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chat::{Archives, Handler, Later, NotArchived, OverChat};
use model::{Body, ChatToken};
use plugin::{Answered, Call, Failure, Kind, OnFailure, Plan, Reply, Said, Stats};
use runtime::Instant;
use tokio::sync::Semaphore;

/// What stands on the shelf: the same for all nodes.
#[derive(Debug)]
pub(crate) struct Shelf {
    objects: Mutex<BTreeMap<ChatToken, (u64, Vec<String>)>>,
    /// How often somebody began to store something.
    pub(crate) begun: AtomicUsize,
    /// So many more attempts to store fail.
    pub(crate) failing: AtomicUsize,
    /// What is stored waits here before it is begun, and before it is told.
    pub(crate) before: Semaphore,
    pub(crate) after: Semaphore,
    /// Attachments that can be seen: key and version.
    attachments: Mutex<BTreeSet<(String, u64)>>,
    /// Which were deleted, in order.
    removed: Mutex<Vec<(String, u64)>>,
    /// How often somebody began to delete one.
    pub(crate) removing: AtomicUsize,
    /// Deletes wait here.
    pub(crate) gate: Semaphore,
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: Mutex::default(),
            begun: AtomicUsize::new(0),
            failing: AtomicUsize::new(0),
            before: Semaphore::new(1_000),
            after: Semaphore::new(1_000),
            attachments: Mutex::default(),
            removed: Mutex::default(),
            removing: AtomicUsize::new(0),
            gate: Semaphore::new(1_000),
        })
    }

    /// The texts that a chat was archived with.
    pub(crate) fn texts(&self, token: ChatToken) -> Option<Vec<String>> {
        self.objects.lock().unwrap().get(&token).map(|(_, texts)| texts.clone())
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Stores an attachment.
    pub(crate) fn attach(&self, key: &str, version: u64) {
        self.attachments.lock().unwrap().insert((key.to_owned(), version));
    }

    /// The attachments that can be seen.
    pub(crate) fn attachments(&self) -> Vec<u64> {
        self.attachments.lock().unwrap().iter().map(|(_, version)| *version).collect()
    }

    /// The versions that were deleted.
    pub(crate) fn removed(&self) -> Vec<u64> {
        self.removed.lock().unwrap().iter().map(|(_, version)| *version).collect()
    }

    fn take(&self, attachment: (String, u64)) {
        if self.attachments.lock().unwrap().remove(&attachment) {
            self.removed.lock().unwrap().push(attachment);
        }
    }

    /// Puts something there that nobody asked for.
    pub(crate) fn lay(&self, token: ChatToken, version: u64) {
        self.objects.lock().unwrap().insert(token, (version, Vec::new()));
    }

    /// Takes away what stands there for a chat.
    pub(crate) fn take_away(&self, token: ChatToken) {
        self.objects.lock().unwrap().remove(&token);
    }
}

impl Archives for Shelf {
    fn find(
        &self,
        chat: ChatToken,
        _until: Instant,
    ) -> Later<'_, Result<Option<u64>, NotArchived>> {
        let found = self.objects.lock().unwrap().get(&chat).map(|(version, _)| *version);
        Box::pin(std::future::ready(Ok(found)))
    }

    fn put<'a>(&'a self, over: &'a OverChat<'a>) -> Later<'a, Result<u64, NotArchived>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let _open = self.before.acquire().await;
            let fails = |left: usize| left.checked_sub(1);
            if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                return Err(NotArchived::Failed("the shelf is full".to_owned()));
            }
            let mut texts = Vec::new();
            let mut pages = over.pages();
            while let Some(page) = pages.next().await? {
                texts.extend(page.iter().map(|stored| match &stored.message.body {
                    Body::Text(text) => text.clone(),
                    other => other.to_string(),
                }));
            }
            let version = {
                let mut objects = self.objects.lock().unwrap();
                let next = u64::try_from(objects.len()).unwrap() + 1;
                let there = objects.entry(over.view.token).or_insert_with(|| (next, texts.clone()));
                if there.1 != texts {
                    return Err(NotArchived::There);
                }
                there.0
            };
            let _open = self.after.acquire().await;
            Ok(version)
        })
    }

    fn look<'a>(
        &'a self,
        key: &'a str,
        version: Option<u64>,
        _until: Instant,
    ) -> Later<'a, Result<Option<u64>, NotArchived>> {
        let attachments = self.attachments.lock().unwrap();
        let mut of_key =
            attachments.iter().filter(|(of, _)| of == key).map(|(_, version)| *version);
        let found = of_key.rfind(|found| version.is_none_or(|wanted| wanted == *found));
        Box::pin(std::future::ready(Ok(found)))
    }

    fn remove<'a>(
        &'a self,
        key: &'a str,
        version: u64,
        _until: Instant,
    ) -> Later<'a, Result<(), NotArchived>> {
        Box::pin(async move {
            self.removing.fetch_add(1, Ordering::SeqCst);
            let _open = self.gate.acquire().await;
            let fails = |left: usize| left.checked_sub(1);
            if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
                return Err(NotArchived::Failed("the shelf is locked".to_owned()));
            }
            self.take((key.to_owned(), version));
            Ok(())
        })
    }

    fn clear(&self, chat: ChatToken, _until: Instant) -> Later<'_, Result<(), NotArchived>> {
        Box::pin(async move {
            if self.objects.lock().unwrap().contains_key(&chat) {
                return Ok(());
            }
            self.removing.fetch_add(1, Ordering::SeqCst);
            let _open = self.gate.acquire().await;
            let all: Vec<_> = self.attachments.lock().unwrap().iter().cloned().collect();
            let of_chat = |(key, _): &(String, u64)| key.starts_with(&format!("{chat}/"));
            all.into_iter().filter(of_chat).for_each(|attachment| self.take(attachment));
            Ok(())
        })
    }
}

type Script = Box<dyn Fn(&str, Stats) -> Result<Plan, Failure> + Send + Sync>;

/// A policy with a script.
pub(crate) struct Policy {
    script: Script,
    /// When it was asked.
    pub(crate) asked: Mutex<Vec<&'static str>>,
}

impl Policy {
    pub(crate) fn new(
        script: impl Fn(&str, Stats) -> Result<Plan, Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), asked: Mutex::default() })
    }

    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().clone()
    }
}

impl Handler for Policy {
    fn name(&self) -> &'static str {
        "policy"
    }

    fn version(&self) -> &'static str {
        "1.0.0"
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Skip
    }

    fn kinds(&self) -> &[Kind] {
        &[Kind::Policy]
    }

    fn on_message(&self, _: Call, _: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(std::future::pending())
    }

    fn on_plan(
        &self,
        _call: Call,
        moment: &'static str,
        stats: Stats,
    ) -> Later<'_, Result<Answered<Plan>, Failure>> {
        self.asked.lock().unwrap().push(moment);
        let plan = (self.script)(moment, stats);
        let answered = plan.map(|answer| Answered { answer, effects: Vec::new(), fuel: 0 });
        Box::pin(std::future::ready(answered))
    }
}
