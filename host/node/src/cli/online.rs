//! What a check can only learn from the registry: whether it answers, and whether the nodes that are there
//! and this one can hold as many copies as they should.

use std::path::Path;

use hashring::{Position, Ring, RingNode};
use registry::{
    CLUSTER, ClusterRecord, LastKnown, POSITIONS, PositionRecord, Registry, Session, position_of,
};

use super::Problem;
use crate::config::{Config, RegistryKind};
use crate::joining;

/// Asks the registry of `config`; returns what somebody should know.
pub(super) async fn look(file: &Path, config: &Config) -> Result<Vec<String>, Problem> {
    if config.registry.kind == RegistryKind::Embedded {
        return Ok(vec!["an embedded registry has nobody to ask".to_owned()]);
    }
    let wrong = |problem: registry::Problem| Problem::usage(problem, "Run carillon check again");
    // Its file is the node's, which may be running: it is only read here.
    let kept = joining::zookeeper(config.data(), config).map_err(wrong)?;
    let servers = joining::servers(config).map_err(wrong)?;
    let session = Registry::zookeeper(servers).map_err(wrong)?.session(&config.node.id);
    if let Err(problem) = session.connected(config.registry.timeout.0).await {
        let silent = || "the registry does not answer".to_owned();
        let what = problem.map_or_else(silent, |problem| problem.to_string());
        let what = match kept.last_known() {
            Some(known) => with_ring(&what, &known),
            None => what,
        };
        let fix = format!("Mend that, or correct [registry] in {}", file.display());
        return Err(Problem::unreachable(what, fix));
    }
    judge(&session, config).await
}

async fn judge(session: &Session, config: &Config) -> Result<Vec<String>, Problem> {
    let unread = |error: registry::Error| Problem::unreachable(error, "Check again");
    if let Some(value) = session.get(CLUSTER).await.map_err(unread)? {
        let cluster: ClusterRecord = registry::decode(&value.data).map_err(|error| {
            let fix = "Give this cluster a root of its own, or mend what stands there";
            Problem::failed(format!("the registry's record cluster: {error}"), fix)
        })?;
        let (theirs, ours) = (cluster.partitions, config.cluster.partitions);
        if theirs != ours {
            let what =
                format!("the cluster has {theirs} partitions, and cluster.partitions is {ours}");
            return Err(Problem::failed(
                what,
                "Write what the cluster has, or another registry.root",
            ));
        }
    }
    let places = session.list(POSITIONS).await.map_err(unread)?;
    let records: Vec<(Position, PositionRecord)> = places
        .iter()
        .filter_map(|(key, value)| Some((position_of(key)?, registry::decode(&value.data).ok()?)))
        .collect();
    let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
    copies(ring, config)
}

/// With what this node's disk knows of the ring, and how old that is.
fn with_ring(what: &str, known: &LastKnown) -> String {
    let records = known.list(POSITIONS).filter_map(|(key, value)| {
        Some((position_of(key)?, registry::decode::<PositionRecord>(&value.data).ok()?))
    });
    let records: Vec<(Position, PositionRecord)> = records.collect();
    let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
    let nodes: Vec<String> = ring.nodes().iter().map(|node| node.id.to_string()).collect();
    let seconds = known.age_ms() / 1_000;
    format!("{what}; {seconds} s ago the ring was: {}", nodes.join(", "))
}

/// How many copies there can be, once this node is there too.
fn copies(ring: Ring, config: &Config) -> Result<Vec<String>, Problem> {
    let mut nodes = ring.nodes().to_vec();
    let mut notes = Vec::new();
    if nodes.iter().any(|node| node.id == config.node.id) {
        notes.push(format!("node {} is there already", config.node.id));
    } else {
        // Any place will do: what counts is what it does not share with others.
        let free = (0..).map(Position).find(|at| ring.positions().all(|(taken, _)| taken != *at));
        nodes.push(RingNode {
            id: config.node.id.clone(),
            host: replication::host(),
            zone: config.node.zone.clone(),
            positions: free.into_iter().collect(),
        });
    }
    let count = nodes.len();
    let (wanted, commit) = (config.replication.copies, config.replication.commit);
    let most = Ring::new(nodes).preference(Position(0), wanted.into(), config.spread()).len();
    if most >= usize::from(wanted) {
        return Ok(notes);
    }
    let what = format!(
        "with this node there are {count} nodes, and replication.spread = \"{}\" places {most} copies \
         of {wanted} on them",
        config.replication.spread
    );
    if most >= usize::from(commit) || config.spread() == hashring::Spread::Node {
        // Nodes come one after the other; hosts and zones are what they are.
        notes.push(what);
        return Ok(notes);
    }
    let what = format!("{what}, below replication.commit = {commit}: nothing can be served");
    Err(Problem::failed(what, "Start nodes on other hosts or in other zones, or change the spread"))
}

#[cfg(test)]
mod tests {
    use super::copies;
    use crate::config::{Config, Spread};
    use hashring::{Position, Ring, RingNode};

    fn ring(hosts: &[&str]) -> Ring {
        let nodes = hosts.iter().zip(1_u8..).map(|(host, number)| RingNode {
            id: format!("n{}", number + 1).parse().unwrap(),
            host: (*host).to_owned(),
            zone: String::new(),
            positions: vec![Position(number.into())],
        });
        Ring::new(nodes.collect())
    }

    #[test]
    fn too_few_hosts_are_told_and_below_the_commit_quorum_refused() {
        let here = replication::host();
        let mut config = Config::default();
        config.replication.spread = Spread::Host;
        assert!(copies(ring(&["x", "y"]), &config).unwrap().is_empty());
        let notes = copies(ring(&["x", &here]), &config).unwrap();
        assert!(notes[0].contains("places 2 copies of 3"), "{notes:?}");
        let refused = copies(ring(&[&here, &here]), &config).unwrap_err();
        assert!(refused.what.contains("below replication.commit = 2"), "{refused}");
        config.replication.spread = Spread::Node;
        let notes = copies(ring(&[]), &config).unwrap();
        assert!(notes[0].contains("places 1 copies of 3"), "the first comes first: {notes:?}");
    }
}
