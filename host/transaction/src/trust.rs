//! Which certificates are believed, and TLS over a connection.
//!
//! The authorities of the public web, as Mozilla lists them and this build carries them, and those that the
//! node's configuration adds. There is no switch that turns this off: a service with a certificate of its
//! own is believed by adding its authority.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::service_url::Host;

/// What is spoken inside TLS.
const ALPN: &[u8] = b"http/1.1";

/// An authority cannot be added. Nothing is sent to any service before it is corrected or removed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The text is not PEM, or holds no certificate. Nothing is believed because of it; name a file with the
    /// authority's certificate in PEM.
    #[error("an authority for services is no certificate in PEM: {0}")]
    Pem(String),
    /// TLS cannot be set up with it. Nothing is believed because of it; make another certificate.
    #[error("an authority for services cannot be used")]
    Unfit(#[source] rustls::Error),
}

/// Whom a node believes when it calls a service.
#[derive(Clone)]
pub(crate) struct Trust {
    tls: TlsConnector,
}

impl Trust {
    /// The authorities of the public web, and those in these texts.
    ///
    /// # Errors
    /// [`TrustError`].
    pub(crate) fn new(authorities: &[String]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for text in authorities {
            let certificates: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let certificates = certificates.map_err(|error| TrustError::Pem(error.to_string()))?;
            if certificates.is_empty() {
                return Err(TrustError::Pem("there is none".to_owned()));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(TrustError::Unfit)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Unfit)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// TLS with `host` over `stream`. Not cancel-safe: dropped, the connection is closed.
    pub(crate) async fn greet(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(io::Error::other)?,
        };
        self.tls.connect(name, stream).await
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

#[cfg(test)]
mod tests {
    use super::{Trust, TrustError};

    #[test]
    fn an_authority_is_a_certificate_in_pem() {
        assert!(Trust::new(&[]).is_ok());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(Trust::new(&[String::new()]), Err(TrustError::Pem(_))));
        assert!(matches!(Trust::new(&[broken.to_owned()]), Err(TrustError::Unfit(_))));
    }
}
