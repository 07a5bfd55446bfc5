//! Every fixture of a plugin, and what was otherwise than expected.

use std::path::PathBuf;

use plugin::{CallbackReply, TwilioRequest};

use crate::fixture::Act;
use crate::{Bench, Expect, Fixture, Options, Played, Seen, Step, Trouble};

/// What came of one fixture.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Its file.
    pub path: PathBuf,
    /// Its steps; for settings that are refused, one that did nothing.
    pub steps: Vec<StepOutcome>,
    /// Where `check-config` found faults.
    pub problems: Option<Vec<String>>,
}

/// What came of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    /// What it did, in words.
    pub what: String,
    /// What came of it.
    pub seen: Seen,
    /// What was otherwise than expected, a line each.
    pub faults: Vec<String>,
    /// Whether anything was expected at all.
    pub expected: bool,
}

/// Plays all of `fixtures`. With calls that fail on purpose nothing is compared. For runtimes of one thread, as
/// [`Bench::play`] is.
///
/// # Errors
/// When the plugin is not loaded for another reason than its configuration.
pub async fn run(
    bench: &Bench,
    fixtures: &[(PathBuf, Fixture)],
    options: Options,
    fuel_max: Option<u64>,
) -> Result<Vec<Outcome>, Trouble> {
    let mut outcomes = Vec::new();
    for (path, fixture) in fixtures {
        let played = bench.play(fixture, options).await?;
        let (mut steps, problems) = compare(fixture, played);
        for step in &mut steps {
            if options.fault.is_some() {
                step.faults.clear();
            }
            if let Some(most) = fuel_max.filter(|most| step.seen.fuel > *most) {
                step.faults.push(format!("fuel: at most {most}, was {}", step.seen.fuel));
            }
        }
        outcomes.push(Outcome { path: path.clone(), steps, problems });
    }
    Ok(outcomes)
}

fn compare(fixture: &Fixture, played: Played) -> (Vec<StepOutcome>, Option<Vec<String>>) {
    let settings = |faults: Vec<String>| StepOutcome {
        what: "settings".to_owned(),
        seen: Seen { answer: "checked".to_owned(), ..Seen::default() },
        faults,
        expected: true,
    };
    match (played, &fixture.problems) {
        (Played::Steps(seen), None) => {
            let steps = fixture.steps.iter().zip(seen).map(|(step, seen)| step_outcome(step, seen));
            (steps.collect(), None)
        }
        (Played::Steps(_), Some(wanted)) => {
            let fault = format!("expected problems with {}, there were none", wanted.join(", "));
            (vec![settings(vec![fault])], Some(Vec::new()))
        }
        (Played::Problems(found), wanted) => {
            let paths: Vec<String> = found.iter().map(|problem| problem.path.clone()).collect();
            let same = wanted.as_ref() == Some(&paths);
            let faults = found.iter().filter(|_| !same).map(ToString::to_string).collect();
            (vec![settings(faults)], Some(paths))
        }
    }
}

fn step_outcome(step: &Step, seen: Seen) -> StepOutcome {
    let faults = step.expect.as_ref().map(|expect| expect.faults(&seen)).unwrap_or_default();
    let expected = step.expect.as_ref().is_some_and(|expect| *expect != Expect::default());
    StepOutcome { what: words(step), seen, faults, expected }
}

/// What a step does, in words.
fn words(step: &Step) -> String {
    match step.act() {
        Ok(Act::Send { from, kind, body, .. }) => {
            let said = body.to_string();
            if kind == "text" {
                format!("{from}: {said}")
            } else {
                format!("{from}, {kind}: {said}")
            }
        }
        Ok(Act::Join { id }) => format!("{id} joins"),
        Ok(Act::Leave { id }) => format!("{id} leaves"),
        Ok(Act::Start) => "the chat is started".to_owned(),
        Ok(Act::End) => "the chat is ended".to_owned(),
        Ok(Act::Telephone(TwilioRequest { channel, path, .. })) => {
            let slash = if path.is_empty() { "" } else { "/" };
            format!("twilio asks {channel}{slash}{path}")
        }
        Ok(Act::Reply(CallbackReply { correlation, status, .. })) => {
            format!("a service answers {correlation}: {status}")
        }
        Ok(Act::Policy { moment, .. }) => format!("a plan for {moment}"),
        Ok(Act::Wait) => format!("{} ms pass", step.after_ms),
        Err(fault) => fault,
    }
}

#[cfg(test)]
mod tests {
    use plugin::Problem;

    use super::compare;
    use crate::{Fixture, Played};

    fn faults(fixture: &str, played: Played) -> Vec<String> {
        let (steps, _) = compare(&Fixture::parse(fixture).unwrap(), played);
        steps.into_iter().flat_map(|step| step.faults).collect()
    }

    #[test]
    fn refused_settings_are_a_fault_unless_just_these_were_expected() {
        let problem = || Problem { path: "word".into(), detail: "missing".into() };
        let refused = || Played::Problems(vec![problem()]);
        assert_eq!(faults("problems = [\"word\"]", refused()), Vec::<String>::new());
        assert_eq!(faults("problems = [\"most\"]", refused()), ["word: missing"]);
        assert_eq!(faults("", refused()), ["word: missing"]);
        assert_eq!(faults("problems = [\"word\"]", Played::Steps(vec![])).len(), 1);
    }
}
