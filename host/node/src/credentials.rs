//! What a node shows others: the files its configuration names, or a certificate that only this process
//! believes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use hashring::NodeId;
use replication::{Authority, Credentials, Pem, TlsError};

use crate::config::Config;

/// How long before its end an operator is told that a certificate ends: long enough to find out who can
/// make a new one.
const TELL_DAYS: u64 = 30;
const DAY_S: u64 = 86_400;

/// Signs the certificates of the nodes of this process that bring none. It lives in memory, so that
/// nobody else has one.
#[derive(Debug)]
pub(crate) struct Issuer {
    authority: Authority,
    /// A node that starts again is who it was.
    issued: Mutex<BTreeMap<NodeId, Pem>>,
}

impl Issuer {
    pub(crate) fn new(cluster: &str) -> Result<Self, TlsError> {
        Ok(Self { authority: Authority::new(cluster)?, issued: Mutex::default() })
    }

    /// What `config`'s node shows others, once it is sure that they will believe it.
    pub(crate) fn credentials(&self, config: &Config) -> Result<Credentials, TlsError> {
        let pem = match named(config) {
            Some(pem) => pem?,
            None => self.issue(&config.node.id)?,
        };
        let credentials = Credentials::new(&pem)?;
        credentials.fits(&config.node.id, &config.cluster.name)?;
        if let Some(days) = days_left(&credentials).filter(|days| *days < TELL_DAYS) {
            tracing::warn!(
                node = %config.node.id, days,
                "this node's certificate ends soon: make another with carillon cert node --replace"
            );
        }
        Ok(credentials)
    }

    fn issue(&self, node: &NodeId) -> Result<Pem, TlsError> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pem) = issued.get(node) {
            return Ok(pem.clone());
        }
        let pem = self.authority.issue(node)?;
        issued.insert(node.clone(), pem.clone());
        Ok(pem)
    }
}

/// The files that the configuration names, if it does.
pub(crate) fn named(config: &Config) -> Option<Result<Pem, TlsError>> {
    let quic = &config.quic;
    if quic.cert.as_os_str().is_empty() {
        return None;
    }
    Some(Pem::read(&quic.cert, &quic.key, &quic.ca))
}

fn days_left(credentials: &Credentials) -> Option<u64> {
    let ends_s = credentials.ends_s()?;
    Some(ends_s.saturating_sub(runtime::wall_ms() / 1000) / DAY_S)
}
