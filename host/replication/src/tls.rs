//! Certificates of a cluster, and what they prove.
//!
//! One authority ([`crate::Authority`]) signs one certificate a node. The certificate's name *is* the
//! node's id (`n1.node.carillon.internal`), so whoever completes a handshake has proved who it is, and
//! nothing it says about its name is believed beyond that. Both sides show a certificate; TLS 1.3 only;
//! no resumption and no early data, so that no connection rests on an older one's proof.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashring::NodeId;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::cluster_of;
use crate::trust::Trust;

/// What every certificate's name ends in, after the node's id.
pub(crate) const NAME_SUFFIX: &str = ".node.carillon.internal";
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
    /// The authority signs for another cluster. Nothing was started with it; name the `ca.pem` of this
    /// cluster, or set `cluster.name` to the name in it.
    #[error("the authority is of cluster {theirs}, and cluster.name is {ours}")]
    Cluster {
        /// The authority's.
        theirs: String,
        /// This node's.
        ours: String,
    },
    /// The certificate is good no more, or not yet. Nothing was started with it; make a new one with
    /// `carillon cert node`, or set the clock.
    #[error("the {what} {}", if *.over { "has expired" } else { "begins in the future" })]
    Expired {
        /// Which certificate.
        what: &'static str,
        /// Whether it has ended, and not yet to begin.
        over: bool,
    },
    /// These two texts cannot sign for a cluster. Nothing was made; name the folder with the cluster's
    /// `ca.pem` and `ca.key`.
    #[error("this is no authority: {0}")]
    NoAuthority(&'static str),
    /// What should stand in a certificate is no host. Nothing was made; write an address or a DNS name
    /// that does not say who a node is.
    #[error("{host:?} is no address and no DNS name that a certificate may have beside its node's")]
    Host {
        /// What was asked for.
        host: String,
    },
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
        self.chain.first().map(fingerprint_of).unwrap_or_default()
    }

    /// What these credentials say of authorities: which of them signed the node's certificate, and which
    /// are believed.
    pub(crate) fn trust(&self) -> Trust {
        let mark = self.authority.iter().find(|authority| self.is_signed_by(authority));
        Trust {
            mark: mark.map(fingerprint_of).unwrap_or_default(),
            believed: self.authority.iter().map(fingerprint_of).collect(),
        }
    }

    /// Whether whoever believes this authority alone believes the node.
    fn is_signed_by(&self, authority: &CertificateDer<'static>) -> bool {
        let mut roots = RootCertStore::empty();
        let Some((own, between)) = self.chain.split_first() else { return false };
        if roots.add(authority.clone()).is_err() {
            return false;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verified = verifier.map(|it| it.verify_client_cert(own, between, UnixTime::now()));
        matches!(verified, Ok(Ok(_)))
    }

    /// When the node's certificate ends, in seconds since 1970; `None` if it cannot be read.
    pub fn ends_s(&self) -> Option<u64> {
        let (_, parsed) = X509Certificate::from_der(self.chain.first()?).ok()?;
        u64::try_from(parsed.validity().not_after.timestamp()).ok()
    }

    /// Whether they are `node`'s, in this cluster, today: what the other nodes would find out.
    ///
    /// # Errors
    /// [`TlsError`], with what does not fit.
    pub fn fits(&self, node: &NodeId, cluster: &str) -> Result<(), TlsError> {
        self.configs(node)?;
        let now_s = i64::try_from(runtime::wall_ms() / 1000).unwrap_or(i64::MAX);
        let all = [("node's certificate", &self.chain), ("authority", &self.authority)];
        for (what, certificate) in
            all.into_iter().flat_map(|(w, all)| all.iter().map(move |c| (w, c)))
        {
            let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { continue };
            let validity = parsed.validity();
            if validity.not_after.timestamp() < now_s {
                return Err(TlsError::Expired { what, over: true });
            }
            if validity.not_before.timestamp() > now_s {
                return Err(TlsError::Expired { what, over: false });
            }
        }
        let authority = self.authority.first().map(|first| X509Certificate::from_der(first));
        match authority {
            Some(Ok((_, parsed))) => match cluster_of(&parsed) {
                Some(theirs) if theirs != cluster => {
                    Err(TlsError::Cluster { theirs: theirs.to_owned(), ours: cluster.to_owned() })
                }
                Some(_) | None => Ok(()),
            },
            Some(Err(_)) | None => Ok(()),
        }
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

/// The node in whose name a certificate is. `None` unless it names exactly one; other names of its
/// machine may stand beside it.
pub(crate) fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut nodes = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(NAME_SUFFIX),
        _ => None,
    });
    match (nodes.next(), nodes.next()) {
        (Some(node), None) => node.parse().ok(),
        _ => None,
    }
}

/// SHA-256 of a certificate, in hex.
pub(crate) fn fingerprint_of(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn certificates(what: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_none) => Err(TlsError::Pem { what, text: "there is none".to_owned() }),
        Err(error) => Err(TlsError::Pem { what, text: error.to_string() }),
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
    use crate::Authority;

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
    fn an_authority_of_another_cluster_does_not_fit() {
        let credentials = Credentials::new(&issue("n1")).unwrap();
        credentials.fits(&node("n1"), "c").unwrap();
        let refused = credentials.fits(&node("n1"), "d").unwrap_err().to_string();
        assert_eq!(refused, "the authority is of cluster c, and cluster.name is d");
        let ends = credentials.ends_s().unwrap();
        let days = (ends - runtime::wall_ms() / 1000) / 86_400;
        assert!((729..=730).contains(&days), "{days}");
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
