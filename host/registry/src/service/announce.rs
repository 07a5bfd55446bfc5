//! How a node tells other programs where it answers.

use super::data::{Data, Map};
use super::reading::below;
use super::registration::Kind;
use super::setting::Outcome;
use super::{Error, ServiceRegistry};

/// Announces `address`, `host:port`, below `folder`, for as long as the registry is open: an ephemeral
/// with `details`, `pid` and `created`, as every registration has.
///
/// # Errors
/// As [`ServiceRegistry::set`]; an address with a slash is [`Error::InvalidPath`].
pub async fn announce(
    registry: &ServiceRegistry,
    folder: &str,
    address: &str,
    details: Map,
) -> Result<Outcome, Error> {
    let path = below(folder, address);
    if address.is_empty() || address.contains('/') {
        let why = "an address is host:port".to_owned();
        return Err(Error::InvalidPath { path, why });
    }
    registry.set(&path, &Data::Map(details), Kind::Ephemeral).await
}
