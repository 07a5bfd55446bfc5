//! Connections between requests, and certificates.

#![expect(clippy::expect_used, reason = "what a test needs is there, or it fails")]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use transaction::{Attempt, Outcome, Sender, SenderConfig};

use crate::outside::{Door, Fickle, Time, read, send, sender, target};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const NO: &str = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn one_request_after_the_other_goes_over_one_connection() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let (_, (mut stream, _)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    let again = async {
        read(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
    };
    let (attempt, ()) = tokio::join!(send(&sender, &target, 2), again);
    assert_eq!(attempt.outcome, Outcome::Done);
    assert!(door.is_untouched().await);
}

#[tokio::test]
async fn a_connection_that_was_closed_at_rest_costs_no_attempt() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let (_, (stream, _)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    drop(stream);
    let (attempt, _) = tokio::join!(send(&sender, &target, 2), door.answer(OK));
    assert_eq!(attempt.outcome, Outcome::Done);
}

#[tokio::test]
async fn a_connection_that_is_closed_under_a_request_costs_no_attempt_either() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let (_, (mut stream, _)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    let closes = async {
        let first = read(&mut stream).await;
        drop(stream);
        let (_, second) = door.answer(OK).await;
        assert_eq!(first, second);
    };
    let (attempt, ()) = tokio::join!(send(&sender, &target, 2), closes);
    assert_eq!(attempt.outcome, Outcome::Done);
}

/// A service answers twice to one request. The second answer waits in the connection for the next request,
/// which would be taken for done without having been sent.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_nothing() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let twice = format!("{NO}{OK}");
    let (_, (_open, _)) = tokio::join!(send(&sender, &target, 1), door.answer(&twice));
    let (attempt, _) = tokio::join!(send(&sender, &target, 2), door.answer(NO));
    assert_eq!(attempt.status, Some(500));
}

#[tokio::test]
async fn a_connection_does_not_rest_for_long() {
    let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
    let target = door.target();
    let (_, (old, _)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    for _ in 0..30 {
        time.tick().await;
    }
    let (attempt, ()) = tokio::join!(send(&sender, &target, 2), comes_anew(&door, old));
    assert_eq!(attempt.outcome, Outcome::Done);
}

#[tokio::test]
async fn a_connection_to_where_the_service_was_is_not_used() {
    let (door, moved, sender) = (Door::open().await, Door::open().await, sender());
    let (_, (old, _)) = tokio::join!(send(&sender, door.target(), 1), door.answer(OK));
    let (attempt, ()) = tokio::join!(send(&sender, moved.target(), 2), comes_anew(&moved, old));
    assert_eq!(attempt.outcome, Outcome::Done);
}

/// Answers the next request, which must not come over the connection that was there before.
async fn comes_anew(door: &Door, mut old: TcpStream) {
    let over_the_old_one = async {
        let mut byte = [0];
        if old.read(&mut byte).await.unwrap_or(0) == 0 {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = over_the_old_one => panic!("the old connection is used"),
        _answered = door.answer(OK) => {}
    }
}

/// What one certificate is like.
struct Shown {
    name: &'static str,
    ended: bool,
    /// Whether its authority is the one that the node believes.
    believed: bool,
}

/// An attempt at a service that shows a certificate like this.
async fn over_tls(shown: Shown) -> Attempt {
    let (authority, issuer) = authority();
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::new(vec![shown.name.to_owned()]).expect("that is a name");
    if shown.ended {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .expect("the key fits");
    let authorities = if shown.believed { vec![authority] } else { Vec::new() };
    let resolver = Fickle::new(&[&["127.0.0.1"]]);
    let config_out = SenderConfig { resolver, authorities, ..SenderConfig::default() };
    let sender = Sender::new(config_out).expect("the authority is one");
    let door = Door::open().await;
    let target = target(&format!("https://crm.example:{}", door.address.port()));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let serves = async {
        let stream: TcpStream = door.accept().await;
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        read(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.expect("the node listens");
        stream.flush().await.expect("the node listens");
    };
    tokio::join!(send(&sender, &target, 1), serves).0
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("it can sign itself");
    (certificate.pem(), Issuer::new(params, key))
}

#[tokio::test]
async fn a_service_whose_certificate_is_believed_is_spoken_to() {
    let attempt = over_tls(Shown { name: "crm.example", ended: false, believed: true }).await;
    assert_eq!((attempt.outcome, attempt.error), (Outcome::Done, None));
}

#[tokio::test]
async fn a_service_whose_certificate_is_wrong_is_told_nothing() {
    for shown in [
        Shown { name: "crm.example", ended: false, believed: false },
        Shown { name: "other.example", ended: false, believed: true },
        Shown { name: "crm.example", ended: true, believed: true },
    ] {
        let attempt = over_tls(shown).await;
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Retry { connected: false }, None));
        let words = attempt.error.unwrap();
        assert!(words.contains("no TLS with crm.example"), "{words}");
    }
}

#[tokio::test]
async fn a_service_that_speaks_no_tls_is_told_nothing() {
    let door = Door::open().await;
    let mut target = door.target();
    target.url = target.url.replace("http://", "https://");
    let speaks = async {
        let mut stream = door.accept().await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        stream
    };
    let sender = sender();
    let (attempt, _) = tokio::join!(send(&sender, &target, 1), speaks);
    assert_eq!(attempt.outcome, Outcome::Retry { connected: false });
}
