//! How a version is said to another node: the name of each node once, however many parts there are.
//!
//! An archive may have 10,000 parts, each with the nodes that held it, and an answer between nodes has an end. A name
//! of a node has up to 63 letters, and there are few nodes; so a part says which of them by number.

use hashring::NodeId;
use segment::archive::{Adler32, Key, Md5, Table, UnifiedId, Upload};
use serde::{Deserialize, Serialize};

use crate::{Found, Part};

/// A version of a key, as it is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compact {
    key: Key,
    version: UnifiedId,
    size: u64,
    time_ms: u64,
    conjoined: bool,
    meta: Vec<(String, String)>,
    /// All nodes that are named below, each once.
    nodes: Vec<NodeId>,
    parts: Vec<CompactPart>,
    members: Vec<u32>,
}

/// A part, with its nodes by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CompactPart {
    node: u32,
    boot: u64,
    count: u64,
    part: u32,
    sequences: u32,
    size: u64,
    md5: Md5,
    adler32: Adler32,
    table: Table,
    holders: Vec<u32>,
}

/// It names a node that it does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("node {0} of a version is not told")]
pub(crate) struct NoNode(u32);

/// Nodes that were named, in the order in which they came.
#[derive(Default)]
struct Names(Vec<NodeId>);

impl Names {
    fn number(&mut self, node: NodeId) -> u32 {
        // They are few: those that hold a partition, or held it.
        let known = self.0.iter().position(|known| *known == node);
        let number = known.unwrap_or_else(|| {
            self.0.push(node);
            self.0.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn numbers(&mut self, nodes: Vec<NodeId>) -> Vec<u32> {
        nodes.into_iter().map(|node| self.number(node)).collect()
    }

    fn node(&self, number: u32) -> Result<NodeId, NoNode> {
        let node = usize::try_from(number).ok().and_then(|number| self.0.get(number));
        node.cloned().ok_or(NoNode(number))
    }

    fn nodes(&self, numbers: Vec<u32>) -> Result<Vec<NodeId>, NoNode> {
        numbers.into_iter().map(|number| self.node(number)).collect()
    }
}

impl From<Found> for Compact {
    fn from(found: Found) -> Self {
        let Found { key, version, size, time_ms, conjoined, meta, parts, members } = found;
        let mut names = Names::default();
        let members = names.numbers(members);
        let parts = parts
            .into_iter()
            .map(|part| {
                let Part { upload, part, sequences, size, md5, adler32, table, holders } = part;
                let Upload { node, boot, count } = upload;
                let (node, holders) = (names.number(node), names.numbers(holders));
                CompactPart {
                    node,
                    boot,
                    count,
                    part,
                    sequences,
                    size,
                    md5,
                    adler32,
                    table,
                    holders,
                }
            })
            .collect();
        Self { key, version, size, time_ms, conjoined, meta, nodes: names.0, parts, members }
    }
}

impl TryFrom<Compact> for Found {
    type Error = NoNode;

    fn try_from(compact: Compact) -> Result<Self, NoNode> {
        let Compact { key, version, size, time_ms, conjoined, meta, nodes, parts, members } =
            compact;
        let names = Names(nodes);
        let parts = parts.into_iter().map(|said| {
            let CompactPart {
                node,
                boot,
                count,
                part,
                sequences,
                size,
                md5,
                adler32,
                table,
                holders,
            } = said;
            let upload = Upload { node: names.node(node)?, boot, count };
            let holders = names.nodes(holders)?;
            Ok(Part { upload, part, sequences, size, md5, adler32, table, holders })
        });
        let parts = parts.collect::<Result<_, NoNode>>()?;
        let members = names.nodes(members)?;
        Ok(Self { key, version, size, time_ms, conjoined, meta, parts, members })
    }
}

#[cfg(test)]
mod tests {
    use segment::archive::PARTS_MAX;

    use super::*;
    use crate::question::{Answer, Reply};
    use crate::spoken::{Strange, decode, encode};

    /// A node whose name is as long as one may be.
    fn node(number: u32) -> NodeId {
        format!("n{number:062}").parse().unwrap()
    }

    fn found(parts: u32) -> Found {
        let part = |number: u32| Part {
            upload: Upload { node: node(number % 9), boot: u64::MAX, count: u64::MAX },
            part: number,
            sequences: 1639,
            size: u64::MAX,
            md5: Md5::of(&number.to_le_bytes()),
            adler32: Adler32::of(&number.to_le_bytes()),
            table: Table::EMPTY,
            holders: (number..number + 3).map(|number| node(number % 9)).collect(),
        };
        Found {
            key: "k".repeat(1024).parse().unwrap(),
            version: UnifiedId(7),
            size: 9,
            time_ms: 8,
            conjoined: true,
            meta: vec![("n".to_owned(), "v".to_owned())],
            parts: (1..=parts).map(part).collect(),
            members: vec![node(1), node(12)],
        }
    }

    /// Each part said the names of its nodes, and from about 34 letters on the answer was longer than one may be.
    #[test]
    fn the_largest_archive_fits_an_answer_between_nodes() {
        let parts = PARTS_MAX;
        let answer = Answer::Done(Ok(Reply::Found(Box::new(found(parts)))));
        let bytes = encode(&answer);
        assert!(bytes.len() < replication::ANSWER_BYTES_MAX, "{} bytes", bytes.len());
        assert!(decode(&bytes) == Ok(answer));
    }

    #[test]
    fn a_node_that_is_not_told_is_refused() {
        let mut compact = Compact::from(found(2));
        assert_eq!(Found::try_from(compact.clone()), Ok(found(2)));
        compact.nodes.truncate(1);
        assert!(Found::try_from(compact.clone()).is_err());
        let bytes = postcard::to_stdvec(&compact).unwrap();
        assert!(postcard::from_bytes::<Found>(&bytes).is_err());
        assert_eq!(decode::<Answer>(b"A"), Err(Strange::Broken));
    }
}
