//! Nodes that are processes, on a real ZooKeeper: what README.md calls a cluster of three.

use std::time::Duration;

use rustix::process::Signal;
use tests::carillon::{Carillon, run};
use tests::ensemble::Ensemble;
use tests::{Http, eventually, texts};

use crate::three::{Three, append, certificates, configure, folder, partition, text};

/// Within this long after a primary's death sends go on.
const TAKE_OVER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_go_on_without_one_and_it_catches_up() {
    let Some(mut three) = Three::start().await else { return };
    let token = three.http(0).create().await;
    three.http(0).send_surely(&token, "alice", "k0", "hello").await;
    assert_eq!(texts(&three.http(1).all(&token).await), ["hello"], "read at another");
    let info = Http::new(&three.node(2).operators().await).get("/admin/v1/info").await.expect(200);
    assert_eq!((&info["node"], &info["registry"]["kind"]), (&"c".into(), &"zookeeper".into()));

    check_online(&three).await;
    let (victim, number) = three.primary(1, &token).await;
    let left: Vec<usize> = (0..3).filter(|index| *index != victim).collect();
    three.take(victim).kill().await;
    let died = runtime::now();
    three.http(left[0]).send_surely(&token, "alice", "k1", "without its primary").await;
    let took = runtime::now().duration_since(died);
    assert!(took < TAKE_OVER_MAX, "sends went on only after {took:?}");
    for round in 2..20 {
        let (key, node) = (format!("k{round}"), three.http(left[round % 2]));
        node.send_surely(&token, "alice", &key, &key).await;
    }

    three.restart(victim).await;
    let (primary, _) = three.primary(left[0], &token).await;
    eventually("the one that was dead to catch up", async || {
        let leads = partition(three.node(primary), number).await?;
        let back = partition(three.node(victim), number).await?;
        let caught_up = back["end"] == leads["end"] && back["role"] != "outside";
        if caught_up { Ok(()) } else { Err(format!("{leads} {back}")) }
    })
    .await;
    assert_eq!(three.http(victim).all(&token).await.len(), 20);

    // One is stopped in good order, and the others hardly notice.
    let stopped = three.take(left[0]);
    stopped.signal(Signal::TERM);
    let ended = stopped.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    three.http(left[1]).send_surely(&token, "alice", "k20", "after a stop").await;
    three.restart(left[0]).await;
    let all = texts(&three.http(left[0]).all(&token).await);
    assert_eq!((all.len(), all.last().map(String::as_str)), (21, Some("after a stop")));
}

/// What `carillon check --online` says of three nodes on one machine.
async fn check_online(three: &Three) {
    let config = three.folder.path().join("a.toml");
    let good = run(&["check", &text(&config), "--online"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.out.contains("node a is there already"), "{good:?}");
    let lines = std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{error}"));
    let spread = three.folder.path().join("spread.toml");
    std::fs::write(&spread, format!("{lines}[replication]\nspread = \"host\"\n"))
        .unwrap_or_else(|error| panic!("{error}"));
    let refused = run(&["check", &text(&spread), "--online"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("places 1 copies of 3"), "{refused:?}");
    let more = std::fs::read_to_string(&spread).unwrap_or_else(|error| panic!("{error}"));
    let other = more.replace("partitions = 16", "partitions = 8");
    std::fs::write(&spread, other).unwrap_or_else(|error| panic!("{error}"));
    let refused = run(&["check", &text(&spread), "--online"]).await;
    assert!(refused.err.contains("the cluster has 16 partitions"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_registry_is_gone_serves_on_and_stops_in_good_order() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = folder();
    certificates(folder.path(), &["a"]).await;
    let config = configure(folder.path(), "a", ensemble.hosts(), &ensemble.root());
    append(&config, "[replication]\ncopies = 1\ncommit = 1\n");
    let node = Carillon::start(&["node", "--config", &config]).await;
    let token = node.nodes[0].create().await;
    let kept = folder.path().join("a/registry.cache");
    eventually("the ring on the disk", async || if kept.exists() { Ok(()) } else { Err(&kept) })
        .await;
    ensemble.kill(1).await;
    let admin = Http::new(&node.operators().await);
    eventually("the loss to be noticed", async || {
        let info = admin.ask("GET", "/admin/v1/info", &[], None).await?.only(200)?.body;
        if info["registry"]["reached"] == false { Ok(()) } else { Err(info.to_string()) }
    })
    .await;
    node.nodes[0].send(&token, "alice", "k0", "without a registry").await.expect(201);
    let ring = node.nodes[0].get("/v1/ring").await.expect(200);
    assert!(ring["stale_ms"].as_u64().is_some_and(|stale| stale > 0), "{ring}");
    let gone = run(&["ring", "leave", "b", "--admin", &admin.url()]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.err.contains("the registry cannot be reached"), "{gone:?}");
    let unreachable = run(&["check", &config, "--online"]).await;
    assert_eq!(unreachable.code, Some(3), "{unreachable:?}");
    assert!(unreachable.err.contains("s ago the ring was: a"), "{unreachable:?}");
    node.signal(Signal::TERM);
    let ended = node.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_its_registry_says_so_and_serves_nobody() {
    let folder = folder();
    certificates(folder.path(), &["a"]).await;
    let config = configure(folder.path(), "a", &["127.0.0.1:1".to_owned()], "/carillon");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
    let address = taken.local_addr().unwrap_or_else(|error| panic!("{error}"));
    drop(taken);
    let lines = std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{error}"));
    let lines = lines.replacen("127.0.0.1:0", &address.to_string(), 1);
    std::fs::write(&config, lines).unwrap_or_else(|error| panic!("{error}"));
    let node = Carillon::spawn(&["node", "--config", &config]);
    eventually("a sentence", async || {
        let said = node.said();
        let sentence = "this node serves nobody and promises nothing";
        if said.contains(sentence) && said.contains("127.0.0.1:1") { Ok(()) } else { Err(said) }
    })
    .await;
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err(), "nobody waits for a node that does not serve");
    node.signal(Signal::TERM);
    let ended = node.end().await;
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
}
