//! Watches a cluster without being in it: a few nodes come and go, and an observer is told.
//!
//! `cargo run --release -p registry --example observe`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use registry::{Cas, Member, Observer, PARTITIONS, PartitionRecord, Registry, encode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    // One of a real cluster works the same way.
    let registry = Registry::embedded(folder.path())?;
    let mut observer = Observer::new(registry.session(&"watcher".parse()?));

    let first = observer.changed().await.ok_or("the registry has ended")?;
    println!("view {}: {} partitions", first.version, first.partitions.len());

    // Somebody in the cluster writes who holds a partition.
    let node = registry.session(&"n1".parse()?);
    let ensemble = vec![Member { node: "n1".parse()?, store: 1 }];
    let record =
        PartitionRecord { primary: Some("n1".parse()?), ..PartitionRecord::first(ensemble, 1) };
    let key = format!("{PARTITIONS}000");
    node.cas(Cas { key, expect: None, data: Some(encode(&record)) }).await??;

    let second = observer.changed().await.ok_or("the registry has ended")?;
    for (partition, record) in &second.partitions {
        println!("view {}: partition {partition} is led by {:?}", second.version, record.primary);
    }
    Ok(())
}
