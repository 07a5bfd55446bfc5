//! Whatever a peer with a good certificate says, a core goes on: nothing panics, no answer is given twice, and
//! what two honest members hold and know to be committed stays in both, the same.
//!
//! More the rules do not promise after a liar, for they are made against crashes and not against lies. It can
//! depose a primary, refuse for ever, acknowledge what it has not got (so that what one honest member
//! holds was called committed), and have epochs promised that nobody ever claimed. The registry's records are
//! below those then, and nobody leads until an operator has looked; four hundred lies always come to that. What
//! is checked is that it is said aloud, and that who still leads still commits.

#![expect(clippy::indexing_slicing, clippy::panic, reason = "a story's stage is set right")]

use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use replication::core::{Alarm, Event, Outcome};
use wire::{
    Ack, Append, Base, BaseHave, Beat, BeatAnswer, End, Entry, Fetch, Fetched, HandOver,
    HandOverAnswer, Lead, Look, Looked, Message, PreVote, PreVoteAnswer, PreVoteAsk, Promised,
    Refuse, RefuseWhy, Seal, SealAnswer, Sealed, Vote,
};

use crate::stage::{P, Stage, id};

/// Says anything.
struct Babbler {
    rng: SmallRng,
    /// Places of real logs, which are more dangerous than invented ones.
    ends: Vec<End>,
    /// Its numbers may be as high as numbers get, epochs among them.
    boundless: bool,
}

impl Babbler {
    fn number(&mut self) -> u64 {
        match self.rng.random_range(0..8) {
            0 if self.boundless => u64::MAX - self.rng.random_range(0..2),
            _ => self.rng.random_range(0..6),
        }
    }

    fn partition(&mut self) -> PartitionId {
        PartitionId(if self.rng.random_range(0..9) == 0 { 77 } else { 0 })
    }

    fn end(&mut self) -> End {
        let place = self.rng.random_range(0..self.ends.len() + 1);
        match self.ends.get(place) {
            Some(end) => *end,
            None => End { epoch: self.number(), seq: self.number(), chain: [7; 16] },
        }
    }

    fn promised(&mut self) -> Promised {
        Promised { partition: self.partition(), epoch: self.number() }
    }

    fn entries(&mut self, prev: End) -> Vec<Entry> {
        let mut chain = segment::Chain(prev.chain);
        let count = self.rng.random_range(0..4);
        let entry = |n: u64| {
            let (epoch, seq) = (self.number(), prev.seq.wrapping_add(n + 1));
            let payload = Bytes::from_static(b"\x01babble");
            chain = chain.next(epoch, seq, &payload);
            Entry { epoch, seq, chain: chain.0, payload }
        };
        (0..count).map(entry).collect()
    }

    fn why(&mut self) -> RefuseWhy {
        match self.rng.random_range(0..5) {
            0 => RefuseWhy::Stale { promised: self.rng.random_range(0..4) },
            1 => RefuseWhy::Gap { after: self.end() },
            2 => RefuseWhy::Full,
            3 => RefuseWhy::NotMember,
            _ => RefuseWhy::Divergent,
        }
    }

    fn message(&mut self) -> Message {
        let (partition, epoch, end) = (self.partition(), self.number(), self.end());
        let (yes, seq) = (self.rng.random(), self.number());
        match self.rng.random_range(0..17) {
            0 => {
                let leads = vec![Lead { partition, epoch, commit: seq }];
                Message::Beat(Beat { round: seq, leads, stuck: yes, full: yes, session: yes })
            }
            1 => {
                let higher = vec![self.promised()];
                Message::BeatAnswer(BeatAnswer { round: seq, higher })
            }
            2 | 3 => {
                let entries = self.entries(end);
                Message::Append(Append { partition, epoch, prev: end, entries, commit: seq })
            }
            4 => Message::Ack(Ack { partition, epoch, matched: seq }),
            5 => Message::Refuse(Refuse { partition, epoch, why: self.why() }),
            6 => {
                let asks = vec![PreVoteAsk { partition, epoch, end, ready: yes }];
                Message::PreVote(PreVote { asks })
            }
            7 => {
                let votes = vec![Vote { partition, epoch, yes, end }];
                Message::PreVoteAnswer(PreVoteAnswer { votes })
            }
            8 => Message::Seal(Seal { seals: vec![self.promised()] }),
            9 => {
                let sealed = Sealed { partition, epoch, end, base: seq, commit: seq, damaged: yes };
                Message::SealAnswer(SealAnswer { sealed: vec![sealed] })
            }
            10 => Message::Fetch(Fetch { partition, epoch, after: end }),
            11 => {
                let entries = self.entries(end);
                Message::Fetched(Fetched { partition, epoch, prev: end, entries })
            }
            12 => Message::Look(Look { partition, epoch, seq }),
            13 => {
                let verified = self.number();
                Message::Looked(Looked { partition, epoch, place: end, verified, commit: seq })
            }
            14 => {
                let (digest, total, at) = ([7; 32], self.number(), self.number());
                let piece = Bytes::from_static(b"babble");
                Message::Base(Base { partition, epoch, place: end, digest, total, at, piece })
            }
            15 => Message::BaseHave(BaseHave { partition, epoch, place: end, have: seq }),
            _ if yes => Message::HandOver(HandOver { partition, epoch, end }),
            _ => Message::HandOverAnswer(HandOverAnswer { partition, epoch, taken: seq > 2 }),
        }
    }
}

