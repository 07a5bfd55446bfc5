//! `[ring]`: how many places a node has on the ring, or which.

use toml::de::DeValue;

use super::read::{FromKey, Reading, Section};

/// `[ring]`: places on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// How many, or which.
    pub positions: Positions,
}

/// `ring.positions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// So many, drawn at the first start and kept with the data.
    Random(u16),
    /// These.
    Given(Vec<u128>),
}

impl Default for Ring {
    fn default() -> Self {
        Self { positions: Positions::Random(64) }
    }
}

impl Ring {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "positions", &mut self.positions);
    }
}

impl FromKey for Positions {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        if value.as_integer().is_some() {
            return u16::from_key(value).map(Self::Random);
        }
        let wanted = "a number of positions, or a list of them, each 32 lower-case hex digits";
        let given = Vec::<String>::from_key(value).map_err(|_not_a_list| wanted.to_owned())?;
        let digits = |text: &String| {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if plain && text.len() == 32 { u128::from_str_radix(text, 16).ok() } else { None }
        };
        let given: Option<Vec<u128>> = given.iter().map(digits).collect();
        given.map(Self::Given).ok_or_else(|| wanted.to_owned())
    }
}
