//! `carillon registry`, as a shell sees it.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::binary;
use tests::carillon::run;
use tests::ensemble::Ensemble;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// `carillon registry …` with `--servers` behind it.
struct Shell {
    servers: String,
}

impl Shell {
    fn new(ensemble: &Ensemble, root: &str) -> Self {
        Self { servers: format!("{}{root}", ensemble.hosts().join(",")) }
    }

    async fn run(&self, args: &[&str]) -> tests::carillon::Ended {
        run(&self.args(args)).await
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = vec!["registry"];
        all.extend(args.iter().take(1));
        all.extend(["--servers", &self.servers]);
        all.extend(args.iter().skip(1));
        all
    }

    async fn get(&self, path: &str) -> Value {
        let ended = self.run(&["get", path]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.out).expect("one JSON object")
    }

    /// Starts it, and waits for its first line.
    async fn start(&self, args: &[&str]) -> (Child, String) {
        let mut child = Command::new(binary("carillon"))
            .args(self.args(args))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let out = child.stdout.take().expect("its output");
        let line = BufReader::new(out).lines().next_line().await.expect("it is readable");
        (child, line.unwrap_or_default())
    }
}

fn signal(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let id = id.and_then(rustix::process::Pid::from_raw).expect("it runs");
    rustix::process::kill_process(id, signal).expect("it can be sent");
}

#[tokio::test]
async fn a_path_is_set_printed_and_removed() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let shell = Shell::new(&ensemble, &ensemble.root());
    let set = shell.run(&["set", "/services/crm", "{\"zone\": \"a\"}"]).await;
    assert_eq!((set.code, set.out.as_str()), (Some(0), "applied\n"), "{set:?}");
    assert_eq!(shell.run(&["set", "/services/crm/1", "hello"]).await.code, Some(0));
    let entry = shell.get("/services/crm").await;
    let keys: Vec<&str> =
        entry.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["age_ms", "children", "data", "path", "stale", "stat"]);
    assert_eq!(entry["data"]["zone"], json!("a"));
    assert_eq!(entry["children"]["1"]["string_value"], json!("hello"));
    assert_eq!((&entry["stale"], &entry["age_ms"]), (&json!(false), &json!(0)));
    let stat = entry["stat"].as_object().expect("figures");
    let names = [
        "aversion",
        "ctime",
        "cversion",
        "czxid",
        "dataLength",
        "ephemeralOwner",
        "mtime",
        "mzxid",
        "numChildren",
        "pzxid",
        "version",
    ];
    assert_eq!(stat.keys().map(String::as_str).collect::<Vec<_>>(), names);
    let dir = shell.run(&["get", "/services/crm", "--format", "dir"]).await;
    assert_eq!(dir.out, "1\n");
    let yaml = shell.run(&["get", "/services/crm", "--format", "yaml"]).await;
    assert!(yaml.out.contains("\n  \"zone\": \"a\"\n"), "{yaml:?}");
    let refused = shell.run(&["unset", "/services/crm"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("has children. Unset its children first."), "{refused:?}");
    assert_eq!(shell.run(&["unset", "/services/crm/1"]).await.code, Some(0));
    assert_eq!(shell.run(&["unset", "/services/crm"]).await.code, Some(0));
    assert_eq!(shell.get("/services/crm").await["stat"], Value::Null);
}

#[tokio::test]
async fn an_ephemeral_stays_while_the_command_runs() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let shell = Shell::new(&ensemble, &ensemble.root());
    let waits = shell.run(&["get", "/services/crm", "--wait", "200ms"]).await;
    assert_eq!(waits.code, Some(1), "{waits:?}");
    let waiting = shell.run(&["get", "/services/crm", "--wait", "60s"]);
    let setting = async {
        let (mut child, line) = shell.start(&["set", "/services/crm/1", "x", "--ephemeral"]).await;
        assert_eq!(line, "applied");
        child.try_wait().expect("it can be asked").map_or(child, |ended| panic!("{ended}"))
    };
    let (waited, mut child) = tokio::join!(waiting, setting);
    assert_eq!(waited.code, Some(0), "{waited:?}");
    assert!(waited.out.contains("\"string_value\":\"x\""), "{waited:?}");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
    assert_eq!(shell.get("/services/crm/1").await["stat"], Value::Null);
}

#[tokio::test]
async fn changes_are_printed_one_a_line() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let shell = Shell::new(&ensemble, &ensemble.root());
    let mut child = Command::new(binary("carillon"))
        .args(shell.args(&["watch", "/x"]))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut next = async || {
        let line = lines.next_line().await.expect("readable").expect("a line");
        serde_json::from_str::<Value>(&line).expect("a JSON object")
    };
    assert_eq!(next().await["stat"], Value::Null);
    shell.run(&["set", "/x", "one"]).await;
    assert_eq!(next().await["data"]["string_value"], json!("one"));
    shell.run(&["set", "/x", "two"]).await;
    assert_eq!(next().await["data"]["string_value"], json!("two"));
    signal(&child, Signal::INT);
    assert_eq!(child.wait().await.expect("it ends").code(), Some(0));
}

