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
    /// It says that it is not there any more.
    Gone,
    /// It takes the words of `text` and never anything else.
    Narrow,
}

pub(crate) fn mood(random: &mut SmallRng) -> Mood {
    match random.random_range(0..16) {
        0 | 1 => Mood::Away,
        2 | 3 => Mood::Ill,
        4..8 => Mood::Picky,
        8 => Mood::Gone,
        9 => Mood::Narrow,
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
        Mood::Gone => {
            let (verdict, ended) = (Verdict::Later, Ended::Gone);
            return (Vec::new(), Tried { verdict, ended, status: Some(410) });
        }
        Mood::Well | Mood::Picky | Mood::Narrow => {}
    }
    let refuses = |kind: &str| kind == "poison" || mood == Mood::Narrow && kind != "text";
    if events.iter().any(|event| refuses(&event.message.kind)) {
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
