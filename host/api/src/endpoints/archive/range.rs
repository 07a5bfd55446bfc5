//! What `Range` asks for: one range of bytes, or everything.
//!
//! What is no range, or several, is passed over as if nothing had been said, as HTTP has it; only one that
//! begins behind the last byte is refused.

use std::ops::Range;

/// What is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything.
    All,
    /// These bytes, of which there is at least one.
    Part(Range<u64>),
    /// Bytes that are not there.
    Beyond,
}

/// What `header` asks of `size` bytes.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    header.and_then(parse).map_or(Wanted::All, |said| said.of(size))
}

/// A range as it is written.
enum Said {
    /// From here to there, or to the end.
    From(u64, Option<u64>),
    /// The last ones.
    Last(u64),
}

fn parse(header: &str) -> Option<Said> {
    let (unit, range) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match range.trim().split_once('-')? {
        ("", last) => Some(Said::Last(number(last)?)),
        (first, "") => Some(Said::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Said::From(first, Some(last)))
        }
    }
}

/// A number, whatever its size: what is too large for us is larger than everything we have.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

impl Said {
    fn of(self, size: u64) -> Wanted {
        match self {
            Self::Last(0) => Wanted::Beyond,
            // The last bytes of nothing are all of it, which no range can say.
            Self::Last(_) if size == 0 => Wanted::All,
            Self::Last(count) => Wanted::Part(size.saturating_sub(count)..size),
            Self::From(first, _) if first >= size => Wanted::Beyond,
            Self::From(first, last) => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                Wanted::Part(first..end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted};

    #[test]
    fn one_range_is_given_and_what_is_none_is_passed_over() {
        let part = |from, until| Wanted::Part(from..until);
        for (header, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-99", part(0, 100)),
            ("bytes=5-", part(5, 100)),
            ("bytes=-10", part(90, 100)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=90-1000", part(90, 100)),
            ("Bytes=99-99", part(99, 100)),
            ("bytes=0-99999999999999999999999", part(0, 100)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=100-200", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
            ("bytes=5-4", Wanted::All),
            ("bytes=0-1,5-6", Wanted::All),
            ("bytes=", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("0-5", Wanted::All),
        ] {
            assert_eq!(wanted(Some(header), 100), expected, "{header}");
        }
        assert_eq!(wanted(None, 100), Wanted::All);
    }

    #[test]
    fn of_nothing_there_is_no_range() {
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Beyond);
        assert_eq!(wanted(Some("bytes=-5"), 0), Wanted::All);
    }
}
