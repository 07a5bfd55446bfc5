//! Whatever a peer with a good certificate says, a core goes on: nothing panics, no answer is given
//! twice, and what was committed stays.

use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use replication::core::{Event, Outcome};
use wire::{
    Ack, Append, Beat, BeatAnswer, End, Entry, Fetch, Fetched, HandOver, HandOverAnswer, Lead,
    Message, PreVote, PreVoteAnswer, PreVoteAsk, Promised, Refuse, RefuseWhy, Seal, SealAnswer,
    Sealed, Vote,
};

use crate::stage::{P, Stage, id};

/// Says anything.
struct Babbler {
    rng: SmallRng,
    /// Places of real logs, which are more dangerous than invented ones.
    ends: Vec<End>,
}

impl Babbler {
    fn number(&mut self) -> u64 {
        match self.rng.random_range(0..8) {
            0 => u64::MAX - self.rng.random_range(0..2),
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
        match self.rng.random_range(0..13) {
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
            _ if yes => Message::HandOver(HandOver { partition, epoch, end }),
            _ => Message::HandOverAnswer(HandOverAnswer { partition, epoch, taken: seq > 2 }),
        }
    }
}

#[test]
fn whatever_a_peer_says_nothing_panics_and_what_is_committed_stays() {
    for seed in 0..60 {
        let mut stage = Stage::opened(&["a", "b", "c"], 2);
        let token = stage.submit("a", "kept", 2);
        stage.run(Duration::from_secs(1));
        assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 2 }));
        let ends = stage.nodes[&id("a")].disk[&P].entries.iter().map(|entry| End {
            epoch: entry.epoch,
            seq: entry.seq,
            chain: entry.chain.0,
        });
        let ends = ends.collect();
        let mut babbler = Babbler { rng: SmallRng::seed_from_u64(seed), ends };
        for turn in 0..400 {
            let message = babbler.message();
            // One member lies, to a primary, to a member and to a candidate.
            let to = if turn % 2 == 0 { "a" } else { "b" };
            stage.tell(to, Event::Message { from: id("c"), message });
            stage.run(Duration::from_millis(if turn % 50 == 0 { 900 } else { 10 }));
        }
        for name in ["a", "b"] {
            assert_eq!(stage.log(name).get(1).map(String::as_str), Some("kept"), "seed {seed}");
        }
    }
}
