//! Tokens that were found valid, so that a client's second request costs no signature.
//!
//! By the SHA-256 of the whole token, so that only the very same token is known again, and no token is
//! kept. It belongs to one key set and goes with it: what a removed key signed is not remembered.
//!
//! Bounded in two halves: when the young half is full it becomes the old one, and what of the old one was
//! not asked for since is forgotten. Only valid tokens are here, so an outsider cannot fill it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::claims::Identity;

/// Tokens in one half: together as many as a busy node has clients in an hour, in a few megabytes.
const HALF_MAX: usize = 5000;

/// A token's hash.
type Name = [u8; 32];

/// Tokens that were found valid.
#[derive(Debug, Default)]
pub(super) struct Cache {
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Name, Arc<Identity>>,
    old: HashMap<Name, Arc<Identity>>,
}

impl Cache {
    /// The name of a token.
    pub(super) fn name(token: &str) -> Name {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Whose token it is, if it was found valid before. It may have ended since.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Identity>> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = halves.young.get(name) {
            return Some(Arc::clone(identity));
        }
        let identity = halves.old.remove(name)?;
        halves.add(*name, Arc::clone(&identity));
        Some(identity)
    }

    /// Remembers a token that was found valid.
    pub(super) fn put(&self, name: Name, identity: &Arc<Identity>) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.add(name, Arc::clone(identity));
    }
}

impl Halves {
    fn add(&mut self, name: Name, identity: Arc<Identity>) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, identity);
    }
}

#[cfg(test)]
mod tests {
    use super::{Cache, HALF_MAX, Identity};
    use crate::auth::claims::Expected;
    use std::sync::Arc;

    fn identity() -> Arc<Identity> {
        let expected = Expected { audience: "a".to_owned(), issuer: String::new() };
        let claims = br#"{"sub": "alice", "aud": "a", "exp": 600}"#;
        Arc::new(Identity::read(claims, &expected, 0).unwrap())
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let (cache, identity) = (Cache::default(), identity());
        let busy = Cache::name("busy");
        cache.put(busy, &identity);
        for n in 0..10 * HALF_MAX {
            cache.put(Cache::name(&n.to_string()), &identity);
            if n % 1000 == 0 {
                assert!(cache.get(&busy).is_some(), "{n}");
            }
        }
        assert!(cache.get(&Cache::name("0")).is_none());
        let halves = cache.halves.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF_MAX);
    }

    #[test]
    fn another_token_has_another_name() {
        assert_ne!(Cache::name("a.b.c"), Cache::name("a.b.d"));
    }
}
