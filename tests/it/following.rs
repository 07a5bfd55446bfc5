//! Readers who keep a connection open, and what becomes of it when nodes die or take their leave.

use tests::{Cluster, Events};

/// A reader sees each message once and in order, over whatever happens to whoever it reads from.
#[tokio::test]
async fn a_stream_goes_on_when_the_primary_dies_and_when_its_own_node_leaves() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let (through, writer) = ((primary + 1) % 3, (primary + 2) % 3);
    let doors = vec![cluster.http(through).clone(), cluster.http(writer).clone()];
    let mut events = Events::new(doors, &token, "bob");
    let http = cluster.http(writer).clone();
    let mut seen = Vec::new();
    for number in 0..15 {
        match number {
            5 => cluster.kill(primary).await,
            // The reader's own node takes its leave; what is left cannot commit without another.
            10 => {
                cluster.restart(primary).await;
                cluster.led().await;
                assert_eq!(cluster.stop(through).await, Vec::<String>::new());
            }
            _ => {}
        }
        let text = format!("m{number}");
        http.send_surely(&token, "alice", &text, &text).await;
        seen.push(events.next().await["text"].as_str().unwrap_or_default().to_owned());
    }
    let sent: Vec<String> = (0..15).map(|number| format!("m{number}")).collect();
    assert_eq!(seen, sent);
    assert_eq!(
        events.returns, 2,
        "it came, and came back once: when its node left, not when the primary died"
    );
}
