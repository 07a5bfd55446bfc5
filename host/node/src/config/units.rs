//! Sizes and durations as people write them: `64MiB`, `1GiB`, `500ms`, `10d`.
//!
//! Only exact spellings parse. `64MB` is refused rather than guessed at: whether it means a thousand or
//! 1,024 is what one finds out when the disk is full.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// How long nothing may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// For ever.
    Off,
    /// So long.
    After(Span),
}

/// How much of the disk stays free for what must still work when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Percent of the file system.
    Percent(u8),
    /// As much as this.
    Bytes(Size),
}

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const SPANS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Idle {
    /// How long, if that has an end.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(span) => Some(span.0),
        }
    }
}

impl Size {
    /// The number of bytes, where memory is meant.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SIZES)
            .map(Self)
            .ok_or_else(|| "a whole number and B, KiB, MiB or GiB, as in \"64MiB\"".to_owned())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &SPANS)
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| "a whole number and ms, s, m, h or d, as in \"5s\"".to_owned())
    }
}

impl FromStr for Reserve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| *percent < 100);
            return percent.map(Self::Percent).ok_or_else(|| "0% to 99%".to_owned());
        }
        text.parse().map(Self::Bytes).map_err(|_not_a_size: String| {
            "a percentage like \"5%\" or a size like \"1GiB\"".into()
        })
    }
}

/// `text` as a whole number and one of `units`, multiplied out.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The largest unit that says it exactly.
fn unscaled(number: u64, units: &[(&str, u64)]) -> Option<String> {
    units
        .iter()
        .filter(|(_, factor)| number != 0 && number.is_multiple_of(*factor))
        .max_by_key(|(_, factor)| *factor)
        .map(|(name, factor)| format!("{}{name}", number / factor))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&unscaled(self.0, &SIZES).unwrap_or_else(|| "0B".to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        f.write_str(&unscaled(ms, &SPANS).unwrap_or_else(|| "0s".to_owned()))
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Reserve, Size, Span};
    use std::time::Duration;

    #[test]
    fn sizes_and_durations_read_as_they_are_written() {
        for text in ["1GiB", "64MiB", "65KiB", "7B", "0B"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["10d", "1h", "90s", "500ms", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse::<Span>(), Ok(Span(Duration::from_secs(120))));
        assert_eq!("5%".parse::<Reserve>(), Ok(Reserve::Percent(5)));
        assert_eq!("1MiB".parse::<Reserve>(), Ok(Reserve::Bytes(Size(1 << 20))));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for text in ["", "5", "MiB", "64MB", "64 MiB", "-1B", "1.5GiB", "99999999999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-5s", "5sec", "1.5s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["100%", "-1%", "%", "5"] {
            assert!(text.parse::<Reserve>().is_err(), "{text}");
        }
    }
}
