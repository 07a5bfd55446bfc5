//! Sends, repeats, refusals and readers while epochs are lost in any order, from a seed.
//!
//! Whatever happens: nothing that was shown goes missing, who follows cursors sees each message once, a key
//! has one message and one answer, and what was refused appears nowhere.

use std::collections::BTreeMap;

use chat::{Chain, Code, Config, Durability, Read, Refusal, Request, Response, Send};
use model::{ChatToken, Cursor};

use crate::stage::scripted::{Scripted, chain, pass, reject, text, verdict};
use crate::stage::{Asking, Keeps, Stage, message, page, reading, texts};

/// Numbers that look random and are the same in every run of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % most
    }

    fn node(&mut self) -> usize {
        usize::from(self.below(2) == 1)
    }
}

/// A send, and what became of it.
struct Attempt<'a> {
    key: String,
    text: String,
    asking: Option<Asking<'a>>,
    answer: Option<Result<Response, Refusal>>,
}

/// Somebody who reads on from where they are.
#[derive(Default)]
struct Reader {
    after: Option<Cursor>,
    seen: Vec<String>,
}

struct Chaos<'a> {
    stage: &'a Stage,
    token: ChatToken,
    dice: Dice,
    attempts: Vec<Attempt<'a>>,
    readers: [Reader; 2],
}

impl<'a> Chaos<'a> {
    fn send(&mut self) {
        let number = self.dice.below(12);
        let kind = if number < 3 { "bad" } else { "good" };
        let key = format!("{kind}-{number}");
        // Sometimes the key is used for something else.
        let text = if self.dice.below(8) == 0 { format!("{key}-other") } else { key.clone() };
        let acks = match self.dice.below(3) {
            0 => None,
            1 => Some(1),
            _ => Some(2),
        };
        let send = Send { acks, ..message(self.token, &key, &text) };
        let asking = Some(self.stage.ask(self.dice.node(), Request::Send(send)));
        self.attempts.push(Attempt { key, text, asking, answer: None });
    }

    /// Lets every request go on as far as it can.
    async fn settle(&mut self) {
        for _round in 0..6 {
            for attempt in &mut self.attempts {
                let Some(asking) = &mut attempt.asking else { continue };
                tokio::select! {
                    biased;
                    answer = asking => {
                        attempt.asking = None;
                        attempt.answer = Some(answer);
                    }
                    () = tokio::task::yield_now() => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn read(&mut self, which: usize, at: usize) {
        let Some(reader) = self.readers.get_mut(which) else { return };
        let request = Request::Read(Read { limit: 3, ..reading(self.token, reader.after) });
        let page = page(self.stage.ask(at, request).await);
        reader.seen.extend(texts(&page));
        reader.after = Some(page.cursor);
    }

    async fn step(&mut self) {
        let world = &self.stage.world;
        match self.dice.below(10) {
            0..=4 => self.send(),
            5 | 6 => world.commit(),
            7 => {
                let keeps =
                    if self.dice.below(2) == 0 { Keeps::Everything } else { Keeps::Committed };
                world.close();
                let during = self.dice.below(3);
                for _send in 0..during {
                    self.send();
                    self.settle().await;
                }
                self.stage.world.open(self.dice.node(), keeps);
            }
            _ => {
                let (which, at) = (self.dice.node(), self.dice.node());
                self.read(which, at).await;
            }
        }
        self.settle().await;
    }

    /// Everything that is left goes on to its end.
    async fn finish(&mut self) -> Vec<String> {
        self.stage.world.look().commits = true;
        self.stage.world.commit();
        for attempt in &mut self.attempts {
            if let Some(asking) = attempt.asking.take() {
                attempt.answer = Some(asking.await);
            }
        }
        for which in 0..2 {
            // A page has three messages at most, and nobody is further behind than all of them.
            for _page in 0..20 {
                self.read(which, 1 - which).await;
            }
        }
        self.stage.texts(0, self.token).await
    }

    fn check(&self, last: &[String]) {
        for reader in &self.readers {
            assert_eq!(reader.seen, last, "who follows cursors sees each message once");
        }
        let mut by_key: BTreeMap<&str, Vec<&Attempt<'_>>> = BTreeMap::new();
        for attempt in &self.attempts {
            by_key.entry(&attempt.key).or_default().push(attempt);
        }
        for (key, attempts) in by_key {
            let stored =
                last.iter().filter(|text| text.starts_with(&format!("{key}-")) || *text == key);
            let stored: Vec<&String> = stored.collect();
            assert!(stored.len() <= 1, "one message a key: {stored:?}");
            for Attempt { text, answer, .. } in attempts {
                match answer.as_ref().expect("it has ended") {
                    Ok(Response::Sent(sent)) if sent.durability == Durability::Quorum => {
                        assert_eq!(stored, [text], "acknowledged, and not there: {sent:?}");
                        let place = usize::try_from(sent.cursor.seq).unwrap() - 1;
                        assert_eq!(&last[place], text, "where its sender was told");
                    }
                    Ok(Response::Sent(_local)) => {}
                    Err(refusal) if refusal.code == Code::Rejected => {
                        assert!(stored.is_empty(), "refused, and there: {stored:?}");
                    }
                    Err(refusal) if refusal.code == Code::IdempotencyConflict => {
                        assert!(!stored.contains(&text), "both a conflict and there");
                    }
                    Err(refusal) => assert!(refusal.outcome.is_some(), "no outcome: {refusal:?}"),
                    Ok(other) => panic!("{other:?}"),
                }
            }
        }
    }
}

async fn run(seed: u64) {
    // The nodes disagree about what is bad: whoever decides first must be the one who decided.
    let strict = Scripted::new("strict", |call| match text(call).starts_with("bad") {
        true => verdict(reject("bad")),
        false => pass(),
    });
    let stage = Stage::new(vec![chain(&[&strict]), Chain::default()], Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut dice = Dice(seed);
    let steps = 20 + dice.below(60);
    let (attempts, readers) = (Vec::new(), Default::default());
    let mut chaos = Chaos { stage: &stage, token, dice, attempts, readers };
    for _step in 0..steps {
        chaos.step().await;
    }
    let last = chaos.finish().await;
    chaos.check(&last);
}

#[tokio::test]
async fn whatever_is_lost_nobody_is_told_what_is_not_so() {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(0..100, |seed: u64| seed..seed + 1);
    for seed in seeds {
        println!("SEED={seed}");
        run(seed).await;
    }
}
