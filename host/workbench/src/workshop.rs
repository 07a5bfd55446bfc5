//! Build, play, and say what changed since the last time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{
    Bench, Expect, Fixture, Options, Outcome, Project, Trouble, build, files, fixtures, replay, run,
};

/// A project that is worked on.
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
    recording: Option<PathBuf>,
    before: Vec<Outcome>,
}

/// What one build did.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// What came of every fixture, or of the recording.
    pub outcomes: Vec<Outcome>,
    /// What is otherwise than the last time.
    pub changed: Vec<Changed>,
}

/// A step that went otherwise than the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Where it stands.
    pub path: PathBuf,
    /// The how manieth step, from 1.
    pub step: usize,
    /// What it does.
    pub what: String,
    /// What is otherwise, a line each.
    pub how: Vec<String>,
}

/// The sources of a project at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Workshop {
    /// The project of `folder`; what is played is its fixtures, or a recorded chat.
    pub fn new(folder: &Path, recording: Option<&Path>) -> Self {
        let (folder, recording) = (folder.to_owned(), recording.map(Path::to_owned));
        Self { folder, recording, before: Vec::new() }
    }

    /// The sources as they are now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn sources(&self) -> Result<Sources, Trouble> {
        let mut sources = BTreeMap::new();
        for path in files::below(&self.folder, "")?.into_iter().chain(self.recording.clone()) {
            // A file that has gone meanwhile is a change as well.
            let about = path.metadata().ok();
            let modified = about.as_ref().and_then(|about| about.modified().ok());
            sources.insert(path, (modified, about.map_or(0, |about| about.len())));
        }
        Ok(Sources(sources))
    }

    /// Builds the plugin.
    ///
    /// # Errors
    /// As [`build()`].
    pub fn build(&self) -> Result<Project, Trouble> {
        let project = Project::open(&self.folder)?;
        build(&project, None)?;
        Ok(project)
    }

    /// Plays what was built.
    ///
    /// # Errors
    /// When a fixture or the recording cannot be read, or the plugin is not loaded.
    pub async fn play(&mut self, project: &Project) -> Result<Round, Trouble> {
        let component = files::read(&project.component())?;
        let fixtures = self.fixtures(project)?;
        let (name, asks) = (&project.manifest.name, project.manifest.asks.clone());
        let bench = Bench::new(component, name, asks, None)?;
        let outcomes = run(&bench, &fixtures, Options::default(), None).await?;
        let changed = changes(&self.before, &outcomes);
        self.before.clone_from(&outcomes);
        Ok(Round { outcomes, changed })
    }

    /// What is played. A recording knows no settings: they are those of the first fixture that has steps.
    fn fixtures(&self, project: &Project) -> Result<Vec<(PathBuf, Fixture)>, Trouble> {
        let fixtures = fixtures(&project.folder)?;
        let Some(recording) = &self.recording else { return Ok(fixtures) };
        let text = String::from_utf8_lossy(&files::read(recording)?).into_owned();
        let settings = fixtures.into_iter().map(|(_, fixture)| fixture);
        let settings =
            settings.filter(|fixture| !fixture.steps.is_empty()).map(|fixture| fixture.settings);
        let fixture = replay(&text, settings.into_iter().next().unwrap_or_default())?;
        Ok(vec![(recording.clone(), fixture)])
    }
}

fn changes(before: &[Outcome], after: &[Outcome]) -> Vec<Changed> {
    let mut changed = Vec::new();
    for outcome in after {
        let Some(last) = before.iter().find(|last| last.path == outcome.path) else { continue };
        for (index, step) in outcome.steps.iter().enumerate() {
            let Some(then) = last.steps.get(index).filter(|then| then.what == step.what) else {
                continue;
            };
            let how = Expect::of(&then.seen).differences(&step.seen);
            if !how.is_empty() {
                let (path, what) = (outcome.path.clone(), step.what.clone());
                changed.push(Changed { path, step: index + 1, what, how });
            }
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::{Workshop, changes};
    use crate::{Outcome, Seen, StepOutcome};

    fn outcome(verdict: &str) -> Outcome {
        let seen = Seen { verdict: Some(verdict.to_owned()), ..Seen::default() };
        let step = StepOutcome { what: "alice: hi".into(), seen, faults: vec![], expected: false };
        Outcome { path: "a.toml".into(), steps: vec![step], problems: None }
    }

    #[test]
    fn what_changed_is_told_with_before_and_after() {
        assert_eq!(changes(&[], &[outcome("pass")]), []);
        assert_eq!(changes(&[outcome("pass")], &[outcome("pass")]), []);
        let changed = changes(&[outcome("pass")], &[outcome("reject")]);
        assert_eq!(changed[0].how, ["verdict: was \"pass\", is \"reject\""]);
        assert_eq!((changed[0].step, changed[0].what.as_str()), (1, "alice: hi"));
    }

    #[test]
    fn a_saved_file_is_a_change_and_what_is_built_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let workshop = Workshop::new(folder.path(), None);
        std::fs::write(folder.path().join("app.py"), "a").unwrap();
        let first = workshop.sources().unwrap();
        std::fs::create_dir(folder.path().join("target")).unwrap();
        std::fs::write(folder.path().join("target/x"), "x").unwrap();
        assert_eq!(workshop.sources().unwrap(), first);
        std::fs::write(folder.path().join("app.py"), "ab").unwrap();
        assert_ne!(workshop.sources().unwrap(), first);
    }
}
