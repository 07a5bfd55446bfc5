//! What operators see of a cluster, and what they do to it, with the real command.

use serde_json::Value;
use tests::carillon::{Ended, run};
use tests::{Cluster, Http, eventually};

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// The partitions as a node's operators see them.
async fn partitions(admin: &Http) -> Vec<Value> {
    let all = admin.get("/admin/v1/partitions").await.expect(200);
    all["partitions"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_holds_what() {
    let cluster = Cluster::start(3).await;
    let urls: Vec<String> = (0..3).map(|index| cluster.node(index).admin_url()).collect();
    let admin = Http::new(&urls[0]);
    let info = admin.get("/admin/v1/info").await.expect(200);
    assert_eq!((&info["name"], &info["node"]), (&"carillon".into(), &"n1".into()), "{info}");
    assert_eq!((&info["incarnation"], &info["draining"]), (&1.into(), &false.into()), "{info}");
    assert_eq!(info["registry"]["reached"], true, "{info}");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"), "{info}");
    assert!(info["build"].as_str().is_some_and(|build| !build.is_empty()), "{info}");
    let all = partitions(&admin).await;
    assert_eq!(all.len(), 16);
    let led = all.iter().filter(|one| one["role"] == "primary").count();
    assert_eq!(info["led"], led, "{all:?}");
    for partition in &all {
        assert_eq!(partition["state"], "open", "{partition}");
        let of = |field: &str| partition[field].as_array().map(Vec::len);
        assert_eq!((of("ensemble"), of("wanted")), (Some(3), Some(3)), "{partition}");
        let primary_here = partition["primary"] == "n1";
        assert_eq!(partition["role"] == "primary", primary_here, "{partition}");
    }

    let shown = json(&run(&["ring", "show", "--admin", &urls[1], "--json"]).await);
    let rows = shown["nodes"].as_array().cloned().unwrap_or_default();
    let sum = |field: &str| rows.iter().filter_map(|row| row[field].as_u64()).sum::<u64>();
    assert_eq!((sum("leads"), sum("holds"), sum("positions")), (16, 48, 48), "{shown}");
    let share: f64 = rows.iter().filter_map(|row| row["share"].as_f64()).sum();
    assert!((share - 1.0).abs() < 0.001, "{shown}");
    assert_eq!(shown["balance"]["holds"], 1.0, "{shown}");
    let text = run(&["ring", "show", "--admin", &urls[1]]).await;
    assert!(text.out.contains("balance (max/mean): share "), "{text:?}");

    let token = cluster.http(2).create().await;
    let who = json(&run(&["ring", "who", &token, "--admin", &urls[2], "--json"]).await);
    let owners = cluster.http(0).get(&format!("/v1/chats/{token}/owners")).await.expect(200);
    for field in ["partition", "epoch", "primary", "ensemble", "wanted"] {
        assert_eq!(who[field], owners[field], "{field}: {who} {owners}");
    }
    let moves = run(&["ring", "moves", "--admin", &urls.join(",")]).await;
    assert_eq!(moves.code, Some(0), "{moves:?}");
    assert!(moves.out.contains("every partition is where it should be"), "{moves:?}");
    let some = run(&["ring", "moves", "--admin", &format!("{},http://127.0.0.1:1", urls[0])]).await;
    assert_eq!(some.code, Some(4), "one of them was not asked: {some:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_leads_nothing_and_goes_on_answering() {
    let cluster = Cluster::start(3).await;
    let (drained, url) = (cluster.http(0).clone(), cluster.node(0).admin_url());
    let admin = Http::new(&url);
    let tokens = [drained.create().await, drained.create().await, drained.create().await];
    let told = run(&["node", "drain", "--admin", &url, "--timeout", "60s"]).await;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("n1 leads nothing any more"), "{told:?}");
    let info = admin.get("/admin/v1/info").await.expect(200);
    assert_eq!((&info["draining"], &info["led"]), (&true.into(), &0.into()), "{info}");
    eventually("others to lead", async || {
        let all = partitions(&Http::new(&cluster.node(1).admin_url())).await;
        let led = |one: &&Value| one["primary"] != "n1" && one["state"] == "open";
        let open = all.iter().filter(led).count();
        if open == 16 { Ok(()) } else { Err(open) }
    })
    .await;
    for (number, token) in tokens.iter().enumerate() {
        drained.send_surely(token, "alice", &format!("k{number}"), "through the drained one").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_can_take_over_from_is_drained_in_part_and_only_by_force() {
    let cluster = Cluster::start(1).await;
    let url = cluster.node(0).admin_url();
    let refused = run(&["node", "drain", "--admin", &url]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("n1 is the last one that can lead"), "{refused:?}");
    let token = cluster.http(0).create().await;
    cluster.http(0).send(&token, "alice", "k", "it goes on").await.expect(201);
    let told = run(&["node", "drain", "--admin", &url, "--timeout", "300ms", "--force"]).await;
    assert_eq!(told.code, Some(4), "{told:?}");
    assert!(told.err.contains("still leads 16 partitions"), "{told:?}");
}

/// The last of three that could lead is told to stay, and the others are taken back.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_node_that_can_lead_refuses_to_be_drained_until_another_is_taken_back() {
    let cluster = Cluster::start(3).await;
    let urls: Vec<String> = (0..3).map(|index| cluster.node(index).admin_url()).collect();
    let drain = async |index: usize, more: &[&str]| {
        let args = ["node", "drain", "--admin", &urls[index], "--timeout", "60s"];
        run(&[&args[..], more].concat()).await
    };
    for index in [0, 1] {
        let drained = drain(index, &[]).await;
        assert_eq!(drained.code, Some(0), "{drained:?}");
    }
    let refused = drain(2, &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for words in ["n3 is the last one that can lead", "n1 gives everything away", "--force"] {
        assert!(refused.err.contains(words), "{words}: {refused:?}");
    }
    let info = Http::new(&urls[2]).get("/admin/v1/info").await.expect(200);
    assert_eq!((&info["draining"], &info["led"]), (&false.into(), &16.into()), "{info}");
    let back = drain(0, &["--cancel"]).await;
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.out.contains("n1 takes over again"), "{back:?}");
    let drained = drain(2, &[]).await;
    assert_eq!(drained.code, Some(0), "n1 is there again: {drained:?}");
    let info = Http::new(&urls[0]).get("/admin/v1/info").await.expect(200);
    assert_eq!((&info["draining"], &info["led"]), (&false.into(), &16.into()), "{info}");
    let token = cluster.http(2).create().await;
    cluster.http(2).send_surely(&token, "alice", "k", "through a drained one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_which_too_few_would_stay_is_not_declared_gone() {
    let cluster = Cluster::start(3).await;
    let url = cluster.node(0).admin_url();
    let leave = async |node: &str, more: &[&str]| {
        let args = ["ring", "leave", node, "--admin", &url];
        run(&[&args[..], more].concat()).await
    };
    assert_eq!(leave("n3", &[]).await.code, Some(0));
    let refused = leave("n2", &[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("without n2 n1 would stay, and 2 must hold"), "{refused:?}");
    assert_eq!(leave("n2", &["--force"]).await.code, Some(0));
    for node in ["n2", "n3"] {
        assert_eq!(leave(node, &["--cancel"]).await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_declared_gone_and_taken_back() {
    let cluster = Cluster::start(3).await;
    let url = cluster.node(0).admin_url();
    let unknown = run(&["ring", "leave", "n9", "--admin", &url]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("no node called n9"), "{unknown:?}");
    let wrong = run(&["ring", "leave", "N 9", "--admin", &url]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    for (args, told) in [
        (vec!["ring", "leave", "n3"], "n3 leaves"),
        (vec!["ring", "leave", "n3", "--undo"], "n3 stays"),
    ] {
        let mut args = args;
        args.extend(["--admin", &url]);
        let done = run(&args).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.out.contains(told), "{done:?}");
    }
    let nobody = run(&["ring", "show", "--admin", "http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    let clients = run(&["ring", "show", "--admin", &cluster.http(0).url()]).await;
    assert_eq!(clients.code, Some(1), "clients are answered there, not operators: {clients:?}");
}
