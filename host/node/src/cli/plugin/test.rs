//! `carillon plugin test`: plays the fixtures of a plugin.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use plugin::{Limits, Manifest, OnFailure};
use serde_json::json;
use workbench::{Bench, Fault, Options, Outcome, Project, StepOutcome};

use crate::cli::{Problem, output};

/// Plays a plugin's fixtures, tests/*.toml: on the host that nodes use, by the rules that nodes decide by.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin test hello\n  carillon plugin test hello --fault \
                        trap\n  carillon plugin test hello --max-fuel 500000"
)]
pub(super) struct Test {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The component to test; what carillon plugin build has left in the folder if it is not said
    #[arg(long)]
    component: Option<PathBuf>,
    /// Lets every call fail like this: shows what the failure policy does, and compares nothing
    #[arg(long, value_parser = PossibleValuesParser::new(Fault::ALL.map(Fault::name)))]
    fault: Option<String>,
    /// The failure policy, instead of the manifest's
    #[arg(long)]
    on_failure: Option<Policy>,
    /// Fails when a call costs more
    #[arg(long)]
    max_fuel: Option<u64>,
    /// Writes what was seen into the fixtures, as what is expected from now on
    #[arg(long, conflicts_with = "fault")]
    bless: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Policy {
    Reject,
    Skip,
}

impl Test {
    pub(super) fn run(self) -> Result<(), Problem> {
        let project = Project::open(&self.dir)?;
        let fixtures = workbench::fixtures(&project.folder)?;
        if fixtures.is_empty() {
            let what = format!("{} has no fixtures", project.folder.display());
            return Err(Problem::usage(what, "Write one: tests/NAME.toml"));
        }
        let path = self.component.clone().unwrap_or_else(|| project.component());
        let component = std::fs::read(&path).map_err(|error| {
            let what = format!("{} cannot be read: {error}", path.display());
            Problem::usage(what, "Build it: carillon plugin build")
        })?;
        let Manifest { name, asks, .. } = &project.manifest;
        let cache = project.target().join("compiled");
        let bench = Bench::new(component, name, asks.clone(), Some(&cache))?;
        let options = Options {
            fault: Fault::ALL.into_iter().find(|fault| Some(fault.name()) == self.fault.as_deref()),
            on_failure: self.on_failure.map(|policy| match policy {
                Policy::Reject => OnFailure::Reject,
                Policy::Skip => OnFailure::Skip,
            }),
        };
        let run = workbench::run(&bench, &fixtures, options, self.max_fuel);
        let outcomes = crate::cli::small_runtime()?.block_on(run)?;
        if self.bless {
            return bless(&outcomes);
        }
        let limit = project.manifest.limits.over(Limits::default()).fuel;
        if self.json { print_json(&outcomes, limit) } else { print(&project, &outcomes, limit) }?;
        let failed = outcomes
            .iter()
            .flat_map(|outcome| &outcome.steps)
            .filter(|step| !step.faults.is_empty());
        match failed.count() {
            0 => Ok(()),
            1 => Err(failure("1 step was not as expected")),
            count => Err(failure(&format!("{count} steps were not as expected"))),
        }
    }
}

fn failure(what: &str) -> Problem {
    Problem::failed(
        what,
        "Mend the plugin, or what the fixture expects (--bless writes what was seen)",
    )
}

/// Writes what was seen into the fixtures.
fn bless(outcomes: &[Outcome]) -> Result<(), Problem> {
    for outcome in outcomes {
        let path = outcome.path.display();
        let unusable = |what: String| Problem::failed(what, "Mend the fixture's file");
        let text = std::fs::read_to_string(&outcome.path)
            .map_err(|error| unusable(format!("{path} cannot be read: {error}")))?;
        let blessed = workbench::bless(&text, outcome)
            .map_err(|fault| unusable(format!("{path} is no TOML: {fault}")))?;
        if blessed != text {
            std::fs::write(&outcome.path, blessed)
                .map_err(|error| unusable(format!("{path} cannot be written: {error}")))?;
            output::line(format_args!("{path} expects now what was seen"))?;
        }
    }
    Ok(())
}

fn print(project: &Project, outcomes: &[Outcome], limit: u64) -> Result<(), Problem> {
    let (mut steps, mut as_expected, mut silent, mut most) = (0, 0, 0, 0);
    for outcome in outcomes {
        let path = outcome.path.strip_prefix(&project.folder).unwrap_or(&outcome.path);
        output::line(path.display())?;
        for (index, step) in outcome.steps.iter().enumerate() {
            output::line(line(index, step, limit))?;
            for fault in &step.faults {
                output::line(format_args!("        {fault}"))?;
            }
            steps += 1;
            as_expected += usize::from(step.faults.is_empty());
            silent += usize::from(!step.expected);
            most = most.max(step.seen.fuel);
        }
    }
    output::line(format_args!(
        "{as_expected} of {steps} steps as expected; the dearest call cost {most} fuel of {limit}"
    ))?;
    if silent > 0 {
        output::line(format_args!(
            "{silent} of them expect nothing: --bless writes what was seen"
        ))?;
    }
    Ok(())
}

/// One step on one line.
fn line(index: usize, step: &StepOutcome, limit: u64) -> String {
    let seen = &step.seen;
    let ok = if step.faults.is_empty() { "ok  " } else { "FAIL" };
    let verdict = seen.verdict.as_deref().unwrap_or("-");
    let what: String = step.what.chars().take(40).collect();
    let percent = seen.fuel as f64 * 100.0 / limit.max(1) as f64;
    let mut line = format!(
        "  {ok} {:>2}  {what:<40}  {verdict:<8} {:<14} {:>9} fuel {percent:>5.1} %",
        index + 1,
        seen.answer,
        seen.fuel
    );
    for told in seen.events.iter().chain(&seen.twiml) {
        line.push_str(&format!("\n            {told}"));
    }
    if let Some(plan) = &seen.plan {
        line.push_str(&format!("\n            {}", json!(plan)));
    }
    for effect in &seen.effects {
        line.push_str(&format!("\n            {effect}"));
    }
    if let Some(reason) =
        seen.reason.as_ref().filter(|_| seen.answer != "stored" || seen.code.is_none())
    {
        line.push_str(&format!("\n            {reason}"));
    }
    line
}

fn print_json(outcomes: &[Outcome], limit: u64) -> Result<(), Problem> {
    let step =
        |step: &StepOutcome| json!({"what": step.what, "seen": step.seen, "faults": step.faults});
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let steps: Vec<_> = outcome.steps.iter().map(step).collect();
            json!({"file": outcome.path, "problems": outcome.problems, "steps": steps})
        })
        .collect();
    output::line(json!({"fuel_limit": limit, "fixtures": outcomes})).map(drop)
}
