//! What two versions of a handler answered to the same calls.
//!
//! Answers are the same if the verdict, what it carries, the notes beside it and everything asked for are; what
//! a call cost is no part of it. What differs is counted by the pair of words, with a few examples of each,
//! so that a person can judge it. Pure.

use model::{ChatToken, MessageId};
use serde::{Deserialize, Serialize};

use crate::{Effect, Failure, Reply, Verdict};

/// Pairs of words that are told apart: there are some twenty words. Those after them are counted and have no
/// examples.
const PAIRS_MAX: usize = 64;

/// Examples of one pair.
pub const EXAMPLES_MAX: usize = 5;

/// Longest text of an example: a person reads it.
const TEXT_BYTES_MAX: usize = 400;

/// Longest words of one answer in an example.
const ANSWER_BYTES_MAX: usize = 600;

/// Two versions, call by call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Calls that both answered, or failed at.
    pub calls: u64,
    /// How many of them differ.
    pub differing: u64,
    /// At how many of them the second one failed.
    pub failed: u64,
    /// Calls that the second one was not asked about, because it had too much to do.
    pub dropped: u64,
    /// What differs.
    pub pairs: Vec<Pair>,
}

/// One way in which answers differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The first one's verdict in one word, or how it failed.
    pub live: String,
    /// The second one's.
    pub other: String,
    /// How often.
    pub count: u64,
    /// Some of the calls.
    pub examples: Vec<Example>,
}

/// One call about which they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The chat.
    pub chat: String,
    /// The message.
    pub message: String,
    /// Who sent it.
    pub sender: String,
    /// Its kind.
    pub kind: String,
    /// What it says, cut where it is long.
    pub text: String,
    /// The first one's answer in words.
    pub live: String,
    /// The second one's.
    pub other: String,
}

/// What somebody was asked about.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// The chat.
    pub chat: ChatToken,
    /// The message.
    pub message: MessageId,
    /// Who sent it.
    pub sender: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// What it says.
    pub text: String,
}

/// An answer, or why there is none.
type Answer = Result<Reply, Failure>;

impl Comparison {
    /// One more call. What the host could not run says nothing about either.
    pub fn compare(&mut self, about: &About<'_>, live: &Answer, other: &Answer) {
        if is_nobodys(live) || is_nobodys(other) {
            self.dropped += 1;
            return;
        }
        self.calls += 1;
        self.failed += u64::from(other.is_err());
        if same(live, other) {
            return;
        }
        self.differing += 1;
        let Some(pair) = self.pair(word(live), word(other)) else { return };
        pair.count += 1;
        if pair.examples.len() < EXAMPLES_MAX {
            pair.examples.push(Example {
                chat: about.chat.to_string(),
                message: about.message.to_string(),
                sender: cut(about.sender.to_owned(), TEXT_BYTES_MAX),
                kind: cut(about.kind.to_owned(), TEXT_BYTES_MAX),
                text: cut(about.text.clone(), TEXT_BYTES_MAX),
                live: words(live),
                other: words(other),
            });
        }
    }

    /// Adds what was compared elsewhere.
    pub fn add(&mut self, more: &Self) {
        self.calls = self.calls.saturating_add(more.calls);
        self.differing = self.differing.saturating_add(more.differing);
        self.failed = self.failed.saturating_add(more.failed);
        self.dropped = self.dropped.saturating_add(more.dropped);
        for pair in &more.pairs {
            let Some(known) = self.pair(&pair.live, &pair.other) else { continue };
            known.count = known.count.saturating_add(pair.count);
            let room = EXAMPLES_MAX.saturating_sub(known.examples.len());
            known.examples.extend(pair.examples.iter().take(room).cloned());
        }
    }

    /// The pair of these words; `None` when there are too many.
    fn pair(&mut self, live: &str, other: &str) -> Option<&mut Pair> {
        let at = self.pairs.iter().position(|it| it.live == live && it.other == other);
        if at.is_none() && self.pairs.len() < PAIRS_MAX {
            let (live, other) = (live.to_owned(), other.to_owned());
            self.pairs.push(Pair { live, other, count: 0, examples: Vec::new() });
            return self.pairs.last_mut();
        }
        at.and_then(|at| self.pairs.get_mut(at))
    }

    /// How many of a million calls differ, rounded up.
    pub fn differing_ppm(&self) -> u64 {
        self.differing.saturating_mul(1_000_000).div_ceil(self.calls.max(1))
    }
}

/// Whether it says something about the host and nothing about the guest.
const fn is_nobodys(answer: &Answer) -> bool {
    matches!(answer, Err(Failure::Busy | Failure::Paused { .. }))
}

fn same(live: &Answer, other: &Answer) -> bool {
    match (live, other) {
        (Ok(live), Ok(other)) => {
            live.verdict == other.verdict
                && live.notes == other.notes
                && live.effects == other.effects
        }
        // What a trap says is where in the code it was.
        (Err(live), Err(other)) => live.name() == other.name(),
        _ => false,
    }
}

