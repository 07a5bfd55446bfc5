//! The published behaviour of the ring that this one follows, case by case.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

use hashring::{NodeId, Partitions, Position, Ring, RingNode, Spread, moves};

const FIRST: &str = "00000000000000000000000000000000";
const SECOND: &str = "cfcd208495d565ef66e7dff9f98764da";
const THIRD: &str = "f899139df5e1059396431415e770c6dd";

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn node(name: &str, host: &str, positions: &[&str]) -> RingNode {
    RingNode {
        id: id(name),
        host: host.to_owned(),
        zone: String::new(),
        positions: positions.iter().map(|p| p.parse().unwrap()).collect(),
    }
}

fn three() -> Ring {
    Ring::new(vec![node("a", "1", &[FIRST]), node("b", "2", &[SECOND]), node("c", "3", &[THIRD])])
}

fn owner(ring: &Ring, key: &str) -> String {
    ring.owner(Position::of_key(key.as_bytes())).unwrap().to_string()
}

#[test]
fn a_key_on_a_position_belongs_to_the_next() {
    let ring = three();
    assert_eq!(Position::of_key(b"0").to_string(), SECOND);
    assert_eq!(owner(&ring, "0"), "c");
    assert_eq!(owner(&ring, "1"), "b");
    assert_eq!(owner(&ring, "2"), "b");
    assert_eq!(Position::of_key(b"100").to_string(), THIRD);
    assert_eq!(owner(&ring, "100"), "a", "after the last position comes the first");
}

#[test]
fn a_fourth_node_takes_over_what_lies_before_it_and_gives_it_back() {
    let mut nodes = three().nodes().to_vec();
    nodes.push(node("d", "4", &["dfcd208495d565ef66e7dff9f98764da"]));
    assert_eq!(owner(&Ring::new(nodes), "0"), "d");
    assert_eq!(owner(&three(), "0"), "c");
}

#[test]
fn one_node_on_every_position_is_listed_once() {
    let ring = Ring::new(vec![node("a", "1", &[FIRST, SECOND, THIRD])]);
    assert_eq!(ring.preference(Position::of_key(b"0"), 3, Spread::Node), [id("a")]);
}

#[test]
fn merging_by_host_keeps_the_first_of_each_host() {
    let ring = Ring::new(vec![
        node(
            "a",
            "host1",
            &["10000000000000000000000000000000", "20000000000000000000000000000000"],
        ),
        node("b", "host1", &["30000000000000000000000000000000"]),
        node("c", "host2", &["40000000000000000000000000000000"]),
    ]);
    let start = Position(0);
    assert_eq!(ring.preference(start, 9, Spread::Host), [id("a"), id("c")]);
    assert_eq!(ring.preference(start, 9, Spread::Node), [id("a"), id("b"), id("c")]);
    assert_eq!(ring.preference(start, 2, Spread::Node), [id("a"), id("b")]);
}

#[test]
fn zones_count_as_one_and_nodes_without_a_zone_fall_back_to_their_host() {
    let mut nodes = three().nodes().to_vec();
    nodes[0].zone = "east".to_owned();
    nodes[1].zone = "east".to_owned();
    let ring = Ring::new(nodes);
    assert_eq!(ring.preference(Position(0), 3, Spread::Zone), [id("b"), id("c")]);
}

#[test]
fn only_who_newly_enters_the_top_needs_the_data() {
    // One partition; its walk begins with the first position of the ring.
    let partitions = Partitions::try_from(1).unwrap();
    let a = node("a", "1", &["20000000000000000000000000000000"]);
    let b = node("b", "2", &["30000000000000000000000000000000"]);
    let x = node("x", "3", &["28000000000000000000000000000000"]);
    let old = Ring::new(vec![a.clone(), b.clone()]);
    let new = Ring::new(vec![a, b, x]);
    let changed = moves(&old, &new, partitions, 2, Spread::Node);
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].before, [id("a"), id("b")]);
    assert_eq!(changed[0].after, [id("a"), id("x")]);
    assert_eq!(changed[0].entering().collect::<Vec<_>>(), [&id("x")]);
    assert_eq!(changed[0].leaving().collect::<Vec<_>>(), [&id("b")]);
    assert!(moves(&new, &new, partitions, 2, Spread::Node).is_empty());
}

#[test]
fn a_new_first_changes_only_who_leads() {
    let partitions = Partitions::try_from(1).unwrap();
    let b = node("b", "2", &["20000000000000000000000000000000"]);
    let a = node("a", "1", &["30000000000000000000000000000000"]);
    let x = node("x", "3", &["10000000000000000000000000000000"]);
    let old = Ring::new(vec![a.clone(), b.clone()]);
    let new = Ring::new(vec![a, b, x]);
    let changed = moves(&old, &new, partitions, 2, Spread::Node);
    assert_eq!(changed[0].before, [id("b"), id("a")]);
    assert_eq!(changed[0].after, [id("x"), id("b")]);
    assert_eq!(changed[0].entering().collect::<Vec<_>>(), [&id("x")]);
}

#[test]
fn the_table_finds_what_a_plain_search_finds() {
    // A multiplicative walk over the ring: positions without any pattern the table could profit from.
    let mut seed = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835_u128;
    let mut next = || {
        seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        Position(seed ^ (seed >> 64))
    };
    for count in [0, 1, 2, 3, 7, 64, 1000] {
        let positions: Vec<_> = (0..count).map(|_| next()).collect();
        let nodes = positions
            .iter()
            .enumerate()
            .map(|(n, p)| node(&format!("n{n}"), "h", &[&p.to_string()]))
            .collect();
        let ring = Ring::new(nodes);
        let mut sorted: Vec<_> = ring.positions().collect();
        sorted.sort_by_key(|place| place.0);
        let keys = (0..200).map(|_| next()).chain(positions.clone());
        for key in keys.chain([Position(0), Position(u128::MAX)]) {
            let plain = sorted.iter().find(|place| place.0 > key).or_else(|| sorted.first());
            assert_eq!(ring.owner(key), plain.map(|place| place.1), "{count} places, key {key}");
        }
    }
}

#[test]
fn shares_add_up_and_an_even_ring_is_balanced() {
    let even = Ring::new(vec![
        node("a", "1", &["00000000000000000000000000000000"]),
        node("b", "2", &["80000000000000000000000000000000"]),
    ]);
    assert!((even.balance().unwrap() - 1.0).abs() < 1e-6);
    let total: f64 = three().shares().iter().map(|(_, share)| share).sum();
    assert!((total - 1.0).abs() < 1e-6);
    assert_eq!(Ring::new(vec![]).balance(), None);
}
