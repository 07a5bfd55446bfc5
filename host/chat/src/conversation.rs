//! One chat on the node that leads it: what is appended, what is committed, and who waits for more.
//!
//! Two folds of the same log: handlers read the *appended* one, which is ahead, and everybody else the
//! *committed* one. Within an epoch what is appended is never withdrawn, so the keys of both are one table.
//! Everything here is behind one short lock; the turn, of which a chat has one at a time, is a lock of its
//! own that is held while handlers run.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{
    Change, Chat, ChatStatus, ChatToken, Cursor, Entry, KeyHash, Known, Message, Outcall,
    Redaction, Roster,
};
use runtime::Instant;
use tokio::sync::{MutexGuard, Notify};

use crate::deadlines::{self, Deadline, Deadlines};
use crate::ephemera::UNAVAILABLE;
use crate::fold::Fold;
use crate::life::archive;
use crate::lock::locked;
use crate::people::Crowd;
use crate::places::Place;
use crate::plan::Moments;
use crate::redacted::{Redacted, shown};
use crate::reign::Reign;
use crate::{Page, Stored, plan};

/// Requests that wait for their turn of one chat: more would only wait for their time-out.
const QUEUE_MAX: usize = 512;

/// In a chat of more people what is appended stays a chat of its own: to part it from the committed one with the next
/// message costs a step for each of them.
const JOINED_PEOPLE_MAX: usize = 64;

/// One chat of a reign.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// Its name.
    pub(crate) token: ChatToken,
    turns: tokio::sync::Mutex<()>,
    queued: AtomicUsize,
    live: Mutex<Live>,
    /// The committed state went on.
    changed: Notify,
    /// What is known of its people and is not written. Its lock is taken inside that of `live`, never around it.
    pub(crate) people: Crowd,
}

/// What the lock guards.
#[derive(Debug)]
struct Live {
    /// Shared with those who look at it: it is copied if it goes on while one of them still does. The committed one itself
    /// where nothing lies between them.
    appended: Arc<Chat>,
    uncommitted: usize,
    /// What is committed; but its keys are those of what is appended.
    committed: Fold,
    /// The last messages, without gaps up to the last one.
    recent: VecDeque<Stored>,
    /// When what it waits for is over; `None` for the many that wait for nothing.
    deadlines: Option<Box<Deadlines>>,
}

/// The right to be the one whose handlers run.
#[derive(Debug)]
pub(crate) struct TurnGuard<'a> {
    _held: MutexGuard<'a, ()>,
}

/// What is appended, looked at once.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    /// The chat after everything appended.
    pub(crate) chat: Arc<Chat>,
    /// Its last message.
    pub(crate) head: Cursor,
    /// What is known of the key asked about.
    pub(crate) known: Option<Known>,
    /// Entries that are not committed.
    pub(crate) uncommitted: usize,
}

/// What is committed, looked at once.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    /// The chat.
    pub(crate) chat: Arc<Chat>,
    /// Its last message.
    pub(crate) head: Cursor,
    /// Its last message when it ended.
    pub(crate) ended_at: Option<Cursor>,
}

/// One message of a stretch, in memory or where to find it.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// In memory.
    Here(Stored),
    /// In the log.
    There {
        /// Its cursor.
        cursor: Cursor,
        /// Its place.
        place: Place,
        /// Why it says nothing any more, if that is so.
        why: Option<Arc<Redaction>>,
    },
}

/// A stretch of a chat's committed messages.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// The messages, in order.
    pub(crate) found: Vec<Found>,
    /// The chat's last message at that moment.
    pub(crate) head: Cursor,
}

impl Conversation {
    /// A chat before its first entry.
    pub(crate) fn new(token: ChatToken) -> Self {
        Self::from(Fold::new(token))
    }