/// The verdict, or how it failed.
fn word(answer: &Answer) -> &'static str {
    match answer {
        Ok(reply) => reply.verdict.name(),
        Err(failure) => failure.name(),
    }
}

/// All of an answer, for people.
fn words(answer: &Answer) -> String {
    let reply = match answer {
        Ok(reply) => reply,
        Err(failure) => return cut(failure.to_string(), ANSWER_BYTES_MAX),
    };
    let verdict = match &reply.verdict {
        Verdict::Pass | Verdict::Accept => reply.verdict.name().to_owned(),
        Verdict::Rewrite(body) => format!("rewrite: {body}"),
        Verdict::Reject { code, reason, .. } => format!("reject ({code}): {reason}"),
        Verdict::Hold { reason, deadline_ms, .. } => format!("hold for {deadline_ms} ms: {reason}"),
    };
    let notes = reply.notes.iter().map(|(name, value)| format!("note {name} = {value}"));
    let effects = reply.effects.iter().map(Effect::to_string);
    let all: Vec<String> = [verdict].into_iter().chain(notes).chain(effects).collect();
    cut(all.join("; "), ANSWER_BYTES_MAX)
}

fn cut(text: String, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text;
    }
    let mut text = crate::outcome::cut(text, bytes_max);
    text.push('…');
    text
}

#[cfg(test)]
mod tests {
    use model::{ChatToken, MessageId};

    use super::{About, Answer, Comparison, EXAMPLES_MAX};
    use crate::{Effect, Failure, Reply, Verdict};

    fn about(number: u8) -> About<'static> {
        About {
            chat: ChatToken([1; 16]),
            message: MessageId([number; 16]),
            sender: "alice",
            kind: "text",
            text: "x".repeat(1000),
        }
    }

    fn reply(verdict: Verdict, fuel: u64) -> Answer {
        Ok(Reply { verdict, notes: Vec::new(), effects: Vec::new(), fuel })
    }

    fn reject(reason: &str) -> Answer {
        let verdict =
            Verdict::Reject { code: "no".into(), reason: reason.into(), retry_after_ms: None };
        reply(verdict, 1)
    }

    fn trap(text: &str) -> Answer {
        Err(Failure::Trap { text: text.into() })
    }

    #[test]
    fn everything_that_was_decided_counts_and_what_it_cost_does_not() {
        let mut both = Comparison::default();
        both.compare(&about(0), &reply(Verdict::Pass, 5), &reply(Verdict::Pass, 9));
        both.compare(&about(0), &trap("here"), &trap("there"));
        assert_eq!((both.calls, both.differing, both.failed), (2, 0, 1));
        let mut asks = reply(Verdict::Pass, 5).unwrap();
        asks.effects.push(Effect::StartChat);
        let mut notes = reply(Verdict::Pass, 5).unwrap();
        notes.notes.push(("a".into(), "b".into()));
        for other in [Ok(asks), Ok(notes), reject("x"), trap("here")] {
            both.compare(&about(0), &reply(Verdict::Pass, 5), &other);
        }
        both.compare(&about(0), &reject("one"), &reject("two"));
        assert_eq!((both.calls, both.differing, both.failed), (7, 5, 2));
        let pairs: Vec<(&str, &str, u64)> =
            both.pairs.iter().map(|it| (&*it.live, &*it.other, it.count)).collect();
        let expected = [
            ("pass", "pass", 2),
            ("pass", "reject", 1),
            ("pass", "trap", 1),
            ("reject", "reject", 1),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(both.pairs[0].examples[0].other, "pass; start the chat");
        assert_eq!(both.pairs[1].examples[0].other, "reject (no): x");
        assert_eq!(both.differing_ppm(), 714_286);
    }

    #[test]
    fn what_the_host_could_not_run_says_nothing() {
        let mut both = Comparison::default();
        both.compare(&about(0), &reply(Verdict::Pass, 1), &Err(Failure::Busy));
        both.compare(&about(0), &Err(Failure::Paused { retry_after_ms: 1 }), &trap(""));
        assert_eq!((both.calls, both.differing, both.dropped), (0, 0, 2));
        assert_eq!(both.differing_ppm(), 0);
    }

    #[test]
    fn examples_are_few_and_short_also_of_many_nodes() {
        let mut all = Comparison::default();
        for node in 0..3 {
            let mut one = Comparison::default();
            for call in 0..4 {
                one.compare(&about(10 * node + call), &reply(Verdict::Pass, 1), &reject("r"));
            }
            all.add(&one);
        }
        assert_eq!((all.calls, all.differing, all.pairs.len()), (12, 12, 1));
        assert_eq!((all.pairs[0].count, all.pairs[0].examples.len()), (12, EXAMPLES_MAX));
        assert!(all.pairs[0].examples[0].text.len() < 410);
        assert_eq!(all.pairs[0].examples[4].message, MessageId([10; 16]).to_string());
    }
}