#[test]
fn whatever_a_peer_says_nothing_panics_and_what_is_committed_stays() {
    let mut serving = 0;
    for seed in 0..60 {
        let mut stage = Stage::opened(&["a", "b", "c"], 2);
        let token = stage.submit("a", "kept", 2);
        stage.run(Duration::from_secs(1));
        assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 2 }));
        babble(&mut stage, seed);
        for name in ["a", "b"] {
            assert_eq!(stage.log(name).get(1).map(String::as_str), Some("kept"), "seed {seed}");
        }
        let agreed = stage.view("a").commit.min(stage.view("b").commit);
        let agreed = usize::try_from(agreed).unwrap();
        assert!(agreed >= 2, "seed {seed}");
        let both = ["a", "b"].map(|name| stage.log(name)[..agreed].to_vec());
        assert_eq!(both[0], both[1], "seed {seed}: both know it to be committed");
        let goes_on = goes_on(&mut stage, seed);
        serving += u32::from(goes_on && seed % 2 == 1);
    }
    println!("{serving} of 30 go on by themselves");
}

/// One member lies, to a primary, to a member and to a candidate.
fn babble(stage: &mut Stage, seed: u64) {
    let ends = stage.nodes[&id("a")].disk[&P].entries.iter().map(|entry| End {
        epoch: entry.epoch,
        seq: entry.seq,
        chain: entry.chain.0,
    });
    let ends = ends.collect();
    let rng = SmallRng::seed_from_u64(seed);
    let mut babbler = Babbler { rng, ends, boundless: seed.is_multiple_of(2) };
    for turn in 0..400 {
        let message = babbler.message();
        let to = if turn % 2 == 0 { "a" } else { "b" };
        stage.tell(to, Event::Message { from: id("c"), message });
        stage.run(Duration::from_millis(if turn % 50 == 0 { 900 } else { 10 }));
    }
}

/// The liar is gone. Whether the honest two go on; if not, somebody has said why.
fn goes_on(stage: &mut Stage, seed: u64) -> bool {
    stage.kill("c");
    stage.run(Duration::from_secs(60));
    let Some(leader) = ["a", "b"].into_iter().find(|name| stage.view(name).leading) else {
        let alarms: Vec<Alarm> =
            ["a", "b"].iter().flat_map(|name| stage.node(name).alarms.clone()).collect();
        assert!(!alarms.is_empty(), "seed {seed}: nobody leads, and nobody says why");
        return false;
    };
    let token = stage.submit(leader, "after all", 2);
    stage.run(Duration::from_secs(6));
    match stage.answer(leader, token) {
        Some(Outcome::Quorum { .. }) => {
            assert_eq!(stage.log("a"), stage.log("b"), "seed {seed}");
            true
        }
        // It may have promised what the other has not, or know as committed what nobody else has.
        Some(_) => {
            let alarms = ["a", "b"].iter().any(|name| !stage.nodes[&id(name)].alarms.is_empty());
            assert!(alarms, "seed {seed}: nothing is committed, and nobody says why");
            false
        }
        None => panic!("seed {seed}: a send without an answer"),
    }
}
