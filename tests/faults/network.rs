//! Rules about packets, in the test's own network: whom a node cannot hear.
//!
//! Nodes speak to each other from the address that they listen on, so that a pair of addresses is a
//! direction of a pair of nodes. They speak to ZooKeeper from whatever address the system gives them; there
//! the rule goes by the group that the node's process runs as.

use crate::inside::sh;

/// One direction between two nodes, one node's way to ZooKeeper, or some of what a node is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What the first address sends does not reach the second.
    From(String, String),
    /// What a group sends to this port of this machine does not arrive.
    Port(u32, u16),
    /// Of the datagrams to an address so many in a thousand get lost.
    Loses(String, u32),
}

impl Cut {
    /// Both directions between two addresses.
    pub(crate) fn between(one: &str, other: &str) -> [Self; 2] {
        let [one, other] = [one, other].map(str::to_owned);
        [Self::From(one.clone(), other.clone()), Self::From(other, one)]
    }

    fn rule(&self) -> Vec<String> {
        let words = match self {
            Self::From(from, to) => format!("INPUT -s {from} -d {to} -j DROP"),
            Self::Port(group, port) => {
                format!("OUTPUT -p tcp -m owner --gid-owner {group} --dport {port} -j DROP")
            }
            Self::Loses(to, per_mille) => {
                let share = f64::from(*per_mille) / 1000.0;
                format!(
                    "INPUT -d {to} -p udp -m statistic --mode random --probability {share} -j DROP"
                )
            }
        };
        words.split(' ').map(str::to_owned).collect()
    }
}

/// Adds rules.
pub(crate) fn cut(cuts: impl IntoIterator<Item = Cut>) {
    for cut in cuts {
        let rule = ["-w".to_owned(), "-A".to_owned()].into_iter().chain(cut.rule());
        sh("iptables", rule).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
    }
}

/// Removes all rules.
pub(crate) fn heal() {
    sh("iptables", ["-w", "-F"]).unwrap_or_else(|error| panic!("healing: {error}"));
}
