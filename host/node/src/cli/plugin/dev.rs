//! `carillon plugin dev`: build and play after every save, and say what changed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use workbench::{Round, Trouble, Workshop};

use crate::cli::{Problem, output};

/// How often the sources are looked at. There are few of them.
const LOOK: Duration = Duration::from_millis(100);

/// Builds and plays a plugin after every save, and says what changed for which message.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin dev hello\n  curl -s \
                        http://127.0.0.1:7081/v1/chats/TOKEN/messages > chat.json\n  carillon plugin dev \
                        hello --replay chat.json\n\nIt goes on until it is interrupted.")]
pub(super) struct Dev {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Plays a recorded chat instead of the fixtures: what GET /v1/chats/TOKEN/messages answers, or one
    /// message a line
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Ends after the first round
    #[arg(long)]
    once: bool,
}

impl Dev {
    pub(super) fn run(self) -> Result<(), Problem> {
        let mut workshop = Workshop::new(&self.dir, self.replay.as_deref());
        crate::cli::small_runtime()?.block_on(async {
            loop {
                // Before the build: what is saved while it runs is a change.
                let sources = workshop.sources()?;
                let told = round(&mut workshop).await;
                if self.once {
                    return told;
                }
                if let Err(problem) = told {
                    output::note(problem);
                }
                while workshop.sources()? == sources {
                    runtime::sleep(LOOK).await;
                }
            }
        })
    }
}

/// One build and what came of it.
async fn round(workshop: &mut Workshop) -> Result<(), Problem> {
    let began = runtime::now();
    let project = workshop.build()?;
    let built = runtime::now();
    let round = workshop.play(&project).await.map_err(|trouble: Trouble| Problem::from(trouble))?;
    let (build, play) = ((built - began).as_secs_f64(), (runtime::now() - built).as_secs_f64());
    tell(&round)?;
    let steps = round.outcomes.iter().flat_map(|outcome| &outcome.steps);
    let (count, fuel) = (steps.clone().count(), steps.clone().map(|step| step.seen.fuel).max());
    let wrong = steps.filter(|step| !step.faults.is_empty()).count();
    output::line(format_args!(
        "built in {build:.2} s, {count} steps played in {play:.2} s: {} changed, {wrong} not as expected, \
         dearest {} fuel",
        round.changed.len(),
        fuel.unwrap_or_default()
    ))
    .map(drop)
}

/// What changed, and what is not as expected.
fn tell(round: &Round) -> Result<(), Problem> {
    for changed in &round.changed {
        output::line(format_args!(
            "{} {}  {}",
            changed.path.display(),
            changed.step,
            changed.what
        ))?;
        for how in &changed.how {
            output::line(format_args!("        {how}"))?;
        }
    }
    for outcome in &round.outcomes {
        for (index, step) in outcome.steps.iter().enumerate() {
            for fault in &step.faults {
                let path = outcome.path.display();
                output::line(format_args!("{path} {}  {}\n   FAIL {fault}", index + 1, step.what))?;
            }
        }
    }
    Ok(())
}
