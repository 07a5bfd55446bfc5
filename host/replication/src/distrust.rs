//! Why two nodes did not even come to greet: what TLS says in numbers, in words.
//!
//! A certificate is judged before anything of ours is heard, and the side that is not believed is told
//! only a number. Both sides have somebody who reads a log, so both are told what to look at.

use quinn::{ConnectionError, TransportErrorCode};

/// Who does not believe whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// This node found the other's certificate wanting.
    Here,
    /// The other found this node's.
    There,
}

/// What is wrong with the certificates, if that is why the connection ended.
pub(crate) fn words(error: &ConnectionError) -> Option<String> {
    let (side, code, detail) = match error {
        ConnectionError::TransportError(error) => (Side::Here, error.code, error.reason.clone()),
        ConnectionError::ConnectionClosed(close) => {
            (Side::There, close.error_code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        _ => return None,
    };
    let told = sentence(side, alert_of(code)?);
    Some(if detail.is_empty() { told } else { format!("{told} ({detail})") })
}

/// The number of a TLS alert, from the range that QUIC keeps for them.
fn alert_of(code: TransportErrorCode) -> Option<u8> {
    let alert = u64::from(code).checked_sub(0x100)?;
    u8::try_from(alert).ok()
}

fn sentence(side: Side, alert: u8) -> String {
    let whose = match side {
        Side::Here => "the other side's certificate",
        Side::There => "this node's certificate, says the other side,",
    };
    match alert {
        UNKNOWN_CA => format!(
            "{whose} was signed by another authority: the nodes of one cluster need certificates of \
             one ca.pem"
        ),
        CERTIFICATE_EXPIRED => format!(
            "{whose} has expired or is not good yet: make a new one with carillon cert node, or set \
             the clock"
        ),
        BAD_CERTIFICATE => format!(
            "{whose} is not in the name of the node that was dialled: check node.id and quic.cert \
             there, and that no two nodes share an address"
        ),
        CERTIFICATE_REQUIRED => {
            format!("{whose} was not shown: something that is no node connects")
        }
        NO_APPLICATION_PROTOCOL => {
            "something answers there that is no node: check quic.advertise".to_owned()
        }
        other => format!("{whose} was not taken (TLS alert {other}): check [quic] on both nodes"),
    }
}

const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
const UNKNOWN_CA: u8 = 48;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_APPLICATION_PROTOCOL: u8 = 120;

#[cfg(test)]
mod tests {
    use super::words;
    use quinn::{ConnectionError, TransportErrorCode};

    #[test]
    fn what_has_nothing_to_do_with_certificates_is_left_alone() {
        assert_eq!(words(&ConnectionError::TimedOut), None);
        let other = TransportErrorCode::CONNECTION_REFUSED;
        assert_eq!(words(&ConnectionError::TransportError(other.into())), None);
        let told = words(&ConnectionError::TransportError(TransportErrorCode::crypto(48).into()));
        assert!(told.unwrap().contains("one ca.pem"));
    }
}
