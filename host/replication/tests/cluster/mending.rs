//! Logs on real disks that hold what nobody wrote, or what cannot be read any more.

use std::os::unix::fs::FileExt;

use bytes::Bytes;
use hashring::PartitionId;
use replication::core::{Outcome, Role};
use segment::{LogOp, Notice};

use crate::support::Cluster;

const P: PartitionId = PartitionId(3);

/// Three nodes, and so many entries in one partition that all of them hold.
fn filled(cluster: &Cluster, count: usize) -> Vec<String> {
    cluster.until_open();
    let texts: Vec<String> = (0..count).map(|n| format!("text {n}")).collect();
    for text in &texts {
        assert!(matches!(cluster.send(P, text, 3), Outcome::Quorum { .. }));
    }
    cluster.until_all_hold(P, &texts);
    texts
}

/// A node that does not lead the partition.
fn member(cluster: &Cluster) -> &'static str {
    let leader = cluster.leader(P).unwrap();
    ["n1", "n2", "n3"].into_iter().find(|name| *name != leader).unwrap()
}

#[test]
fn a_log_that_says_something_else_is_mended_and_what_it_said_is_kept() {
    let mut cluster = Cluster::three();
    let mut texts = filled(&cluster, 12);
    let name = member(&cluster);
    cluster.kill(name);
    let (log, notices) = cluster.open_log(name);
    let mut entries = log.read(P, 1, 100, 1 << 20).unwrap();
    let mut chain = entries[5].chain;
    for entry in &mut entries[6..] {
        entry.payload = Bytes::from([&entry.payload[..], b"?"].concat());
        chain = chain.next(entry.epoch, entry.seq, &entry.payload);
        entry.chain = chain;
    }
    let ops = vec![
        LogOp::Cut { partition: P, after: 6 },
        LogOp::Append { partition: P, entries: entries[6..].to_vec() },
    ];
    log.submit(1, ops).unwrap();
    while !matches!(notices.recv().unwrap(), Notice::Written { ticket: 1 }) {}
    drop(log);

    cluster.start(name);
    cluster.until("it is mended", |cluster| {
        let view = cluster.node(name).replication.view(P);
        view.mended == 1 && view.role != Role::Mending && !view.damaged
    });
    texts.push("after".to_owned());
    cluster.until("it is taken", |cluster| {
        let Some(sent) = cluster.try_submit(P, "after", 3) else { return false };
        matches!(cluster.block_on(sent.answer), Ok(Outcome::Quorum { .. }))
    });
    cluster.until_all_hold(P, &texts);
    assert!(cluster.node(name).replication.evidence().contains(&P));
    let kept = std::fs::read(cluster.data(name).join("evidence/003.evidence")).unwrap();
    let text = b"text 11?";
    assert!(kept.windows(text.len()).any(|window| window == text), "what it said is in there");

    // It is as good as the others, also after a restart.
    cluster.kill(name);
    cluster.start(name);
    cluster.until_open();
    cluster.until_all_hold(P, &texts);
}

#[test]
fn a_bit_that_flips_under_a_running_node_is_found_by_the_scrub_and_mended() {
    let mut cluster = Cluster::new(8, 3, 2);
    cluster.scrub = 64 << 20;
    for name in ["n1", "n2", "n3"] {
        cluster.start(name);
    }
    let texts = filled(&cluster, 12);
    let name = member(&cluster);
    let path = cluster.data(name).join("logs/00000001.values");
    let bytes = std::fs::read(&path).unwrap();
    let text = b"\x01text 4";
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"T", at as u64 + 1).unwrap();
    // A small log is read once a minute; whoever reads it meanwhile finds it as well.
    let replication = cluster.node(name).replication.clone();
    cluster.until("it is mended", |cluster| {
        cluster.block_on(replication.read(P, 1, 100, 1 << 20));
        let view = replication.view(P);
        view.mended > 0 && view.unreadable.is_none() && !view.damaged
    });
    cluster.until("every node holds every text", |cluster| {
        ["n1", "n2", "n3"].iter().all(|name| cluster.texts(name, P) == texts)
    });
}
