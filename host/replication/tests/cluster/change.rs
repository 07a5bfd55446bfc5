//! Nodes that come, leave, die and return, on real sockets and files.

use std::collections::BTreeMap;
use std::time::Duration;

use hashring::PartitionId;
use replication::core::Outcome;

use crate::support::Cluster;

/// Nodes that follow the ring soon.
fn cluster(copies: u8, commit: u8) -> Cluster {
    let mut cluster = Cluster::new(8, copies, commit);
    cluster.timings.settle = Duration::from_millis(500);
    cluster.timings.dead = Duration::from_millis(1500);
    cluster
}

fn three() -> Cluster {
    let mut cluster = cluster(3, 2);
    for name in ["n1", "n2", "n3"] {
        cluster.start(name);
    }
    cluster.until_open();
    cluster
}

/// Sends the same few texts to every partition.
fn fill(cluster: &Cluster, what: &str) -> Vec<String> {
    let texts: Vec<String> = (0..20).map(|n| format!("{what} {n}")).collect();
    for partition in cluster.partitions() {
        for text in &texts {
            send(cluster, partition, text, 2);
        }
    }
    texts
}

/// Sends until it is stored; nothing in these stories leaves the outcome open.
fn send(cluster: &Cluster, partition: PartitionId, text: &str, acks: u8) {
    let mut sent = None;
    cluster.until("somebody takes it", |cluster| {
        sent = cluster.try_submit(partition, text, acks);
        sent.is_some()
    });
    let outcome = cluster.block_on(sent.unwrap().answer).unwrap();
    assert!(matches!(outcome, Outcome::Quorum { .. }), "{partition} {text}: {outcome:?}");
}

