//! One node on a small file system that somebody else fills while clients send.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tests::{eventually, history};

use crate::deployment::{Deployment, Shape};
use crate::ending;
use crate::inside::Place;
use crate::workload::{Amount, Workload};

/// The node's file system.
const SIZE: &str = "200m";

/// Fills the disk of one of three nodes in the middle of a load, and gives the room back; what was seen.
/// An error is a machine that cannot do it.
pub(crate) async fn run(place: &Place, seed: u64) -> Result<String, String> {
    if let Place::Outside(reason) = place {
        return Err(reason.clone());
    }
    let shape = Shape {
        nodes: 3,
        servers: 1,
        partitions: 16,
        small_disk: Some(SIZE.to_owned()),
        false_clock: false,
    };
    let mut deployment = Deployment::start(place, &shape).await?;
    let amount = Amount { clients: 4, chats: 16, per_second: 60 };
    let mut workload = Workload::start(&deployment, seed, amount).await;
    runtime::sleep(Duration::from_secs(2)).await;

    let node = deployment.nodes.last().expect("there are nodes");
    let filler = node.data.join("filler");
    let mut refused = Refusals::default();
    for _ in 0..2 {
        fill(&filler);
        refused.told(&deployment).await;
        std::fs::remove_file(&filler).map_err(|error| error.to_string())?;
        runtime::sleep(Duration::from_secs(2)).await;
    }
    let alive = deployment.nodes.last_mut().is_some_and(|node| node.ended().is_none());
    assert!(alive, "a full disk ends no process: {}", deployment.nodes[2].last_words());
    let done = workload.stop().await;
    let ended = ending::end(&mut deployment, &workload).await;
    let history = history::load(&workload.history).expect("the history can be read");
    let checked = history::check(&history);
    assert!(checked.is_zero(), "SEED={seed}: {checked}");
    assert!(ended.compared.different.is_empty(), "SEED={seed}: {:?}", ended.compared.different);
    Ok(format!(
        "filled twice: {} sends, none lost; with every member asked for, refused after {:?} s",
        done.samples.len(),
        refused.after_s
    ))
}

/// Takes all the room there is.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let chunk = vec![0u8; 64 << 10];
    while file.write_all(&chunk).is_ok() {}
}

/// How soon it was noticed.
#[derive(Debug, Default)]
struct Refusals {
    after_s: Vec<f64>,
}

impl Refusals {
    /// Waits until a send that every member must hold is refused, in some chat.
    async fn told(&mut self, deployment: &Deployment) {
        let http = deployment.nodes[0].http();
        let token = http.create().await;
        let begun = runtime::now();
        let mut round = 0;
        eventually("a refusal", async || {
            round += 1;
            let key = format!("full-{round}");
            let body = serde_json::json!({"sender": "meter", "text": key});
            let sent = http.send_with(&token, "?w=3", &key, &body).await?;
            if [503, 507].contains(&sent.status) { Ok(()) } else { Err(sent.status.to_string()) }
        })
        .await;
        self.after_s.push(begun.elapsed().as_secs_f64());
    }
}
