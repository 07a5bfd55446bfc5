//! What somebody may read of a chat, and the wait for more.
//!
//! Only what is committed, in pages that end where the reader has seen enough, the page is full or the
//! chat ends. A cursor counts hidden messages too, so a page can move a reader on and show nothing.

use model::{Chat, Cursor};

use crate::chats::{Asked, Shared};
use crate::conversation::{Conversation, Found, Stretch, weight};
use crate::people::{self, Attending};
use crate::ran::{Interrupt, Ran, behind};
use crate::reign::Reign;
use crate::waiting::{NoPlace, Place};
use crate::{Code, Page, Read, Refusal, Response, Stored, history};

/// Bytes of a page, about: an answer between nodes carries it with room to spare.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Messages looked at in one go.
const STRETCH_MAX: usize = 128;

/// Messages looked at for one page. A reader to whom none of them is routed asks again.
const SCAN_MAX: usize = 4096;

impl Shared {
    /// Messages, or the wait for one.
    pub(crate) async fn read(&self, reign: &Reign, read: &Read, asked: &Asked<'_>) -> Ran {
        let conversation = self.existing(reign, read.token, asked).await?;
        if read.confirmed {
            self.confirm(reign, asked).await?;
        }
        self.caught_up(reign, &conversation, asked.context.seen, asked).await?;
        self.caught_up(reign, &conversation, read.after, asked).await?;
        if let Some(reader) = &read.reader {
            self.hear_reader(reign, &conversation, reader);
        }
        let mut scan = Scan::new(&conversation, read, self.config.sabotage.plain_cursors);
        let mut waiting = None;
        loop {
            let mut page = self.scan(reign, &conversation, &mut scan, read).await?;
            page.gap = scan.gap;
            page.pulse = read.pulse.and_then(|known| self.pulse(reign, &conversation, known));
            let waits = read.before.is_none()
                && runtime::now() < asked.waits_until
                && !self.stopping.is_stopped();
            let is_told = page.pulse.is_some() && people::may_tell(asked.began);
            if !page.messages.is_empty() || !waits || is_told || page.gap.is_some() {
                self.meters.pages.increment(1);
                self.meters.gaps.increment(page.gap.is_some().into());
                return Ok(Response::Page(page));
            }
            if page.more {
                // Nothing of what was looked at is routed to them, and there is more to look at.
                tokio::task::yield_now().await;
                continue;
            }
            if waiting.is_none() {
                waiting = Some((self.wait_place(asked)?, Attending::begin(&conversation, read)));
            }
            let at = scan.at;
            let news = |chat: &Chat, head: Cursor| head.seq > at || chat.forgotten;
            let more = conversation.until(reign, asked.waits_until, news);
            let there = page.pulse.is_some();
            let pulse = async {
                match read.pulse {
                    Some(known) => {
                        people::until_pulse(&conversation, known, there, asked.began).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.stopping.stopped() => {}
                () = pulse => {}
                _more = more => {
                    if reign.closed().is_stopped() {
                        return Err(Interrupt::Ended { appended: false });
                    }
                    if conversation.forgotten().1 {
                        let archive = conversation.archive();
                        return Err(Refusal::unknown_chat(read.token, archive).into());
                    }
                }
            }
        }
    }

    /// Waits until this reign has what the asker has seen.
    pub(crate) async fn caught_up(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        seen: Option<Cursor>,
        asked: &Asked<'_>,
    ) -> Result<(), Interrupt> {
        let Some(seen) = seen.filter(|_| !self.config.sabotage.ignore_seen) else { return Ok(()) };
        if seen.epoch > reign.epoch {
            return Err(Interrupt::Behind);
        }
        if seen.epoch < reign.epoch {
            // A reign begins with everything that was committed before; what is missing was withdrawn.
            return Ok(());
        }
        let patience = asked.deadline.min(runtime::now() + self.config.patience);
        if conversation.until(reign, patience, |_, head| head.seq >= seen.seq).await {
            return Ok(());
        }
        if reign.closed().is_stopped() {
            return Err(Interrupt::Ended { appended: false });
        }
        Err(behind().into())
    }

    /// A place among those who wait.
    fn wait_place(&self, asked: &Asked<'_>) -> Result<Place<'_>, Refusal> {
        self.waiting.take(asked.context.caller).map_err(|none| {
            let detail = match none {
                NoPlace::Full => "too many readers wait on the node that leads this chat",
                NoPlace::Greedy => {
                    "you have as many readers waiting on the node that leads this chat as it has places left"
                }
            };
            Refusal::new(Code::Overloaded, detail)
        })
    }

    /// One page from where the scan stands.
    async fn scan(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        scan: &mut Scan,
        read: &Read,
    ) -> Result<Page, Interrupt> {
        let limit = usize::from(read.limit.max(1));
        let (mut messages, mut bytes, mut looked) = (Vec::new(), 0, 0);
        let head = 'page: loop {
            let Stretch { found, head } = conversation.stretch(scan.at, scan.before, STRETCH_MAX);
            looked += found.len();
            if found.is_empty() {
                break head;
            }
            for stored in self.stored(reign, conversation, found).await? {
                if messages.len() >= limit || bytes >= PAGE_BYTES_MAX {
                    break 'page head;
                }
                scan.at = stored.cursor.seq;
                if stored.message.route.reaches(read.reader.as_deref()) {
                    bytes += weight(&stored.message);
                    messages.push(stored);
                }
            }
            if looked >= SCAN_MAX {
                break head;
            }
        };
        let cursor = match read.after {
            // Nothing was passed: the reader keeps the cursor it came with, unless it means nothing any more.
            Some(after) if scan.at == scan.from && scan.gap.is_none() => after,
            _ => conversation.cursor(scan.at),
        };
        let end = scan.before.map_or(head.seq, |before| head.seq.min(before.saturating_sub(1)));
        Ok(Page { messages, cursor, head, more: scan.at < end, gap: None, pulse: None })
    }

    /// The messages of a stretch, from memory where they are there.
    async fn stored(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        found: Vec<Found>,
    ) -> Result<Vec<Stored>, Interrupt> {
        let ledger = &*self.ledger;
        match history::fetch(ledger, reign.partition, conversation.token, found).await {
            Some((stored, read)) => {
                self.meters.disk_messages.increment(u64::try_from(read).unwrap_or(u64::MAX));
                Ok(stored)
            }
            None => {
                let detail = "messages of this chat cannot be read at the moment";
                Err(Refusal::new(Code::NotReady, detail).into())
            }
        }
    }
}

/// Where a reader stands.
#[derive(Debug)]
struct Scan {
    /// After which message it began.
    from: u64,
    /// After which message it is.
    at: u64,
    /// Where it must not go.
    before: Option<u64>,
    /// Where it goes on, if the cursor it came with was withdrawn.
    gap: Option<Cursor>,
}

impl Scan {
    fn new(conversation: &Conversation, read: &Read, plain: bool) -> Self {
        let from = read.after.map_or(0, |after| match plain {
            true => after.seq,
            false => conversation.resolve(after),
        });
        let before = read.before.map(|before| {
            let at = conversation.resolve(before);
            // Of a cursor that was withdrawn, everything it goes on after comes before it.
            if conversation.cursor(at) == before { at } else { at + 1 }
        });
        // Before the first message there is nothing to withdraw.
        let gap = read.after.filter(|after| after.seq > 0).and_then(|after| {
            let there = conversation.cursor(from);
            (there != after).then_some(there)
        });
        Self { from, at: from, before, gap }
    }
}
