//! A program in another language beside a cluster that runs: it finds the nodes, and reads the ring as they
//! know it.

use std::fmt::Write as _;

use serde_json::Value;
use tests::python::Python;

use crate::three::Three;

#[tokio::test(flavor = "multi_thread")]
async fn python_finds_a_running_clusters_nodes_and_reads_its_ring() {
    let Some(mut three) = Three::start().await else { return };
    let Some(mut python) = Python::start().await else { return };
    let hosts = three.ensemble.hosts().join(",");
    python.run("from carillon_registry import Announcements").await;
    python.run("from ring import ring; from kazoo.client import KazooClient").await;
    python.run(&format!("found = Announcements('{hosts}', '/services/carillon-http')")).await;
    python.run(&format!("client = KazooClient(hosts='{hosts}'); client.start()")).await;

    // Others announce themselves there too, while their tests run.
    let urls: Vec<String> = (0..3).map(|index| three.http(index).url()).collect();
    let ours = format!("sorted(d['node'] for d in found.nodes().values() if d['url'] in {urls:?})");
    python.until(&ours, "['a', 'b', 'c']").await;

    let known = three.http(1).get("/v1/ring").await.expect(200);
    let url = |node: &Value| {
        let nodes = known["nodes"].as_array().into_iter().flatten();
        nodes
            .filter(|one| one["id"] == *node)
            .map(|one| one["http"].clone())
            .next()
            .unwrap_or_default()
    };
    let places = known["positions"].as_array().into_iter().flatten();
    let mut expected = String::new();
    for place in places {
        let (position, node) = (place["position"].as_str(), place["node"].as_str());
        let (position, node) = position.zip(node).expect("a place");
        let http = url(&place["node"]);
        let http = http.as_str().expect("a URL");
        writeln!(expected, "{position} {node} {http}").expect("text");
    }
    assert_eq!(expected.lines().count(), 48, "{known}");
    let read =
        format!("'\\n'.join('%032x %s %s' % place for place in ring(client, '{}'))", three.root);
    python.until(&read, expected.trim_end()).await;

    // One dies: it is neither announced nor on the ring once its session has ended.
    three.take(2).kill().await;
    python.until(&ours, "['a', 'b']").await;
    let names = format!("sorted(set(node for _, node, _ in ring(client, '{}')))", three.root);
    python.until(&names, "['a', 'b']").await;
}
