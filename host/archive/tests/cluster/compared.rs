//! Members that do not show what their primary does, by the same log.

use std::sync::Arc;
use std::time::Duration;

use archive::{Name, Versioning};
use segment::archive::{Applied, Operation};
use segment::{Folder, SystemDisk};

use crate::lost::{has, node, own};
use crate::objects::{data, make, name, put};
use crate::support::{Cluster, engine_at};

/// A member believes to know all of the log, and lacks an object that is in it: as when a record was lost and nobody
/// noticed. It finds that out, and takes the log over again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lacks_an_object_finds_out_and_takes_it_over() {
    let often = |config: &mut archive::Config| config.compare = Duration::from_millis(100);
    let mut cluster = Cluster::start_with(3, often).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let keys = [name("plain", "k"), name("plain", "other")];
    let data = [data(31, 50_000), data(32, 50_000)];
    put(cluster.node(0).archive(), &keys[0], &data[0]).await.expect("it is stored");
    let away = away(&cluster, &keys[1]);
    has(cluster.node(away).archive(), &keys[0], &data[0]).await;
    cluster.stop(away).await;
    let stays = (0..3).find(|index| *index != away).expect("two stay");
    put(cluster.node(stays).archive(), &keys[1], &data[1]).await.expect("it is stored");
    has(cluster.node(stays).archive(), &keys[1], &data[1]).await;

    let partition = cluster.node(stays).replication().partitions().of_key(b"plain/other");
    let end = cluster.node(stays).replication().view(partition).committed.expect("it is known");
    let (path, node) = (cluster.data(away), node(away));
    let believes = move || {
        let folder = Folder::open(&path, &node, 8, Vec::new).expect("it is free");
        let home = path.join("archive");
        let engine = engine_at(Arc::new(SystemDisk), home, &node, folder.store(), 0);
        let applied = vec![Applied { partition: partition.0, end }];
        engine.perform(Operation::Adopt { entries: Vec::new(), applied }).expect("it is written");
    };
    tokio::task::spawn_blocking(believes).await.expect("it does not panic");
    cluster.restart(away).await;
    cluster.led().await;
    has(cluster.node(away).archive(), &keys[1], &data[1]).await;
    assert!(own(cluster.node(away).archive(), &keys[0]).expect("it is read") == data[0]);
}

/// A node that does not lead the partition of a key.
fn away(cluster: &Cluster, key: &Name) -> usize {
    let replication = cluster.node(0).replication();
    let text = format!("{}/{}", key.collection, key.key);
    let partition = replication.partitions().of_key(text.as_bytes());
    let primary = replication.view(partition).primary.clone();
    (0..3).find(|index| primary != Some(node(*index))).expect("others do not lead it")
}
