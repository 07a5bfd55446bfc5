//! A cluster's authority, which makes the certificates of its nodes.
//!
//! Whoever has its key can make a node, so it belongs on none of them: it is made once, kept away, and
//! fetched when a node is added or its certificate renewed. The nodes of one process share one that
//! lives in memory, and nobody else has it.
//!
//! Every certificate begins a day before it is made, so that clocks may differ. An authority's ends after
//! [`AUTHORITY_DAYS`], a node's after [`NODE_DAYS`]; a renewed one is taken up at the node's next start.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use hashring::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::X509Certificate;

use crate::tls::{self, NAME_SUFFIX, Pem, TlsError};

/// How long an authority's certificate is good for, in days: every node is told of a new one by hand, so
/// not often.
pub const AUTHORITY_DAYS: u64 = 3650;
/// How long a node's certificate is good for, in days: about two years, so that renewing it is something
/// that was done before by whoever has to.
pub const NODE_DAYS: u64 = 730;

/// How much earlier than now a certificate begins.
const EARLIER: Duration = Duration::from_secs(DAY_S);
const DAY_S: u64 = 86_400;
/// What an authority's name begins with, before the cluster's.
const SUBJECT: &str = "carillon cluster ";

/// A cluster's authority: signs the certificates of its nodes.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, with a new key.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(cluster: &str) -> Result<Self, TlsError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("{SUBJECT}{cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, AUTHORITY_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// The authority of these two texts, its certificate and its key.
    ///
    /// # Errors
    /// [`TlsError::Pem`] when one of them is something else, [`TlsError::NoAuthority`] when they are not
    /// an authority's or not of one authority.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let pem = |what| move |text: String| TlsError::Pem { what, text };
        let key = KeyPair::from_pem(key).map_err(|error| pem("key")(error.to_string()))?;
        let (_, parsed) = parse_x509_pem(certificate.as_bytes())
            .map_err(|error| pem("authority")(error.to_string()))?;
        let x509 = parsed.parse_x509().map_err(|error| pem("authority")(error.to_string()))?;
        if !x509.is_ca() {
            return Err(TlsError::NoAuthority("it is the certificate of a node"));
        }
        if x509.public_key().raw != key.subject_public_key_info() {
            return Err(TlsError::NoAuthority("the key belongs to another certificate"));
        }
        let issuer = Issuer::from_ca_cert_pem(certificate, key)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// Its certificate, PEM: what every node is given.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key, PEM: what no node is given.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate and a new key for `node`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue(&self, node: &NodeId) -> Result<Pem, TlsError> {
        self.issue_for(node, &[])
    }

    /// The same, with other names or addresses of its machine in it. Nodes look at none of them; other
    /// programs that connect may.
    ///
    /// # Errors
    /// [`TlsError::Host`]; when no key can be made.
    pub fn issue_for(&self, node: &NodeId, hosts: &[String]) -> Result<Pem, TlsError> {
        let mut names = vec![tls::server_name(node)];
        for host in hosts {
            if !is_host(host) {
                return Err(TlsError::Host { host: host.clone() });
            }
            names.push(host.clone());
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name(node.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        valid_for(&mut params, NODE_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        let authority = self.certificate.clone();
        Ok(Pem { certificate, key: key.serialize_pem(), authority })
    }
}

/// The cluster for which the owner of this certificate signs, if it is an authority of ours. One that
/// was made elsewhere says nothing of clusters.
pub(crate) fn cluster_of<'c>(authority: &'c X509Certificate<'_>) -> Option<&'c str> {
    let mut names = authority.subject().iter_common_name();
    names.next()?.as_str().ok()?.strip_prefix(SUBJECT)
}

fn valid_for(params: &mut CertificateParams, days: u64) {
    let now = Duration::from_millis(runtime::wall_ms());
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(EARLIER);
    params.not_after = epoch + now + Duration::from_secs(days * DAY_S);
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Whether it is an address or a DNS name, and not what says which node somebody is.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let dns = text.len() <= 253 && text.split('.').all(label);
    text.parse::<IpAddr>().is_ok() || (dns && !text.to_ascii_lowercase().ends_with(NAME_SUFFIX))
}

/// The key is not shown.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Authority;
    use crate::tls::{Credentials, TlsError};

    #[test]
    fn an_authority_comes_back_from_its_files_and_signs_as_before() {
        let made = Authority::new("c").unwrap();
        let node = "n1".parse().unwrap();
        let read = Authority::from_pem(made.certificate(), &made.key()).unwrap();
        for authority in [&made, &read] {
            let pem = authority.issue(&node).unwrap();
            assert_eq!(pem.authority, made.certificate());
            Credentials::new(&pem).unwrap().fits(&node, "c").unwrap();
        }
    }

    #[test]
    fn what_is_no_authority_is_refused_with_a_word_why() {
        let (ours, other) = (Authority::new("c").unwrap(), Authority::new("c").unwrap());
        let refused = |certificate: &str, key: &str| {
            Authority::from_pem(certificate, key).unwrap_err().to_string()
        };
        assert!(refused(ours.certificate(), &other.key()).contains("another certificate"));
        let node = ours.issue(&"n1".parse().unwrap()).unwrap();
        assert!(refused(&node.certificate, &node.key).contains("certificate of a node"));
        assert!(refused("nonsense", &ours.key()).contains("no authority in PEM"));
        assert!(refused(ours.certificate(), "nonsense").contains("no key in PEM"));
    }

    #[test]
    fn a_certificate_can_name_hosts_and_still_names_one_node() {
        let authority = Authority::new("c").unwrap();
        let node = "n1".parse().unwrap();
        let hosts = ["localhost", "10.0.0.7", "::1", "a.example.org"].map(str::to_owned);
        let pem = authority.issue_for(&node, &hosts).unwrap();
        Credentials::new(&pem).unwrap().fits(&node, "c").unwrap();
        for bad in ["", "two words", "a..b", "n2.node.carillon.internal", "-/-"] {
            let refused = authority.issue_for(&node, &[bad.to_owned()]);
            assert!(matches!(refused, Err(TlsError::Host { .. })), "{bad}");
        }
    }
}
