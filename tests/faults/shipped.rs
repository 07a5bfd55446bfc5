//! README.md, "A cluster of three", done as it is written: its commands, with the shipped configurations as
//! they are, in a network where their ports are free.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::eventually;

use crate::inside::{Place, sh};

/// What the script of ZooKeeper says when something is missing here.
const MISSING: i32 = 3;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The commands of the section, by block.
fn section() -> Vec<Vec<String>> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).expect("README.md is there");
    let (_, from) = text.split_once("\n## A cluster of three\n").expect("the section is there");
    let section = from.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```").skip(1).step_by(2);
    blocks.map(|block| block.trim().lines().map(str::to_owned).collect()).collect()
}

/// A folder as a checkout looks after `make build`, without what a run leaves.
fn checkout() -> TempDir {
    let folder = TempDir::with_prefix("carillon-readme-").expect("a folder can be made");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let release = tests::binary("carillon");
    let target = release.parent().and_then(Path::parent).expect("a target folder");
    for (from, to) in [(root.join("scripts"), "scripts"), (target.to_owned(), "target")] {
        std::os::unix::fs::symlink(from, folder.path().join(to)).expect("linked");
    }
    let (from, to) = (root.join("config"), folder.path().join("config"));
    sh("cp", ["-r".as_ref(), from.as_os_str(), to.as_os_str()]).expect("copied");
    folder
}

fn shell(folder: &Path, script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir(folder).stdin(Stdio::null());
    // Servers end with this process, however it ends.
    command.env("ZOOKEEPER_OWNER", std::process::id().to_string());
    command
}

/// Runs a command of the document to its end.
fn done(folder: &Path, script: &str) -> (Option<i32>, String) {
    let output = shell(folder, script).output().expect("bash runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

pub(crate) async fn run(place: Place) {
    if !place.is_inside() {
        return tests::skipped("the shipped cluster, which needs its own ports");
    }
    let blocks = section();
    let [prepare, start, talk, drain] = &blocks[..] else { panic!("{blocks:?}") };
    let folder = checkout();
    let at = folder.path();
    for command in prepare {
        let (code, said) = done(at, command);
        if code == Some(MISSING) && command.starts_with("scripts/zookeeper") {
            return tests::skipped(&format!("the shipped cluster: {said}"));
        }
        assert_eq!(code, Some(0), "{command}: {said}");
    }
    let mut nodes = Vec::new();
    for (number, command) in start.iter().enumerate() {
        let script = format!("exec {command} > node{number}.log 2>&1");
        nodes.push(Running(shell(at, &script).spawn().expect("bash runs")));
    }
    for number in 0..start.len() {
        let log = at.join(format!("node{number}.log"));
        eventually("a node to be ready", async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.lines().any(|line| line.starts_with("ready: ")) { Ok(()) } else { Err(said) }
        })
        .await;
    }
    // Whoever reads in a terminal of their own reads on; the commands behind it are for another one.
    let mut script = String::from("set -e\n");
    for command in talk {
        match command.contains(" chat tail ") {
            true => script.push_str(&format!("timeout 60 {command} > tail.log &\nTAIL=$!\n")),
            false => script.push_str(&format!("{command}\n")),
        }
    }
    script
        .push_str("until grep -q '^alice: hello$' tail.log; do kill -0 $TAIL; sleep 0.05; done\n");
    script.push_str("kill $TAIL\n");
    let (code, said) = done(at, &script);
    assert_eq!(code, Some(0), "{script}\n{said}");
    assert!(said.contains("balance (max/mean)") && said.contains("partition "), "{said}");
    for command in drain {
        // Nobody types so fast: a node that is ready may yet be without its connection to another.
        let said = eventually("a node that drains", async || match done(at, command) {
            (Some(0), said) => Ok(said),
            (Some(1), said) if said.contains("is not connected") => Err(said),
            other => panic!("{command}: {other:?}"),
        })
        .await;
        assert!(said.contains("c leads nothing any more"), "{said}");
    }
    drop(nodes);
    let (code, said) = done(at, "scripts/zookeeper stop data/cluster/zookeeper");
    assert_eq!(code, Some(0), "{said}");
}
