//! The service, as a model.

use model::MessageId;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use transaction::{Ended, Event, Tried, Verdict};

/// How it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Nobody listens.
    Away,
    /// It answers 500.
    Ill,
    /// It takes all but some.
    Picky,
}

pub(crate) fn mood(random: &mut SmallRng) -> Mood {
    match random.random_range(0..8) {
        0 => Mood::Away,
        1 => Mood::Ill,
        2 | 3 => Mood::Picky,
        _ => Mood::Well,
    }
}

/// What it takes of these events, by their number; nothing for a refusal or silence.
pub(crate) fn answer(
    mood: Mood,
    events: &[Event],
    random: &mut impl Rng,
) -> (Vec<MessageId>, Tried) {
    let failed = |silent, connected| {
        let ended = Ended::Failed { retry_after: None, silent, connected };
        let status = (!silent).then_some(500);
        (Vec::new(), Tried { verdict: Verdict::Later, ended, status })
    };
    match mood {
        Mood::Away => return failed(true, false),
        Mood::Ill => return failed(false, true),
        Mood::Well | Mood::Picky => {}
    }
    if events.iter().any(|event| event.message.kind == "poison") {
        let (verdict, ended) = (Verdict::Refused, Ended::Answered);
        return (Vec::new(), Tried { verdict, ended, status: Some(400) });
    }
    let picks = |random: &mut dyn FnMut() -> bool| -> Vec<usize> {
        (0..events.len()).filter(|_| mood == Mood::Picky && random()).collect()
    };
    let failed = picks(&mut || random.random_bool(0.2));
    let kept = events.iter().enumerate().filter(|(number, _)| !failed.contains(number));
    let taken = kept.map(|(_, event)| event.message.id).collect();
    let verdict = Verdict::Taken { failed };
    (taken, Tried { verdict, ended: Ended::Answered, status: Some(200) })
}
