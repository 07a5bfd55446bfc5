//! Python with what other programs use: the snippets that `docs/service-registry.md` shows and the common client for
//! ZooKeeper there, or any other package.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::wait::Deadline;

/// The client that the document speaks of, in the version that was tried.
const CLIENT: &str = "kazoo==2.11.0";

/// Python with the snippets of the document, one statement a line in, what it prints out.
#[derive(Debug)]
pub struct Python {
    _child: Child,
    _folder: TempDir,
    stdin: ChildStdin,
    out: Lines<BufReader<ChildStdout>>,
}

/// Reads statements, and says when each was done.
const LOOP: &str = "
import sys
scope = {}
for line in sys.stdin:
    exec(line, scope)
    print('done', flush=True)
";

impl Python {
    /// `None`: there is no Python, or its client cannot be installed, which has been said.
    pub async fn start() -> Option<Self> {
        match Self::with(CLIENT, snippets()).await {
            Ok(python) => Some(python),
            Err(why) => {
                let what = format!("a test that needs Python and {CLIENT} did not run. {why}");
                crate::skip::without("python", &what);
                None
            }
        }
    }

    /// With a package, and these files to import.
    ///
    /// # Errors
    /// There is no Python, or the package cannot be installed.
    pub async fn with(package: &str, files: Vec<(String, String)>) -> Result<Self, String> {
        let package = installed(package).await?;
        let folder = TempDir::new().unwrap_or_else(|error| panic!("a folder: {error:?}"));
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text)
                .unwrap_or_else(|error| panic!("written: {error:?}"));
        }
        let path = format!("{}:{}", folder.path().display(), package.display());
        let mut child = Command::new("python3")
            .args(["-c", LOOP])
            .env("PYTHONPATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("it started before: {error:?}"));
        let stdin = child.stdin.take().unwrap_or_else(|| panic!("no input"));
        let out =
            BufReader::new(child.stdout.take().unwrap_or_else(|| panic!("no output"))).lines();
        Ok(Self { _child: child, _folder: folder, stdin, out })
    }

    /// Runs a statement; what it printed.
    pub async fn run(&mut self, statement: &str) -> Vec<String> {
        assert!(!statement.contains('\n'), "one line");
        self.stdin
            .write_all(format!("{statement}\n").as_bytes())
            .await
            .unwrap_or_else(|error| panic!("it reads: {error:?}"));
        let mut printed = Vec::new();
        loop {
            let next = runtime::timeout(Duration::from_secs(60), self.out.next_line()).await;
            match next
                .unwrap_or_else(|error| panic!("an answer in time: {error:?}"))
                .unwrap_or_else(|error| panic!("readable: {error:?}"))
            {
                Some(line) if line == "done" => return printed,
                Some(line) => printed.push(line),
                None => panic!("{statement:?} ended it; it printed {printed:?}"),
            }
        }
    }

    /// Until the expression is printed as `expected`.
    pub async fn until(&mut self, expression: &str, expected: &str) {
        let deadline = Deadline::default();
        loop {
            let printed = self.run(&format!("print({expression})")).await.join("\n");
            if printed == expected {
                return;
            }
            deadline.check(expression, &printed);
            runtime::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The Python of a virtual environment with a package and all that it needs, made once for this build.
///
/// # Errors
/// There is no Python, or the package cannot be installed.
pub async fn environment(package: &str) -> Result<PathBuf, String> {
    let name = format!("{package}-environment");
    let folder = once(&name, async |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder)).await?;
        run(Command::new(folder.join("bin/python")).args(PIP).arg(package)).await
    });
    Ok(folder.await?.join("bin/python"))
}

const PIP: [&str; 6] =
    ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];

/// The folder with a package, without what it needs itself, installed once for this build.
async fn installed(package: &str) -> Result<PathBuf, String> {
    once(package, async |folder| {
        let mut pip = Command::new("python3");
        pip.args(PIP).args(["--no-deps", "--target"]).arg(folder).arg(package);
        run(&mut pip).await
    })
    .await
}

/// A folder of this build for Python, that `make` has made.
async fn once(
    name: &str,
    make: impl AsyncFnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    // A test lives in release/deps of the target folder.
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("an executable: {error:?}"));
    let target = test.ancestors().nth(3).unwrap_or_else(|| panic!("no target folder"));
    let folder = target.join("python").join(name);
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(target.join("python")).map_err(|error| error.to_string())?;
    let partial = TempDir::new_in(target.join("python")).map_err(|error| error.to_string())?;
    let made = partial.path().join("in");
    make(&made).await?;
    // Another run may have been faster, which is as good.
    match std::fs::rename(&made, &folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

async fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = runtime::timeout(Duration::from_secs(120), output).await;
    let output = output.map_err(|_elapsed| "pip takes too long".to_owned())?;
    let output = output.map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The document's Python blocks by the file name in their first line.
fn snippets() -> Vec<(String, String)> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut documents = folders.map(|folder| folder.join("docs/service-registry.md"));
    let document = documents.find(|document| document.exists());
    let document = document.unwrap_or_else(|| panic!("docs/service-registry.md is missing"));
    let text = std::fs::read_to_string(document).unwrap_or_else(|error| panic!("{error}"));
    let blocks = text.split("```python\n# ").skip(1);
    blocks
        .map(|block| {
            let block = block.split("```").next().unwrap_or_default();
            let (name, code) =
                block.split_once('\n').unwrap_or_else(|| panic!("a block has no name"));
            (name.to_owned(), code.to_owned())
        })
        .collect()
}