    /// Waits for the turn, in the order of asking. `None` when too many wait already, or at `deadline`.
    /// Cancel-safe: dropping it leaves the queue.
    pub(crate) async fn turn(&self, deadline: Instant) -> Option<TurnGuard<'_>> {
        if let Ok(held) = self.turns.try_lock() {
            return Some(TurnGuard { _held: held });
        }
        let _place = Queued::take(&self.queued)?;
        let left = deadline.saturating_duration_since(runtime::now());
        let held = Box::pin(runtime::timeout(left, self.turns.lock())).await.ok()?;
        Some(TurnGuard { _held: held })
    }

    /// Looks at what is appended, and for a key.
    pub(crate) fn appended(&self, key: Option<KeyHash>, epoch: u64) -> Appended {
        let live = locked(&self.live);
        let committed = live.committed.places.head();
        let seq = live.appended.messages;
        // What is not committed was appended in this epoch.
        let head = if seq == committed.seq { committed } else { Cursor { epoch, seq } };
        Appended {
            chat: Arc::clone(&live.appended),
            head,
            known: key.and_then(|key| live.committed.keys.find(key)),
            uncommitted: live.uncommitted,
        }
    }

    /// Looks at what is committed; `None` for a chat whose first entry is not.
    pub(crate) fn committed(&self) -> Option<Committed> {
        let live = locked(&self.live);
        let Fold { chat, places, ended_at, .. } = &live.committed;
        (chat.turn > 0).then(|| Committed {
            chat: Arc::clone(chat),
            head: places.head(),
            ended_at: *ended_at,
        })
    }

    /// How far the chat has come and who is in it, by what is committed; `None` for a chat whose first entry is not, and for
    /// one of more than `most`.
    pub(crate) fn roster(&self, most: usize) -> Option<(ChatStatus, Arc<Roster>)> {
        let live = locked(&self.live);
        let chat = &live.committed.chat;
        let told = chat.turn > 0 && chat.roster.len() <= most;
        told.then(|| (chat.status, Arc::clone(&chat.roster)))
    }

    /// The last committed message; `None` for a chat whose first entry is not committed.
    pub(crate) fn head(&self) -> Option<Cursor> {
        let live = locked(&self.live);
        (live.committed.chat.turn > 0).then(|| live.committed.places.head())
    }

    /// Whether it is forgotten by what is appended, and by what is committed.
    pub(crate) fn forgotten(&self) -> (bool, bool) {
        let live = locked(&self.live);
        (live.appended.forgotten, live.committed.chat.forgotten)
    }

    /// The chat after everything appended.
    pub(crate) fn latest(&self) -> Arc<Chat> {
        Arc::clone(&locked(&self.live).appended)
    }

    /// Whether it is over and something is to be done so that it is kept, or the policy is to be asked about it now.
    pub(crate) fn is_to_be_kept(&self, plans: bool, moments: Moments, now_ms: u64) -> bool {
        let chat = &locked(&self.live).committed.chat;
        plan::is_to_be_kept(chat, plans) || plan::moment_now(chat, moments, now_ms).is_some()
    }

    /// The version that it is archived as, if it is.
    pub(crate) fn archive(&self) -> Option<u64> {
        archive(&locked(&self.live).committed.chat)
    }

    /// When it was over, if it is at `now_ms`.
    pub(crate) fn over_ms(&self, now_ms: u64, grace_ms: u64) -> Option<u64> {
        let chat = &locked(&self.live).appended;
        chat.over_ms(chat.clock_ms.max(now_ms), grace_ms)
    }

    /// Somebody shows that they are there. Whether the chat is to be looked at for it.
    pub(crate) fn hear(&self, id: &str, idle: Option<Duration>) -> bool {
        let live = locked(&self.live);
        let Some(member) = live.committed.chat.roster.get(id) else { return false };
        let chat = &live.committed.chat;
        self.people.with(|people| people.hear(chat, member, runtime::now(), idle))
    }

    /// The turn that the next entry must have.
    pub(crate) fn next_turn(&self) -> u64 {
        locked(&self.live).appended.turn
    }

    /// An entry was appended at `seq`.
    pub(crate) fn append(&self, seq: u64, entry: &Entry) {
        let live = &mut *locked(&self.live);
        if let Some(remembered) = &entry.remembered {
            let at = (seq, entry.time_ms);
            live.committed.keys.remember(remembered, at, live.appended.messages);
        }
        for (sender, key) in entry.settled() {
            live.committed.keys.settle(sender, key, seq, live.appended.messages);
        }
        Arc::make_mut(&mut live.appended).apply(entry);
        live.uncommitted += 1;
    }

    /// The entry at `seq` is committed. Returns what each of its messages weighs in memory, when the chat
    /// has something to do by itself, and whether its first message is among them.
    pub(crate) fn commit(
        &self,
        epoch: u64,
        seq: u64,
        entry: &Entry,
        idle: Option<Duration>,
    ) -> (Vec<usize>, Option<Instant>, bool) {
        let committed = {
            let live = &mut *locked(&self.live);
            live.uncommitted = live.uncommitted.saturating_sub(1);
            let before = live.committed.places.count();
            live.committed.settle(epoch, seq, entry);
            live.join();
            let mut weights = Vec::new();
            for (number, message) in (before + 1..).zip(entry.messages()) {
                let cursor = Cursor { epoch, seq: number };
                live.recent.push_back(Stored { cursor, message: Arc::clone(message) });
                weights.push(weight(message));
            }
            live.take_back(entry);
            let whole = |_since_ms, after_ms: u32| Duration::from_millis(after_ms.into());
            let look_at = self.people.follow(&live.committed.chat, entry, idle);
            let first = before == 0 && !weights.is_empty();
            (weights, earlier(live.follow(whole), look_at), first)
        };
        self.changed.notify_waiters();
        committed
    }

    /// Everything is loaded, and the wall clock says `wall_ms`: what the chat waits for runs on. Returns when
    /// it has something to do by itself.
    pub(crate) fn arm(&self, wall_ms: u64) -> Option<Instant> {
        let live = &mut *locked(&self.live);
        live.follow(|since_ms, after_ms| deadlines::left(wall_ms, since_ms, after_ms))
    }

    /// When the chat has something to do by itself, as far as is known.
    pub(crate) fn wakes(&self) -> Option<Instant> {
        let wakes = locked(&self.live).wakes();
        earlier(wakes, self.people.look_at())
    }

    /// Whether somebody in it could fall silent.
    pub(crate) fn is_watched(&self) -> bool {
        let roster = &locked(&self.live).committed.chat.roster;
        roster.values().any(|member| member.status != UNAVAILABLE)
    }

    /// Whether a timer, a hold or an event is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        locked(&self.live).wakes().is_some_and(|at| at <= now)
    }

    /// At most `most` of what is over by itself.
    pub(crate) fn due(&self, now: Instant, most: usize) -> Vec<Deadline> {
        let live = locked(&self.live);
        live.deadlines.as_ref().map(|deadlines| deadlines.due(now, most)).unwrap_or_default()
    }

    /// Forgets the oldest message that is in memory.
    pub(crate) fn forget_oldest(&self) {
        locked(&self.live).recent.pop_front();
    }

    /// After which message somebody stands who holds `cursor`.
    pub(crate) fn resolve(&self, cursor: Cursor) -> u64 {
        locked(&self.live).committed.places.resolve(cursor)
    }

    /// The cursor of a committed message.
    pub(crate) fn cursor(&self, seq: u64) -> Cursor {
        locked(&self.live).committed.places.cursor(seq)
    }

    /// The calls out that it waits for, by number.
    pub(crate) fn calls(&self) -> BTreeMap<u64, Arc<Outcall>> {
        let live = locked(&self.live);
        let waiting = live.committed.chat.waiting.as_ref();
        waiting.map(|waiting| waiting.outcalls.clone()).unwrap_or_default()
    }

    /// The number of the committed message that is at `index` of the entry at `seq`.
    pub(crate) fn number(&self, seq: u64, index: u32) -> Option<u64> {
        locked(&self.live).committed.places.number(seq, index)
    }

    /// What was taken back of it.
    pub(crate) fn redacted<T>(&self, look: impl FnOnce(&Redacted) -> T) -> T {
        look(&locked(&self.live).committed.redacted)
    }

    /// At most `most` of the messages after `after` and before `before`.
    pub(crate) fn stretch(&self, after: u64, before: Option<u64>, most: usize) -> Stretch {
        let live = locked(&self.live);
        let places = &live.committed.places;
        let end = places.count().min(before.map_or(u64::MAX, |before| before.saturating_sub(1)));
        let end = end.min(after.saturating_add(u64::try_from(most).unwrap_or(u64::MAX)));
        let recent_from = live.recent.front().map_or(u64::MAX, |oldest| oldest.cursor.seq);
        let found = (after + 1..=end).filter_map(|seq| {
            let recent = seq.checked_sub(recent_from).and_then(|at| usize::try_from(at).ok());
            match recent.and_then(|at| live.recent.get(at)) {
                Some(stored) => Some(Found::Here(stored.clone())),
                None => {
                    let place = places.place(seq)?;
                    let why = live.committed.redacted.find(seq).map(Arc::clone);
                    Some(Found::There { cursor: places.cursor(seq), place, why })
                }
            }
        });
        Stretch { found: found.collect(), head: places.head() }
    }

    /// Waits until `met` is true of the committed fold, `deadline` passes or the reign ends. Returns
    /// whether it was met. Cancel-safe.
    pub(crate) async fn until(
        &self,
        reign: &Reign,
        deadline: Instant,
        met: impl Fn(&Chat, Cursor) -> bool,
    ) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking: a commit between the look and the wait must wake us.
            changed.as_mut().enable();
            {
                let live = locked(&self.live);
                if met(&live.committed.chat, live.committed.places.head()) {
                    return true;
                }
            }
            tokio::select! {
                biased;
                () = reign.closed().stopped() => return false,
                () = changed => {}
                () = runtime::sleep_until(deadline) => return false,
            }
        }
    }
}

