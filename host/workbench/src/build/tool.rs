//! A language's tool: where it is, and how it is run.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Trouble;

/// Where tools of one project are installed, seen from its folder or one above it.
const BESIDE: [&str; 2] = ["node_modules/.bin", ".venv/bin"];

/// A tool, and how it is installed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    /// Its command.
    pub(super) command: &'static str,
    /// The command that installs it.
    pub(super) install: &'static str,
}

impl Tool {
    /// The tool, beside the project or in the `PATH`.
    pub(super) fn find(self, folder: &Path) -> Result<PathBuf, Trouble> {
        let beside = folder.ancestors().flat_map(|up| BESIDE.map(|folder| up.join(folder)));
        let path = env::var_os("PATH").unwrap_or_default();
        let mut places =
            beside.chain(env::split_paths(&path)).map(|place| place.join(self.command));
        places.find(|place| is_program(place)).ok_or_else(|| {
            let what = format!("{} is not installed", self.command);
            Trouble::failed(what, format!("Install it: {}", self.install))
        })
    }
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

/// A command that runs in the project's folder.
pub(super) fn command(program: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs a tool to its end. What it prints goes to standard error: standard output is for results.
pub(super) fn run(command: &mut Command) -> Result<(), Trouble> {
    run_for_output(command.stdout(std::io::stderr())).map(drop)
}

/// Runs a tool to its end, and takes what it prints on standard output, if that was left to this.
pub(super) fn run_for_output(command: &mut Command) -> Result<Vec<u8>, Trouble> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| {
        Trouble::failed(format!("{name} cannot be run: {error}"), "Install it again")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let what = format!("{name} ended with {}", output.status);
    Err(Trouble::failed(what, "Mend what it says above and build again"))
}

#[cfg(test)]
mod tests {
    use super::Tool;

    #[test]
    fn a_missing_tool_is_named_with_the_command_that_installs_it() {
        let tool = Tool { command: "no-such-tool", install: "pip install no-such-tool" };
        let trouble = tool.find(std::path::Path::new("/")).unwrap_err();
        assert_eq!(
            trouble.to_string(),
            "no-such-tool is not installed. Install it: pip install no-such-tool."
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_beside_the_project_comes_before_all_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join(".venv/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(folder.path().join("plugin")).unwrap();
        let tool = Tool { command: "sh", install: "" };
        let found = || tool.find(&folder.path().join("plugin")).unwrap();
        assert!(!found().starts_with(folder.path()));
        std::fs::write(bin.join("sh"), "").unwrap();
        assert!(!found().starts_with(folder.path()), "what cannot be run is no tool");
        std::fs::set_permissions(bin.join("sh"), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(found(), bin.join("sh"));
    }
}
