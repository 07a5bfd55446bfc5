//! Certificates of a cluster, and what they prove.
//!
//! One authority signs one certificate a node. The certificate's name *is* the node's id
//! (`n1.node.carillon.internal`), so whoever completes a handshake has proved who it is, and nothing it
//! says about its name is believed beyond that. Both sides show a certificate; TLS 1.3 only; no
//! resumption and no early data, so that no connection rests on an older one's proof.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashring::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What every certificate's name ends in, after the node's id.
const NAME_SUFFIX: &str = ".node.carillon.internal";
/// Both sides must speak this inside TLS, so that another QUIC service is never mistaken for a node.
const ALPN: &[u8] = b"carillon/1";

/// The certificates could not be made or used. Nothing was started with them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read. Nothing was changed; check the path.
    #[error("reading {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A text is not PEM, or of something else. Nothing was changed; check which file is which.
    #[error("no {what} in PEM where one belongs: {text}")]
    Pem {
        /// What should be there.
        what: &'static str,
        /// What is wrong.
        text: String,
    },
    /// A certificate could not be made. Nothing was written.
    #[error("making a certificate")]
    Make(#[from] rcgen::Error),
    /// Certificate, key and authority do not belong together. Nothing was started with them; check that
    /// all three files are of the same node and cluster.
    #[error("certificate, key and authority do not fit")]
    Unfit(#[source] rustls::Error),
    /// The certificate does not name the node. Nothing was started with it; make one for this node, or
    /// set `node.id` to the name in it.
    #[error("the certificate is not in the name of node {node}")]
    Name {
        /// The node.
        node: NodeId,
    },
}

/// A cluster's authority: signs the certificates of its nodes.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a node needs to be believed, as the text of its three files.
#[derive(Clone)]
pub struct Pem {
    /// Its certificate, and what stands between it and the authority.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The cluster's authority.
    pub authority: String,
}

/// What one node shows, and whom it believes.
pub struct Credentials {
    authority: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new authority, with a new key that never leaves this value.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(cluster: &str) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("carillon cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// A certificate and a new key for `node`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue(&self, node: &NodeId) -> Result<Pem, TlsError> {
        let mut params = CertificateParams::new(vec![server_name(node)])?;
        params.distinguished_name = name(node.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let authority = self.certificate.clone();
        Ok(Pem { certificate, key: key.serialize_pem(), authority })
    }
}

impl Pem {
    /// From the three files.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn read(certificate: &Path, key: &Path, authority: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|source| TlsError::File { path: path.to_owned(), source })
        };
        Ok(Self { certificate: read(certificate)?, key: read(key)?, authority: read(authority)? })
    }
}

impl Credentials {
    /// What these texts hold.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn new(pem: &Pem) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
        Ok(Self {
            authority: certificates("authority", &pem.authority)?,
            chain: certificates("certificate", &pem.certificate)?,
            key: key.map_err(|error| TlsError::Pem { what: "key", text: error.to_string() })?,
        })
    }

    /// SHA-256 of the node's certificate, in hex: what the registry tells others to expect.
    pub fn fingerprint(&self) -> String {
        let certificate: &[u8] = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The two halves of TLS, once it is sure that they are `node`'s.
    pub(crate) fn configs(&self, node: &NodeId) -> Result<(ClientConfig, ServerConfig), TlsError> {
        if self.chain.first().and_then(|certificate| node_of(certificate)).as_ref() != Some(node) {
            return Err(TlsError::Name { node: node.clone() });
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in &self.authority {
            roots.add(certificate.clone()).map_err(TlsError::Unfit)?;
        }
        let roots = Arc::new(roots);
        let client = self.client(Arc::clone(&provider), Arc::clone(&roots))?;
        Ok((client, self.server(provider, roots)?))
    }

    fn client(
        &self,
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
    ) -> Result<ClientConfig, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Unfit)?
            .with_root_certificates(roots)
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(TlsError::Unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    fn server(
        &self,
        provider: Arc<CryptoProvider>,
        roots: Arc<RootCertStore>,
    ) -> Result<ServerConfig, TlsError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Unfit(rustls::Error::General(error.to_string())))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Unfit)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(TlsError::Unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// The name under which a node is dialled: the one in its certificate.
pub(crate) fn server_name(node: &NodeId) -> String {
    format!("{node}{NAME_SUFFIX}")
}

/// The node in whose name a certificate is. `None` unless it names exactly one.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::DNSName(name)] => name.strip_suffix(NAME_SUFFIX)?.parse().ok(),
        _ => None,
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_none) => Err(TlsError::Pem { what, text: "there is none".to_owned() }),
        Err(error) => Err(TlsError::Pem { what, text: error.to_string() }),
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// The key is not shown.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The key is not shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn issue(name: &str) -> Pem {
        Authority::new("c").unwrap().issue(&node(name)).unwrap()
    }

    #[test]
    fn a_certificate_names_its_node_and_no_other_may_use_it() {
        let credentials = Credentials::new(&issue("n1")).unwrap();
        assert_eq!(node_of(&credentials.chain[0]), Some(node("n1")));
        credentials.configs(&node("n1")).unwrap();
        let refused = credentials.configs(&node("n2")).unwrap_err().to_string();
        assert_eq!(refused, "the certificate is not in the name of node n2");
        assert_eq!(credentials.fingerprint().len(), 64);
    }

    #[test]
    fn an_authority_is_nobodys_node() {
        let credentials = Credentials::new(&issue("n1")).unwrap();
        assert_eq!(node_of(&credentials.authority[0]), None);
        assert_eq!(node_of(&CertificateDer::from_slice(b"nonsense")), None);
    }

    #[test]
    fn another_nodes_key_does_not_fit() {
        let mixed = Pem { key: issue("n2").key, ..issue("n1") };
        let refused = Credentials::new(&mixed).unwrap().configs(&node("n1"));
        assert!(matches!(refused, Err(TlsError::Unfit(_))), "{refused:?}");
    }

    #[test]
    fn credentials_come_back_from_their_files_and_the_wrong_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let made = issue("n1");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate = file("n1.pem", &made.certificate);
        let key = file("n1.key", &made.key);
        let authority = file("ca.pem", &made.authority);
        let read = Credentials::new(&Pem::read(&certificate, &key, &authority).unwrap()).unwrap();
        assert_eq!(read.fingerprint(), Credentials::new(&made).unwrap().fingerprint());
        read.configs(&node("n1")).unwrap();
        let wrong = Pem::read(&key, &key, &authority).unwrap();
        let refused = Credentials::new(&wrong).unwrap_err().to_string();
        assert!(refused.starts_with("no certificate in PEM where one belongs"), "{refused}");
        let missing = Pem::read(&folder.path().join("no.pem"), &key, &authority).unwrap_err();
        assert!(missing.to_string().contains("no.pem"), "{missing}");
    }
}