#[tokio::test]
async fn a_lock_passes_the_exit_code_on_and_its_numbers_rise() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let shell = Shell::new(&ensemble, &ensemble.root());
    let script = "echo $CARILLON_FENCING; exit 7";
    let mut before = 0;
    for _ in 0..2 {
        let ended = shell.run(&["lock", "/lock", "--", "sh", "-c", script]).await;
        assert_eq!(ended.code, Some(7), "{ended:?}");
        let number: i64 = ended.out.trim().parse().expect("a number");
        assert!(number > before, "{number} after {before}");
        before = number;
    }
    let killed = shell.run(&["lock", "/lock", "--", "sh", "-c", "kill -9 $$"]).await;
    assert_eq!(killed.code, Some(137), "{killed:?}");
    let missing = shell.run(&["lock", "/lock", "--", "/no/such/program"]).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert_eq!(shell.run(&["lock", "/lock"]).await.code, Some(2));
}

#[tokio::test]
async fn the_lock_of_a_holder_that_was_killed_is_free_when_its_session_ends() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let shell = Shell::new(&ensemble, &ensemble.root());
    // It ends by itself should this test not get to it.
    let holding = ["lock", "/lock", "--", "sh", "-c", "echo held $$; exec sleep 120"];
    let (mut holder, line) = shell.start(&holding).await;
    let command: i32 = line.strip_prefix("held ").expect("held").parse().expect("a number");
    let refused = shell.run(&["lock", "/lock", "--wait", "0s", "--", "true"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("was held by others"), "{refused:?}");
    holder.kill().await.expect("it is killed");
    let next = shell.run(&["lock", "/lock", "--wait", "60s", "--", "true"]).await;
    assert_eq!(next.code, Some(0), "{next:?}");
    let command = rustix::process::Pid::from_raw(command).expect("a process");
    rustix::process::kill_process(command, Signal::KILL).expect("it ran on: nobody could tell it");
}

#[tokio::test]
async fn a_command_whose_lock_is_lost_is_ended() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let shell = Shell::new(&ensemble, &root);
    let (mut holder, line) =
        shell.start(&["lock", "/lock", "--", "sh", "-c", "echo held; exec sleep 120"]).await;
    assert_eq!(line, "held");
    let intruder = ensemble.intruder().await;
    let child = intruder.names(&format!("{root}/lock")).await.remove(0);
    intruder.delete(&format!("{root}/lock/{child}")).await;
    assert_eq!(holder.wait().await.expect("it ends").code(), Some(1));
}

#[tokio::test]
async fn without_an_ensemble_the_exit_code_says_so_and_the_cache_helps() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("cache.json").display().to_string();
    let shell = Shell::new(&ensemble, "");
    shell.run(&["set", "/known", "hello"]).await;
    assert_eq!(shell.run(&["get", "/known", "--cache", &file]).await.code, Some(0));
    ensemble.kill(1).await;
    let away = shell.run(&["get", "/known", "--timeout", "200ms"]).await;
    assert_eq!((away.code, away.out.as_str()), (Some(3), ""), "{away:?}");
    assert_eq!(shell.run(&["set", "/x", "--timeout", "200ms"]).await.code, Some(3));
    let known = shell.run(&["get", "/known", "--timeout", "200ms", "--cache", &file]).await;
    assert_eq!(known.code, Some(0), "{known:?}");
    let known: Value = serde_json::from_str(&known.out).expect("a JSON object");
    assert_eq!(known["stale"], json!(true));
    assert_eq!(known["data"]["string_value"], json!("hello"));
    assert!(known["age_ms"].as_u64().expect("a number") > 0);
    let other = shell.run(&["get", "/other", "--timeout", "200ms", "--cache", &file]).await;
    assert_eq!(other.code, Some(3), "{other:?}");

    let lazy = shell.run(&["set", "/late", "x", "--lazy"]);
    let back = async {
        let other = shell.run(&["get", "/other", "--timeout", "500ms"]).await;
        assert_eq!(other.code, Some(3), "{other:?}");
        ensemble.restart(1).await;
    };
    let (lazy, ()) = tokio::join!(lazy, back);
    assert_eq!((lazy.code, lazy.out.as_str()), (Some(0), "applied\n"), "{lazy:?}");
    assert!(lazy.err.contains("deferred"), "{lazy:?}");
    assert_eq!(shell.get("/late").await["data"]["string_value"], json!("x"));
}

#[tokio::test]
async fn a_user_writes_what_others_only_read() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").expect("written");
    let file = file.display().to_string();
    let shell = Shell::new(&ensemble, &ensemble.root());
    let alice = ["set", "/x", "1", "--user", "alice", "--password-file", &file];
    assert_eq!(shell.run(&alice).await.code, Some(0));
    let refused = shell.run(&["set", "/x", "2"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("not allowed on /x"), "{refused:?}");
    assert_eq!(shell.get("/x").await["data"]["string_value"], json!("1"));
    let usage = shell.run(&["get", "/x", "--user", "alice"]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");
    assert_eq!(shell.run(&["get", "x"]).await.code, Some(2));
    let away = run(&["registry", "get", "x", "--servers", "127.0.0.1:1"]).await;
    assert_eq!(away.code, Some(2), "wrong whoever is there: {away:?}");
    let typo = shell.run(&["set", "/typo", "{\"a\": 1"]).await;
    assert_eq!(typo.code, Some(2), "{typo:?}");
}
