//! Which addresses may be called.

/// A range of addresses, as in `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first address of the range.
    pub base: std::net::IpAddr,
    /// How many leading bits count.
    pub bits: u8,
}
