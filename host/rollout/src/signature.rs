//! Who may say that a component is theirs, and as which plugin it may run: ed25519 over both, under keys that an
//! operator trusts.
//!
//! What is signed is a [statement]: the plugin's name and the component's digest. So a component that
//! somebody signed as one plugin cannot be swapped in as another, which has other grants. Signatures are detached
//! and raw, 64 bytes; a component that runs under several names has several. Every node checks for itself, with its
//! own keys.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::Digest;
use crate::artefacts::{Artefact, SIGNATURE_BYTES};

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
    /// One is needed. Sign name and digest, and push both.
    #[error("it has no signature, and plugin_host.require_signature is true")]
    Missing,
    /// It is no signature of any trusted key over this name and this component. Sign exactly what is pushed, and
    /// under the name under which it is.
    #[error(
        "its signature is of none of plugin_host.trusted_keys over this name and this component"
    )]
    Foreign,
}

/// What is signed: that the component of this digest may be the plugin of this name.
pub fn statement(name: &str, digest: Digest) -> String {
    format!("carillon plugin 1 {name} {digest}")
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

    /// Whether the component may be used as the plugin `name`. A signature that is there has to be right, also where
    /// none is needed; without any trusted key nobody can tell, and it is passed over.
    pub(crate) fn check(
        &self,
        name: &str,
        digest: Digest,
        artefact: &Artefact,
    ) -> Result<(), Unsigned> {
        let signatures = match &artefact.signatures {
            None if self.required => return Err(Unsigned::Missing),
            None => return Ok(()),
            Some(_) if self.keys.is_empty() && !self.required => return Ok(()),
            Some(signatures) => signatures,
        };
        let statement = statement(name, digest);
        let by = |key: &[u8; KEY_BYTES], signature: &[u8]| {
            UnparsedPublicKey::new(&ED25519, key).verify(statement.as_bytes(), signature).is_ok()
        };
        let mut signatures = signatures.chunks(SIGNATURE_BYTES);
        match signatures.any(|signature| self.keys.iter().any(|key| by(key, signature))) {
            true => Ok(()),
            false => Err(Unsigned::Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;

    use super::{Trust, Unsigned, statement};
    use crate::Digest;
    use crate::artefacts::Artefact;

    fn key(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = BASE64_STANDARD.encode(pair.public_key().as_ref());
        (pair, public)
    }

    fn signed(by: &[&Ed25519KeyPair], name: &str, text: &'static [u8]) -> Artefact {
        let statement = statement(name, Digest::of(text));
        let signatures: Vec<u8> =
            by.iter().flat_map(|by| by.sign(statement.as_bytes()).as_ref().to_vec()).collect();
        Artefact { component: Bytes::from_static(text), signatures: Some(signatures.into()) }
    }

    fn check(trust: &Trust, name: &str, artefact: &Artefact) -> Result<(), Unsigned> {
        trust.check(name, Digest::of(&artefact.component), artefact)
    }

    #[test]
    fn only_a_trusted_key_over_this_very_component_counts() {
        let ((ours, ours_public), (theirs, _)) = (key(1), key(2));
        let trust = Trust::new(std::slice::from_ref(&ours_public), true).unwrap();
        let good = signed(&[&ours], "hello", b"component");
        assert_eq!(check(&trust, "hello", &good), Ok(()));
        let other = Artefact { component: Bytes::from_static(b"cOmponent"), ..good.clone() };
        assert_eq!(check(&trust, "hello", &other), Err(Unsigned::Foreign));
        let foreign = signed(&[&theirs], "hello", b"component");
        assert_eq!(check(&trust, "hello", &foreign), Err(Unsigned::Foreign));
        for cut in 0..64 {
            let signatures = good.signatures.as_ref().map(|whole| whole.slice(..cut));
            let cut = Artefact { signatures, ..good.clone() };
            assert_eq!(check(&trust, "hello", &cut), Err(Unsigned::Foreign));
        }
        let unsigned = Artefact { signatures: None, ..good };
        assert_eq!(check(&trust, "hello", &unsigned), Err(Unsigned::Missing));
    }

    #[test]
    fn a_component_signed_as_one_plugin_is_not_signed_as_another() {
        let ((ours, ours_public), (theirs, _)) = (key(1), key(2));
        let trust = Trust::new(&[ours_public], true).unwrap();
        let hello = signed(&[&ours], "hello", b"component");
        assert_eq!(check(&trust, "moderation", &hello), Err(Unsigned::Foreign));
        // One of several is enough.
        let several = signed(&[&theirs, &ours], "hello", b"component");
        assert_eq!(check(&trust, "hello", &several), Ok(()));
        // The component's bytes alone, as signatures of earlier versions were made.
        let signatures = Some(Bytes::copy_from_slice(ours.sign(b"component").as_ref()));
        let alone = Artefact { component: Bytes::from_static(b"component"), signatures };
        assert_eq!(check(&trust, "hello", &alone), Err(Unsigned::Foreign));
        let digest = Digest::of(b"");
        assert_eq!(
            statement("hello", digest),
            "carillon plugin 1 hello e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn where_none_is_needed_a_wrong_one_is_still_refused() {
        let ((ours, ours_public), (theirs, _)) = (key(1), key(2));
        let trust = Trust::new(&[ours_public], false).unwrap();
        let (right, wrong) = (signed(&[&ours], "p", b"x"), signed(&[&theirs], "p", b"x"));
        assert_eq!(check(&trust, "p", &wrong), Err(Unsigned::Foreign));
        assert_eq!(check(&trust, "p", &Artefact { signatures: None, ..right.clone() }), Ok(()));
        assert_eq!(check(&Trust::default(), "p", &wrong), Ok(()), "nobody can tell");
        let none = Trust::new(&[], true).unwrap();
        assert_eq!(check(&none, "p", &right), Err(Unsigned::Foreign));
        for wrong in ["", "key", "AAAA"] {
            assert!(Trust::new(&[wrong.to_owned()], false).is_err(), "{wrong}");
        }
    }
}
