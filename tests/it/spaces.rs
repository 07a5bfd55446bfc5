//! Objects on several disks: folders come and go from restart to restart, and nothing that was stored is left out
//! of sight.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tests::carillon::{Carillon, Ended, run, single};
use tests::{Http, eventually};

use crate::three::{folder, text};

/// Folders of one lone node.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration with these folders.
    fn with(&self, spaces: &[&str]) -> String {
        let spaces: Vec<String> =
            spaces.iter().map(|name| format!("{{ path = {name:?}, class = \"data\" }}")).collect();
        single(self.folder.path(), &format!("spaces = [{}]\n", spaces.join(", ")))
    }

    /// Value files in a folder, the node's own among them.
    fn files(&self, name: &str) -> usize {
        let (mut files, mut folders) = (0, vec![self.path(name)]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_file = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    _ => files += usize::from(is_file),
                }
            }
        }
        files
    }

    fn data(&self, name: &str) -> Vec<u8> {
        let seed = name.bytes().map(u32::from).sum::<u32>();
        (seed..seed + 75_000).flat_map(u32::to_le_bytes).collect()
    }

    async fn put(&self, node: &Http, name: &str) {
        let file = self.path("object");
        std::fs::write(&file, self.data(name)).unwrap_or_else(|error| panic!("{error}"));
        let key = format!("1001/{name}");
        let put = ["archive", "put", &key, &text(&file), "--url", &node.url()];
        assert_eq!(run(&put).await.code, Some(0));
    }

    async fn get(&self, node: &Http, name: &str) {
        let (key, out) = (format!("1001/{name}"), self.path("out"));
        let got = run(&["archive", "get", &key, &text(&out), "--url", &node.url()]).await;
        assert_eq!(got.code, Some(0), "{name}: {got:?}");
        let bytes = std::fs::read(&out).unwrap_or_else(|error| panic!("{error}"));
        assert!(bytes == self.data(name), "{name} has its bytes");
        std::fs::remove_file(&out).unwrap_or_else(|error| panic!("{error}"));
    }
}

async fn start(config: &str) -> (Carillon, Http) {
    let running = Carillon::start(&["node", "--config", config]).await;
    let node = running.nodes[0].clone();
    (running, node)
}

async fn stop(running: Carillon) {
    running.signal(Signal::TERM);
    let ended = running.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A check and a start both refuse, with these words.
async fn refused(config: &str, words: &str) {
    let said = |ended: &Ended| ended.err.contains(words) || ended.out.contains(words);
    let checked = run(&["check", config]).await;
    assert!(checked.code == Some(2) && said(&checked), "{words}: {checked:?}");
    assert!(checked.err.contains("storage.spaces"), "{checked:?}");
    let started = run(&["node", "--config", config]).await;
    assert!(started.code == Some(1) && said(&started), "{words}: {started:?}");
}

fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap_or_else(|error| panic!("{error}"));
}

/// A node begins with its own folder, is given a disk and another, lacks one of them, and comes back from a backup.
#[tokio::test(flavor = "multi_thread")]
async fn disks_are_added_missed_and_restored() {
    let place = Place { folder: folder() };
    let (running, node) = start(&place.with(&[])).await;
    let made = run(&["archive", "put", "1001", "--url", &node.url()]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    place.put(&node, "own").await;
    stop(running).await;
    assert_eq!(place.files("data"), 1);

    let (running, node) = start(&place.with(&["one"])).await;
    place.put(&node, "one").await;
    place.get(&node, "own").await;
    let operators = Http::new(&running.operators().await);
    eventually("the figures of the spaces", async || {
        let told = operators.ask("GET", "/metrics", &[], None).await?.only(200)?.body;
        let told = told.as_str().unwrap_or_default().to_owned();
        let files = |space: u8| format!("carillon_archive_space_files{{space=\"{space}\"}} 1");
        match [1, 2].iter().all(|space| told.contains(&files(*space))) {
            true => Ok(()),
            false => Err(told),
        }
    })
    .await;
    stop(running).await;
    assert_eq!(place.files("data"), 1, "nothing new goes there");
    assert!(place.files("one") > 0);

    refused(&place.with(&["two"]), "is not configured any more").await;
    let both = place.with(&["two", "one"]);
    rename(&place.path("one"), &place.path("away"));
    refused(&both, "has no marker of a space").await;
    rename(&place.path("away"), &place.path("one"));
    let (running, node) = start(&both).await;
    for name in ["own", "one"] {
        place.get(&node, name).await;
    }
    stop(running).await;

    let (copy, all) = (text(&place.path("backup")), ["data", "one", "two"]);
    for args in
        [&["create", "--config", both.as_str(), "--to", copy.as_str()][..], &["verify", &copy]]
    {
        let done = run(&[&["backup"], args].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    for name in all {
        std::fs::remove_dir_all(place.path(name)).unwrap_or_else(|error| panic!("{error}"));
    }
    let found = run(&["backup", "found", &copy, "--config", &both]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    let (running, node) = start(&both).await;
    place.put(&node, "later").await;
    for name in ["own", "one", "later"] {
        place.get(&node, name).await;
    }
    stop(running).await;
    assert!(place.files("data") > 1, "what was restored is there");
    assert!(place.files("one") + place.files("two") > 0, "and what came later is not");
}
