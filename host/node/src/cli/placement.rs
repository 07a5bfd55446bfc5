//! Where everything is, as one node tells it, and the table that people are shown.

use std::collections::{BTreeMap, BTreeSet};

use hashring::{NodeId, Position, RingNode};
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /admin/v1/ring`. Other fields may come; they are not looked at.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ring {
    version: u64,
    stale_ms: u64,
    nodes: Vec<RingMember>,
    positions: Vec<Place>,
}

#[derive(Clone, Debug, Deserialize)]
struct RingMember {
    id: NodeId,
    hostname: String,
    zone: String,
    http: String,
    state: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Place {
    position: String,
    node: NodeId,
}

/// `GET /admin/v1/partitions`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Placement {
    copies: usize,
    spread: String,
    settle_ms: u64,
    pub(super) partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Partition {
    pub(super) partition: u16,
    pub(super) epoch: u64,
    pub(super) state: String,
    pub(super) primary: Option<NodeId>,
    pub(super) ensemble: Vec<NodeId>,
    pub(super) wanted: Vec<NodeId>,
    pub(super) moves: Vec<Movement>,
    #[serde(default)]
    log: LogHealth,
    #[serde(default)]
    differing: Vec<NodeId>,
}

/// What is wrong with the log of the node that was asked.
#[derive(Clone, Debug, Default, Deserialize)]
struct LogHealth {
    damaged: bool,
    unreadable: Option<u64>,
    mended: u64,
    evidence: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Movement {
    node: NodeId,
    bytes_done: u64,
    bytes_total: u64,
    left_ms: Option<u64>,
}

impl Partition {
    /// Whether somebody should hold it who does not. A member that is away keeps its place until there is
    /// another for it.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.wanted.iter().any(|node| !self.ensemble.contains(node))
    }

    /// Whether another leads it than the ring has for that, among those who hold it.
    fn is_led_by_another(&self) -> bool {
        let first = self.wanted.first();
        self.primary.is_some() && self.primary.as_ref() != first && !self.is_elsewhere()
    }
}

impl Movement {
    pub(super) fn json(&self, partition: &Partition) -> Value {
        json!({
            "partition": partition.partition, "node": self.node, "by": partition.primary,
            "bytes_done": self.bytes_done, "bytes_total": self.bytes_total, "left_ms": self.left_ms,
        })
    }

    pub(super) fn line(&self, partition: &Partition) -> String {
        let by = partition.primary.as_ref().map(NodeId::as_str).unwrap_or_default();
        let left = match self.left_ms {
            None => "time left unknown".to_owned(),
            Some(ms) => format!("{} s left", ms.div_ceil(1000)),
        };
        format!(
            "partition {:03}: {by} brings in {}, {} of {}, {left}",
            partition.partition,
            self.node,
            mib(self.bytes_done),
            mib(self.bytes_total)
        )
    }
}

fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// What `ring show` prints.
#[derive(Clone, Debug)]
pub(super) struct Table {
    version: u64,
    stale_ms: u64,
    rows: Vec<Row>,
    /// Of shares, of partitions led, of partitions held: the largest divided by the mean.
    balance: [Option<f64>; 3],
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Row {
    member: RingMember,
    positions: usize,
    share: f64,
    leads: u32,
    holds: u32,
}

/// Puts together what the ring and the partitions say of each node.
pub(super) fn table(ring: &Ring, placement: &Placement) -> Table {
    let mut positions: BTreeMap<&NodeId, Vec<Position>> = BTreeMap::new();
    for place in &ring.positions {
        if let Ok(position) = place.position.parse() {
            positions.entry(&place.node).or_default().push(position);
        }
    }
    let nodes = positions.iter().map(|(id, positions)| RingNode {
        id: NodeId::clone(id),
        host: String::new(),
        zone: String::new(),
        positions: positions.clone(),
    });
    let computed = hashring::Ring::new(nodes.collect());
    let shares: BTreeMap<NodeId, f64> = computed.shares().into_iter().collect();
    let count = |of: &dyn Fn(&Partition) -> bool| {
        let counted = placement.partitions.iter().filter(|partition| of(partition)).count();
        u32::try_from(counted).unwrap_or(u32::MAX)
    };
    let absent = absent(ring, placement);
    let rows: Vec<Row> = ring
        .nodes
        .iter()
        .chain(&absent)
        .map(|member| Row {
            member: member.clone(),
            positions: positions.get(&member.id).map_or(0, Vec::len),
            share: shares.get(&member.id).copied().unwrap_or_default(),
            leads: count(&|partition| partition.primary.as_ref() == Some(&member.id)),
            holds: count(&|partition| partition.ensemble.contains(&member.id)),
        })
        .collect();
    let there = || rows.iter().filter(|row| row.positions > 0);
    let balance = [
        balance(there().map(|row| row.share)),
        balance(there().map(|row| f64::from(row.leads))),
        balance(there().map(|row| f64::from(row.holds))),
    ];
    let notes = notes(ring, placement);
    Table { version: ring.version, stale_ms: ring.stale_ms, rows, balance, notes }
}

/// Nodes that hold something and are not on the ring: dead, or gone.
fn absent(ring: &Ring, placement: &Placement) -> Vec<RingMember> {
    let holders: BTreeSet<&NodeId> =
        placement.partitions.iter().flat_map(|partition| &partition.ensemble).collect();
    let there = |id: &NodeId| ring.nodes.iter().any(|member| member.id == *id);
    let member = |id: &NodeId| RingMember {
        id: id.clone(),
        hostname: "-".to_owned(),
        zone: String::new(),
        http: "-".to_owned(),
        state: "absent".to_owned(),
    };
    holders.into_iter().filter(|id| !there(id)).map(member).collect()
}

/// The largest divided by the mean; `None` of nothing.
fn balance(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut largest, mut sum, mut count) = (0.0_f64, 0.0, 0.0);
    for value in values {
        largest = largest.max(value);
        sum += value;
        count += 1.0;
    }
    (sum > 0.0).then(|| largest * count / sum)
}

/// What somebody should look at.
/// What is wrong with the logs, as the node that was asked knows it.
fn flaws(partition: &Partition) -> Vec<String> {
    let Partition { partition: number, log, differing, .. } = partition;
    let mut flaws = Vec::new();
    for node in differing {
        flaws.push(format!("partition {number}: the log of {node} is not what the others have"));
    }
    if log.damaged {
        flaws.push(format!(
            "partition {number}: this node's log lost something, and is given it again"
        ));
    }
    if let Some(seq) = log.unreadable {
        flaws.push(format!("partition {number}: this node cannot read entry {seq} of its log"));
    }
    if log.evidence {
        flaws.push(format!(
            "partition {number}: this node's log held what the others do not have ({} times since it was started): look at \
             evidence/{number:03}.evidence in its data folder, then remove it",
            log.mended
        ));
    }
    flaws
}

fn notes(ring: &Ring, placement: &Placement) -> Vec<String> {
    let count = |of: &dyn Fn(&&Partition) -> bool| placement.partitions.iter().filter(of).count();
    let mut notes = Vec::new();
    if ring.stale_ms > 0 {
        notes.push(format!(
            "the registry has not been reached for {} s",
            ring.stale_ms.div_ceil(1000)
        ));
    }
    let led = count(&|partition| partition.state == "open" && partition.primary.is_some());
    if led < placement.partitions.len() {
        notes.push(format!("{} partitions have no leader", placement.partitions.len() - led));
    }
    let copies = placement.copies;
    let thin = count(&|partition| partition.wanted.len() < copies);
    if thin > 0 {
        let of = match placement.spread.as_str() {
            "node" => "nodes on the ring".to_owned(),
            spread => format!("nodes on the ring that do not share a {spread}"),
        };
        notes.push(format!("{thin} partitions can have fewer than {copies} copies: too few {of}"));
    }
    let elsewhere = count(&|partition| partition.is_elsewhere());
    if elsewhere > 0 {
        notes.push(format!(
            "{elsewhere} partitions are not where they should be: carillon ring moves"
        ));
    }
    let by_another = count(&|partition| partition.is_led_by_another());
    if by_another > 0 {
        notes.push(format!(
            "{by_another} partitions are led by another node than the ring has for them: they go back \
             about {} s after the last change",
            placement.settle_ms.div_ceil(1000)
        ));
    }
    notes.extend(placement.partitions.iter().flat_map(flaws));
    notes
}

impl Table {
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "node": row.member.id, "zone": row.member.zone, "host": row.member.hostname,
                    "http": row.member.http, "state": row.member.state, "positions": row.positions,
                    "share": row.share, "leads": row.leads, "holds": row.holds,
                })
            })
            .collect();
        let [shares, led, held] = self.balance;
        json!({
            "version": self.version, "stale_ms": self.stale_ms, "nodes": rows,
            "balance": {"share": shares, "leads": led, "holds": held}, "notes": self.notes,
        })
    }

    pub(super) fn text(&self) -> String {
        let head =
            ["node", "state", "zone", "host", "positions", "share", "leads", "holds", "http"];
        let mut cells: Vec<[String; 9]> = vec![head.map(str::to_owned)];
        for row in &self.rows {
            let zone = if row.member.zone.is_empty() { "-" } else { &row.member.zone };
            cells.push([
                row.member.id.to_string(),
                row.member.state.clone(),
                zone.to_owned(),
                row.member.hostname.clone(),
                row.positions.to_string(),
                format!("{:.1}%", row.share * 100.0),
                row.leads.to_string(),
                row.holds.to_string(),
                row.member.http.clone(),
            ]);
        }
        let mut lines: Vec<String> = aligned(&cells);
        let [shares, led, held] = self.balance.map(|balance| match balance {
            Some(balance) => format!("{balance:.2}"),
            None => "-".to_owned(),
        });
        lines.push(format!("balance (max/mean): share {shares}, leads {led}, holds {held}"));
        lines.extend(self.notes.iter().cloned());
        lines.join("\n")
    }
}

fn aligned(cells: &[[String; 9]]) -> Vec<String> {
    let width = |column: usize| {
        cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    cells
        .iter()
        .map(|row| {
            let padded = row.iter().enumerate().map(|(column, cell)| {
                format!("{cell:<width$}", width = width(column).unwrap_or_default())
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Placement, Ring, table};
    use serde_json::json;

    fn ring() -> Ring {
        let node = |id: &str| {
            json!({"id": id, "hostname": "h", "fqdn": "h", "zone": "", "weight": 1, "state": "up",
                   "http": "http://127.0.0.1:1", "quic": "127.0.0.1:2"})
        };
        let position = |digit: char, node: &str| json!({"position": format!("{digit}{}", "0".repeat(31)), "node": node});
        serde_json::from_value(json!({
            "version": 3, "stale_ms": 0, "nodes": [node("a"), node("b")],
            "positions": [position('4', "a"), position('8', "b")],
        }))
        .unwrap()
    }

    fn placement(wanted: &[&str]) -> Placement {
        let partition = |number: u16, primary: &str| {
            json!({
                "partition": number, "epoch": 1, "state": "open", "primary": primary,
                "role": "member", "ensemble": ["a", "b"], "wanted": wanted, "end": 0, "commit": 0,
                "lag": 0, "stale_ms": 0, "moves": [],
            })
        };
        serde_json::from_value(json!({
            "copies": 2, "commit": 2, "spread": "host", "settle_ms": 60_000,
            "partitions": [partition(0, "a"), partition(1, "a"), partition(2, "b"), partition(3, "a")],
        }))
        .unwrap()
    }

    #[test]
    fn a_table_counts_shares_leads_and_holds_and_their_balance() {
        let mut placed = placement(&["a", "b"]);
        placed.partitions[2].wanted.reverse();
        let shown = table(&ring(), &placed);
        let json = shown.json();
        assert_eq!(json["nodes"][0]["share"], 0.75);
        assert_eq!(
            (&json["nodes"][0]["leads"], &json["nodes"][1]["leads"]),
            (&json!(3), &json!(1))
        );
        let balance = json!({"share": 1.5, "leads": 1.5, "holds": 1.0});
        assert_eq!((&json["balance"], &json["notes"]), (&balance, &json!([])));
        let text = shown.text();
        let expected = "balance (max/mean): share 1.50, leads 1.50, holds 1.00";
        assert!(text.contains("75.0%") && text.contains(expected), "{text}");
    }

    #[test]
    fn too_few_hosts_and_partitions_elsewhere_are_noted() {
        let text = table(&ring(), &placement(&["a"])).text();
        let thin = "4 partitions can have fewer than 2 copies: too few nodes on the ring that do not \
                    share a host";
        assert!(text.contains(thin) && !text.contains("carillon ring moves"), "{text}");
        let text = table(&ring(), &placement(&["a", "c"])).text();
        assert!(text.contains("4 partitions are not where they should be"), "{text}");
        assert!(!text.contains("led by another"), "that comes after it: {text}");
        let text = table(&ring(), &placement(&["b", "a"])).text();
        let led = "3 partitions are led by another node than the ring has for them: they go back about \
                   60 s after the last change";
        assert!(text.contains(led), "{text}");
    }

    #[test]
    fn who_holds_something_and_is_not_on_the_ring_is_shown_as_absent() {
        let mut ring = ring();
        ring.nodes.retain(|member| member.id.as_str() == "a");
        ring.positions.retain(|place| place.node.as_str() == "a");
        let json = table(&ring, &placement(&["a", "b"])).json();
        let absent = &json["nodes"][1];
        assert_eq!((&absent["node"], &absent["state"]), (&json!("b"), &json!("absent")));
        assert_eq!((&absent["holds"], &absent["positions"]), (&json!(4), &json!(0)));
        assert_eq!(json["balance"]["leads"], 1.0, "who is not there says nothing of balance");
    }

    #[test]
    fn what_is_wrong_with_the_logs_is_noted() {
        let mut placed = placement(&["a", "b"]);
        placed.partitions[1].differing = vec!["b".parse().unwrap()];
        placed.partitions[2].log =
            super::LogHealth { damaged: true, unreadable: Some(9), mended: 1, evidence: true };
        let text = table(&ring(), &placed).text();
        for note in [
            "partition 1: the log of b is not what the others have",
            "partition 2: this node's log lost something",
            "partition 2: this node cannot read entry 9",
            "evidence/002.evidence",
        ] {
            assert!(text.contains(note), "{note}: {text}");
        }
    }
}