impl From<Fold> for Conversation {
    /// A chat of which everything that is appended is committed. Its messages stay on the disk until somebody
    /// asks for them.
    fn from(fold: Fold) -> Self {
        Self {
            token: fold.chat.token,
            turns: tokio::sync::Mutex::new(()),
            queued: AtomicUsize::new(0),
            live: Mutex::new(Live {
                appended: Arc::clone(&fold.chat),
                uncommitted: 0,
                committed: fold,
                recent: VecDeque::new(),
                deadlines: None,
            }),
            changed: Notify::new(),
            people: Crowd::default(),
        }
    }
}

/// The earlier of two times, if there is one.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

impl Live {
    /// Where nothing lies between what is appended and what is committed, one chat is enough for both.
    fn join(&mut self) {
        if self.uncommitted == 0 && self.appended.roster.len() <= JOINED_PEOPLE_MAX {
            self.appended = Arc::clone(&self.committed.chat);
        }
    }

    /// Messages that an entry takes back say nothing any more in memory either.
    fn take_back(&mut self, entry: &Entry) {
        for change in &entry.changes {
            let Change::Redact { number, .. } = change else { continue };
            let oldest = self.recent.front().map_or(u64::MAX, |oldest| oldest.cursor.seq);
            let at = number.checked_sub(oldest).and_then(|at| usize::try_from(at).ok());
            if let Some(stored) = at.and_then(|at| self.recent.get_mut(at)) {
                stored.message = shown(&stored.message, self.committed.redacted.find(*number));
            }
        }
    }

