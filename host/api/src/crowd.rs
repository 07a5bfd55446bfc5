//! How many connections each address has, so that one client cannot take them all.
//!
//! An IPv6 client has a whole /64 to itself, so that is what counts there. Loopback does not count: what
//! comes from there is a proxy, or somebody who could do worse.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The addresses that have connections. As many at most as there are connections.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    there: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    of: Option<IpAddr>,
}

impl Crowd {
    /// Nobody is there. Each address may have `most` connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, there: Mutex::default() })
    }

    /// A place for a connection of `peer`; `None` if it has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let crowd = Arc::clone(self);
        if peer.is_loopback() {
            return Some(Place { crowd, of: None });
        }
        let client = client(peer);
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let count = there.entry(client).or_default();
        // Whoever is over the bound has a count already: nothing is left behind.
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(there);
        Some(Place { crowd, of: Some(client) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.of else { return };
        let mut there = self.crowd.there.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = there.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                there.remove(&client);
            }
        }
    }
}

/// What stands for the client at an address.
fn client(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_so_many_connections_and_one_more_when_one_ends() {
        let crowd = Crowd::new(2);
        let here = address("192.0.2.1");
        let first = crowd.enter(here).unwrap();
        let _second = crowd.enter(here).unwrap();
        assert!(crowd.enter(here).is_none());
        assert!(crowd.enter(address("192.0.2.2")).is_some(), "another has its own");
        drop(first);
        assert!(crowd.enter(here).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone() {
        let crowd = Crowd::new(2);
        let places: Vec<_> = (0..=9).map(|n| crowd.enter(IpAddr::from([192, 0, 2, n]))).collect();
        assert_eq!(crowd.there.lock().unwrap().len(), 10);
        drop(places);
        assert!(crowd.there.lock().unwrap().is_empty());
    }

    #[test]
    fn a_client_of_ipv6_is_its_network_and_one_of_ipv4_may_look_like_ipv6() {
        let crowd = Crowd::new(1);
        let _one = crowd.enter(address("2001:db8::1")).unwrap();
        assert!(crowd.enter(address("2001:db8::ffff:2")).is_none());
        assert!(crowd.enter(address("2001:db8:0:1::1")).is_some());
        let _four = crowd.enter(address("192.0.2.1")).unwrap();
        assert!(crowd.enter(address("::ffff:192.0.2.1")).is_none());
        assert!(crowd.enter(address("::ffff:192.0.2.2")).is_some());
    }

    #[test]
    fn loopback_is_not_counted() {
        let crowd = Crowd::new(1);
        for text in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            let places: Vec<_> = (0..5).map_while(|_| crowd.enter(address(text))).collect();
            assert_eq!(places.len(), 5, "{text}");
        }
    }
}
