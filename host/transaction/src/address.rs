//! Which addresses may be called.
//!
//! A service's URL is written by an operator, but what its name resolves to is written by whoever owns the
//! name, and a redirect or a record that changes would be enough to make a node call itself, its neighbours
//! or the machine's metadata. So the question is asked of the address that is about to be dialled, each
//! time, and never of a name. Whatever is not plainly an address of the public internet is refused, unless
//! the service's `allow_private` names it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, as in `127.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: IpAddr,
    bits: u8,
}

/// The text is no range of addresses. Nothing was allowed by it; write it like `10.0.0.0/8` or `fd00::/8`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses like 10.0.0.0/8 or fd00::/8")]
pub struct InvalidRange(pub String);

impl Range {
    /// Whether `address` is in it. An IPv4 address written as an IPv6 one is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => same(
                u128::from(base.to_bits()) << 96,
                u128::from(address.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                same(base.to_bits(), address.to_bits(), self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Range {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_no_address| invalid())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits: u8 = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|digit| digit.is_ascii_digit()) => {
                bits.parse().map_err(|_too_large| invalid())?
            }
            Some(_) => return Err(invalid()),
        };
        // Addresses are compared as what they are, so a range of IPv4 addresses in IPv6's dress is undressed too.
        match base.to_canonical() {
            _ if bits > most => Err(invalid()),
            IpAddr::V4(base) if most == 128 => {
                let bits = bits.checked_sub(96).ok_or_else(invalid)?;
                Ok(Self { base: base.into(), bits })
            }
            base => Ok(Self { base, bits }),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Whether two addresses, with their first bit at the top, agree in the first `bits`.
fn same(one: u128, other: u128, bits: u8) -> bool {
    // Shifting by all of them is not defined, and nothing is compared then.
    128_u32
        .checked_sub(u32::from(bits))
        .and_then(|rest| (one ^ other).checked_shr(rest))
        .unwrap_or(0)
        == 0
}

/// Whether an address may be dialled, and if not, what it is.
///
/// # Errors
/// What kind of address it is.
pub(crate) fn check(address: IpAddr, allowed: &[Range]) -> Result<Reach, &'static str> {
    if allowed.iter().any(|range| range.contains(address)) {
        return Ok(Reach::Allowed);
    }
    kind(address).map_or(Ok(Reach::Public), Err)
}

/// As what an address may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The operator named it for this service.
    Allowed,
    /// It is an address of the public internet.
    Public,
}

/// What an address is, if it is not plainly one of the public internet: IANA's registries of addresses for
/// special purposes, and everything that nobody was given yet.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => kind4(address),
        IpAddr::V6(address) => kind6(address),
    }
}

fn kind4(address: Ipv4Addr) -> Option<&'static str> {
    let find = |(base, bits, _): &&([u8; 4], u8, _)| {
        Range { base: Ipv4Addr::from(*base).into(), bits: *bits }.contains(address.into())
    };
    SPECIAL4.iter().find(find).map(|(_, _, kind)| *kind)
}

fn kind6(address: Ipv6Addr) -> Option<&'static str> {
    let find = |(base, bits, _): &&([u16; 8], u8, _)| {
        Range { base: Ipv6Addr::from(*base).into(), bits: *bits }.contains(address.into())
    };
    // What is behind a translator is the IPv4 address in the last bytes.
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() {
        return kind4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    let global = address.segments()[0] >> 13 == 1;
    let named = SPECIAL6.iter().find(find).map(|(_, _, kind)| *kind);
    named.or_else(|| (!global).then_some("of no public network"))
}

const SPECIAL4: [([u8; 4], u8, &str); 15] = [
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "of a carrier's own network"),
    ([127, 0, 0, 0], 8, "this machine"),
    ([169, 254, 0, 0], 16, "link-local, where metadata services are"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved for protocols"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "of a relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for measurements"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

const SPECIAL6: [([u16; 8], u8, &str); 11] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "this machine"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "private"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "reserved for protocols"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "for documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "of a relay"),
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "reserved for protocols"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "for documentation"),
];

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Range, Reach, check};

    fn ranges(texts: &[&str]) -> Vec<Range> {
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_called_unasked() {
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "4000::1",
            "100::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
        ] {
            let address: IpAddr = special.parse().unwrap();
            assert!(check(address, &[]).is_err(), "{special}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ] {
            let address: IpAddr = public.parse().unwrap();
            assert_eq!(check(address, &[]), Ok(Reach::Public), "{public}");
        }
    }

    #[test]
    fn what_is_named_is_allowed_and_nothing_beside_it() {
        let allowed = ranges(&["127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "192.168.1.7"]);
        for (address, may) in [
            ("127.0.0.1", true),
            ("::ffff:127.9.9.9", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("fd00::1", true),
            ("fe80::1", false),
            ("::1", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("169.254.169.254", false),
        ] {
            let checked = check(address.parse().unwrap(), &allowed);
            assert_eq!(checked == Ok(Reach::Allowed), may, "{address}");
        }
        assert_eq!(check("1.1.1.1".parse().unwrap(), &ranges(&["::/0"])), Ok(Reach::Public));
        assert_eq!(check("::1".parse().unwrap(), &ranges(&["::/0"])), Ok(Reach::Allowed));
        assert_eq!(check("10.9.9.9".parse().unwrap(), &ranges(&["0.0.0.0/0"])), Ok(Reach::Allowed));
    }

    #[test]
    fn a_range_is_an_address_and_a_number_of_bits() {
        let shown = |text: &str| text.parse::<Range>().ok().map(|range| range.to_string());
        assert_eq!(shown("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(shown("::1").as_deref(), Some("::1/128"));
        assert_eq!(shown("::ffff:127.0.0.0/104").as_deref(), Some("127.0.0.0/8"));
        for bad in [
            "",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0/8",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::ffff:0.0.0.0/95",
            " 10.0.0.0/8",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