/// The ensemble of a partition as its primary has it, if that is what the ring wants.
fn as_wanted(cluster: &Cluster, partition: PartitionId, copies: usize) -> Option<Vec<String>> {
    let view = cluster.node(cluster.leader(partition)?).replication.view(partition);
    let names = |nodes: &[hashring::NodeId]| -> Vec<String> {
        let mut names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let (ensemble, wanted) = (names(&view.ensemble), names(&view.wanted));
    (ensemble == wanted && ensemble.len() == copies).then_some(ensemble)
}

/// Waits until the ensembles are those of a ring of these nodes, and returns how many partitions each holds.
fn until_moved(cluster: &Cluster, nodes: &[&str]) -> BTreeMap<String, usize> {
    let copies = nodes.len().min(3);
    let mut held = BTreeMap::new();
    cluster.until("every ensemble is the wanted one", |cluster| {
        held.clear();
        for partition in cluster.partitions() {
            let Some(ensemble) = as_wanted(cluster, partition, copies) else { return false };
            for name in ensemble {
                *held.entry(name).or_default() += 1;
            }
        }
        held.keys().eq(nodes)
    });
    held
}

/// Waits until all members of every partition hold these texts, in this order and nothing else.
fn until_members_hold(cluster: &Cluster, texts: &[String]) {
    cluster.until("all members hold every text", |cluster| {
        cluster.partitions().all(|partition| {
            let Some(leader) = cluster.leader(partition) else { return false };
            let view = cluster.node(leader).replication.view(partition);
            view.ensemble.iter().all(|node| cluster.texts(node.as_str(), partition) == texts)
        })
    });
}

#[test]
fn a_fourth_node_joins_takes_its_share_and_leaves_again() {
    let mut cluster = three();
    let mut texts = fill(&cluster, "with three");
    cluster.start("n4");
    until_moved(&cluster, &["n1", "n2", "n3", "n4"]);
    texts.extend(fill(&cluster, "with four"));
    until_members_hold(&cluster, &texts);
    // A node that holds nothing of a partition knows who leads it.
    cluster.until("everybody knows the primaries", |cluster| {
        cluster.nodes().all(|(_, node)| {
            cluster.partitions().all(|partition| {
                let view = node.replication.view(partition);
                view.primary.as_ref().map(|node| node.as_str()) == cluster.leader(partition)
            })
        })
    });
    cluster.set_leaving("n4", true);
    until_moved(&cluster, &["n1", "n2", "n3"]);
    cluster.kill("n4");
    texts.extend(fill(&cluster, "with three again"));
    until_members_hold(&cluster, &texts);
}

#[test]
fn a_dead_node_is_replaced_and_returns_as_one_that_has_to_learn() {
    let mut cluster = three();
    cluster.start("n4");
    until_moved(&cluster, &["n1", "n2", "n3", "n4"]);
    let mut texts = fill(&cluster, "before");
    cluster.kill("n2");
    let held = until_moved(&cluster, &["n1", "n3", "n4"]);
    assert_eq!(held.values().copied().collect::<Vec<usize>>(), [8, 8, 8]);
    texts.extend(fill(&cluster, "without n2"));
    until_members_hold(&cluster, &texts);
    cluster.start("n2");
    until_moved(&cluster, &["n1", "n2", "n3", "n4"]);
    texts.extend(fill(&cluster, "after"));
    until_members_hold(&cluster, &texts);
}

#[test]
fn a_wiped_node_gets_its_data_back() {
    let mut cluster = three();
    let mut texts = fill(&cluster, "before");
    cluster.wipe("n3");
    cluster.start("n3");
    cluster.until("every partition is led and held by three", |cluster| {
        cluster.partitions().all(|partition| {
            cluster.leader(partition).is_some_and(|leader| {
                cluster.node(leader).replication.view(partition).admits(3).is_ok()
            })
        })
    });
    texts.extend(fill(&cluster, "after"));
    until_members_hold(&cluster, &texts);
    assert_eq!(cluster.texts("n3", PartitionId(0)), texts);
}

#[test]
fn a_cluster_of_one_becomes_one_of_three() {
    let mut cluster = cluster(3, 1);
    cluster.start("n1");
    cluster.until("it is led", |cluster| {
        cluster.partitions().all(|partition| cluster.leader(partition).is_some())
    });
    let texts: Vec<String> = (0..20).map(|n| format!("alone {n}")).collect();
    for partition in cluster.partitions() {
        for text in &texts {
            send(&cluster, partition, text, 1);
        }
    }
    cluster.start("n2");
    cluster.start("n3");
    let held = until_moved(&cluster, &["n1", "n2", "n3"]);
    assert_eq!(held.values().copied().collect::<Vec<usize>>(), [8, 8, 8]);
    until_members_hold(&cluster, &texts);
}

#[test]
fn what_is_sent_while_nodes_come_and_leave_is_stored_once_and_in_order() {
    let mut cluster = three();
    let mut sent: BTreeMap<PartitionId, Vec<String>> = BTreeMap::new();
    let mut number = 0;
    let round =
        |cluster: &Cluster, sent: &mut BTreeMap<PartitionId, Vec<String>>, number: &mut u32| {
            for partition in cluster.partitions() {
                let text = format!("text {number}");
                send(cluster, partition, &text, 2);
                sent.entry(partition).or_default().push(text);
                *number += 1;
            }
        };
    cluster.start("n4");
    let has = |cluster: &Cluster, name: &str| {
        cluster
            .partitions()
            .filter(|partition| {
                let view = cluster.node("n3").replication.view(*partition);
                view.ensemble.iter().any(|node| node.as_str() == name)
            })
            .count()
    };
    let all_as_wanted = |cluster: &Cluster| {
        cluster.partitions().all(|partition| as_wanted(cluster, partition, 3).is_some())
    };
    while has(&cluster, "n4") == 0 || !all_as_wanted(&cluster) {
        round(&cluster, &mut sent, &mut number);
    }
    cluster.set_leaving("n1", true);
    while has(&cluster, "n1") > 0 || !all_as_wanted(&cluster) {
        round(&cluster, &mut sent, &mut number);
    }
    round(&cluster, &mut sent, &mut number);
    cluster.until("all members hold every text", |cluster| {
        cluster.partitions().all(|partition| {
            let Some(leader) = cluster.leader(partition) else { return false };
            let view = cluster.node(leader).replication.view(partition);
            let texts = &sent[&partition];
            view.ensemble.iter().all(|node| cluster.texts(node.as_str(), partition) == *texts)
        })
    });
}