    /// Follows what the committed chat waits for. Returns when it has something to do by itself.
    fn follow(&mut self, left: impl Fn(u64, u32) -> Duration) -> Option<Instant> {
        let chat = &self.committed.chat;
        // Nearly always: then not even the clock is looked at.
        if !chat.is_due() && self.deadlines.is_none() {
            return None;
        }
        let deadlines = self.deadlines.get_or_insert_default();
        deadlines.follow(chat.waiting.as_deref(), runtime::now(), left);
        if deadlines.is_empty() {
            self.deadlines = None;
        }
        self.wakes()
    }

    fn wakes(&self) -> Option<Instant> {
        let waiting = self.committed.chat.waiting.as_ref();
        if waiting.is_some_and(|waiting| !waiting.notices.is_empty()) {
            return Some(runtime::now());
        }
        self.deadlines.as_ref().and_then(|deadlines| deadlines.next())
    }
}

/// A place in a bounded queue.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn take(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        // Dropping the place gives it back, also when it is one too many.
        (count.fetch_add(1, Ordering::Relaxed) < QUEUE_MAX).then_some(place)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a message weighs in memory, about; and in an answer, at most.
pub(crate) fn weight(message: &Message) -> usize {
    let pairs: usize =
        message.attrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
    let stamps: usize = message.stamps.iter().map(|stamp| stamp.plugin.len() + 96).sum();
    let names = match &message.route {
        model::Route::Only(names) => names.iter().map(|name| name.len() + 24).sum(),
        model::Route::Everyone | model::Route::Nobody => 0,
    };
    size_of::<Message>()
        + message.sender.len()
        + message.kind.len()
        + message.body.len()
        + message.archive.as_ref().map_or(0, |archive| archive.bytes())
        + pairs
        + stamps
        + names
}

impl Page {
    /// Nothing, to somebody who stands at `cursor`.
    pub(crate) fn empty(cursor: Cursor) -> Self {
        Self { messages: Vec::new(), cursor, head: cursor, more: false, gap: None, pulse: None }
    }
}
