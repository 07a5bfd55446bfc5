//! Sizes and durations as people write them: `64KiB`, `50ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Bytes from `1024`, `"1024"`, `"64KiB"`, `"8MiB"` or `"1GiB"`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        other => return Err(format!("unknown unit {other:?} in {text:?}: B, KiB, MiB or GiB")),
    };
    scaled(digits, unit).ok_or_else(|| format!("{text:?} is not a size like \"64KiB\""))
}

/// A duration from `"50ms"`, `"2s"` or `"1m"`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        other => return Err(format!("unknown unit {other:?} in {text:?}: ms, s or m")),
    };
    scaled(digits, unit)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration like \"50ms\""))
}

fn scaled(digits: &str, unit: u64) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse::<u64>().ok()?.checked_mul(unit) } else { None }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

/// For `#[serde(deserialize_with)]`: a size.
pub(crate) fn de_bytes<'de, D: Deserializer<'de>>(de: D) -> Result<u64, D::Error> {
    match Written::deserialize(de)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => bytes(&text).map_err(de::Error::custom),
    }
}

/// For `#[serde(deserialize_with)]`: a size that may be absent.
pub(crate) fn de_bytes_option<'de, D: Deserializer<'de>>(de: D) -> Result<Option<u64>, D::Error> {
    de_bytes(de).map(Some)
}

/// For `#[serde(deserialize_with)]`: a duration that may be absent.
pub(crate) fn de_duration_option<'de, D: Deserializer<'de>>(
    de: D,
) -> Result<Option<Duration>, D::Error> {
    duration(&String::deserialize(de)?).map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration};
    use std::time::Duration;

    #[test]
    fn sizes_are_read_with_binary_units_and_nothing_else() {
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("12"), Ok(12));
        assert!(bytes("64KB").is_err() && bytes("KiB").is_err() && bytes("-1").is_err());
        assert!(bytes("99999999999999GiB").is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert!(duration("50").is_err() && duration("1.5s").is_err());
    }
}
