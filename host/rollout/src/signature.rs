//! Who may say that a component is theirs: ed25519 over its bytes, under keys that an operator trusts.
//!
//! A signature is detached and raw, 64 bytes over the whole component, as `openssl pkeyutl -sign -rawin`
//! makes it. Every node checks for itself, with its own keys.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::artefacts::Artefact;

/// Bytes of a public key.
const KEY_BYTES: usize = 32;

/// Keys whose signatures are believed, and whether one is needed.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<[u8; KEY_BYTES]>,
    required: bool,
}

/// What an operator wrote is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no ed25519 key: 32 bytes in base64")]
pub struct InvalidKey {
    /// What they wrote.
    pub text: String,
}

/// Why a component is not believed. Nothing was changed; somebody who has a trusted key signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// One is needed. Sign the component, and push both.
    #[error("it has no signature, and plugin_host.require_signature is true")]
    Missing,
    /// It is no signature of any trusted key over these bytes. Sign exactly what is pushed.
    #[error("its signature is of none of plugin_host.trusted_keys")]
    Foreign,
}

impl Trust {
    /// These keys, each 32 bytes in base64.
    ///
    /// # Errors
    /// [`InvalidKey`], the first one that is none.
    pub fn new(keys: &[String], required: bool) -> Result<Self, InvalidKey> {
        let key = |text: &String| {
            let bytes = BASE64_STANDARD.decode(text).ok();
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| InvalidKey { text: text.clone() })
        };
        Ok(Self { keys: keys.iter().map(key).collect::<Result<_, _>>()?, required })
    }

    /// Whether the component may be used. A signature that is there has to be right, also where none is
    /// needed; without any trusted key nobody can tell, and it is passed over.
    pub(crate) fn check(&self, artefact: &Artefact) -> Result<(), Unsigned> {
        match &artefact.signature {
            None if self.required => Err(Unsigned::Missing),
            None => Ok(()),
            Some(_) if self.keys.is_empty() && !self.required => Ok(()),
            Some(signature) => {
                let believes = |key: &[u8; KEY_BYTES]| {
                    let key = UnparsedPublicKey::new(&ED25519, key);
                    key.verify(&artefact.component, signature).is_ok()
                };
                if self.keys.iter().any(believes) { Ok(()) } else { Err(Unsigned::Foreign) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;

    use super::{Trust, Unsigned};
    use crate::artefacts::Artefact;

    fn key(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = BASE64_STANDARD.encode(pair.public_key().as_ref());
        (pair, public)
    }

    fn signed(by: &Ed25519KeyPair, text: &'static [u8]) -> Artefact {
        let signature = Bytes::copy_from_slice(by.sign(text).as_ref());
        Artefact { component: Bytes::from_static(text), signature: Some(signature) }
    }

    #[test]
    fn only_a_trusted_key_over_these_very_bytes_counts() {
        let ((ours, ours_public), (theirs, _)) = (key(1), key(2));
        let trust = Trust::new(std::slice::from_ref(&ours_public), true).unwrap();
        let good = signed(&ours, b"component");
        assert_eq!(trust.check(&good), Ok(()));
        let other = Artefact { component: Bytes::from_static(b"cOmponent"), ..good.clone() };
        assert_eq!(trust.check(&other), Err(Unsigned::Foreign));
        assert_eq!(trust.check(&signed(&theirs, b"component")), Err(Unsigned::Foreign));
        for cut in 0..64 {
            let signature = good.signature.as_ref().map(|whole| whole.slice(..cut));
            let cut = Artefact { signature, ..good.clone() };
            assert_eq!(trust.check(&cut), Err(Unsigned::Foreign));
        }
        let unsigned = Artefact { signature: None, ..good };
        assert_eq!(trust.check(&unsigned), Err(Unsigned::Missing));
    }

    #[test]
    fn where_none_is_needed_a_wrong_one_is_still_refused() {
        let ((ours, ours_public), (theirs, _)) = (key(1), key(2));
        let trust = Trust::new(&[ours_public], false).unwrap();
        assert_eq!(trust.check(&signed(&theirs, b"x")), Err(Unsigned::Foreign));
        assert_eq!(trust.check(&Artefact { signature: None, ..signed(&ours, b"x") }), Ok(()));
        assert_eq!(Trust::default().check(&signed(&theirs, b"x")), Ok(()), "nobody can tell");
        let none = Trust::new(&[], true).unwrap();
        assert_eq!(none.check(&signed(&ours, b"x")), Err(Unsigned::Foreign));
        for wrong in ["", "key", "AAAA"] {
            assert!(Trust::new(&[wrong.to_owned()], false).is_err(), "{wrong}");
        }
    }
}
