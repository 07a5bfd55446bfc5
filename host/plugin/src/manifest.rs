//! `plugin.toml`, carried inside the component as a custom section.
//!
//! The section is appended last: `wasm-tools strip` removes it, so packing comes after everything else.
//! A component without one is accepted: it asks for what it imports, and its version is the beginning
//! of its digest.

use serde::Deserialize;

use crate::{Grant, Kind, LimitsWanted, OnFailure};

/// Name of the custom section.
pub const SECTION: &str = "carillon:plugin-manifest";

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// What its author calls it; the operator's name may be another.
    pub name: String,
    /// Appears in every stamp.
    pub version: String,
    /// What it needs to be granted.
    #[serde(default)]
    pub asks: Grant,
    /// What its author thinks is right when it fails; the operator's word wins.
    #[serde(default, alias = "on_failure")]
    pub on_failure: Option<OnFailure>,
    /// What it needs per call; the operator's word wins.
    #[serde(default)]
    pub limits: LimitsWanted,
    /// What it handles, for those who build it. What a component exports is asked of the component.
    #[serde(default = "Kind::message")]
    pub kinds: Vec<Kind>,
    /// The language it is written in, for those who build it.
    #[serde(default)]
    pub language: Option<String>,
    /// The version of the contract it was built against.
    #[serde(default)]
    pub wit: Option<String>,
}

/// The manifest is not one.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not TOML, an unknown key or a bad value. Its author mends `plugin.toml`.
    #[error("plugin.toml: {text}")]
    Toml {
        /// What, and where.
        text: String,
    },
    /// Name or version are empty or too long. They are shown in every stamp, so both are short.
    #[error("plugin.toml: {field} is 1 to {max} visible ASCII characters")]
    Field {
        /// Which.
        field: &'static str,
        /// How long at most.
        max: usize,
    },
    /// The section is there twice. Which of them counts would be a guess.
    #[error("two manifests in one component")]
    Twice,
    /// The bytes do not follow the layout of a Wasm binary. The component is damaged.
    #[error("not a Wasm binary, or damaged")]
    Binary,
    /// It is a core module, which offers nothing to a host. Its author builds a component of it.
    #[error("a core module and no component: build it for wasm32-wasip2")]
    CoreModule,
}

/// Longest name or version.
const FIELD_BYTES_MAX: usize = 64;

impl Manifest {
    /// Reads `plugin.toml`.
    ///
    /// # Errors
    /// When it is not one; see [`InvalidManifest`].
    pub fn parse(text: &str) -> Result<Self, InvalidManifest> {
        let manifest: Self = toml::from_str(text)
            .map_err(|fault| InvalidManifest::Toml { text: fault.to_string().trim().to_owned() })?;
        for (field, value) in [("name", &manifest.name), ("version", &manifest.version)] {
            let short = (1..=FIELD_BYTES_MAX).contains(&value.len());
            if !short || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(InvalidManifest::Field { field, max: FIELD_BYTES_MAX });
            }
        }
        Ok(manifest)
    }

    /// The manifest inside a component, if it carries one.
    ///
    /// # Errors
    /// When it carries two, or one that cannot be read, or is no Wasm binary.
    pub fn find(component: &[u8]) -> Result<Option<Self>, InvalidManifest> {
        let mut found = None;
        for section in sections(component)? {
            if let Some(text) = section.custom(SECTION) {
                let text = std::str::from_utf8(text)
                    .map_err(|_not_text| InvalidManifest::Toml { text: "not UTF-8".to_owned() })?;
                if found.replace(Self::parse(text)?).is_some() {
                    return Err(InvalidManifest::Twice);
                }
            }
        }
        Ok(found)
    }
}

/// `component` with `manifest_toml` as its one manifest: an older one is replaced.
///
/// # Errors
/// When the manifest is not one, or `component` is no Wasm binary.
pub fn embed(component: &[u8], manifest_toml: &str) -> Result<Vec<u8>, InvalidManifest> {
    Manifest::parse(manifest_toml)?;
    if component.starts_with(CORE_MODULE) {
        return Err(InvalidManifest::CoreModule);
    }
    let mut packed = component.get(..HEADER_BYTES).ok_or(InvalidManifest::Binary)?.to_vec();
    for section in sections(component)? {
        if section.custom(SECTION).is_none() {
            packed.extend_from_slice(section.whole);
        }
    }
    let name_bytes = SECTION.len();
    let mut body = Vec::new();
    leb(&mut body, name_bytes);
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(manifest_toml.as_bytes());
    packed.push(0);
    leb(&mut packed, body.len());
    packed.extend_from_slice(&body);
    Ok(packed)
}

/// Magic number and version.
const HEADER_BYTES: usize = 8;

/// The header of what is no component.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

struct Section<'a> {
    id: u8,
    body: &'a [u8],
    /// With its id and length.
    whole: &'a [u8],
}

impl<'a> Section<'a> {
    /// The content, if this is the custom section of that name.
    fn custom(&self, name: &str) -> Option<&'a [u8]> {
        if self.id != 0 {
            return None;
        }
        let (length, rest) = read_leb(self.body)?;
        let (found, content) = rest.split_at_checked(length)?;
        (found == name.as_bytes()).then_some(content)
    }
}

/// The top-level sections. Their insides are the compiler's business.
fn sections(binary: &[u8]) -> Result<Vec<Section<'_>>, InvalidManifest> {
    let (header, mut rest) =
        binary.split_at_checked(HEADER_BYTES).ok_or(InvalidManifest::Binary)?;
    if !header.starts_with(b"\0asm") {
        return Err(InvalidManifest::Binary);
    }
    let mut sections = Vec::new();
    while let Some((&id, after_id)) = rest.split_first() {
        let (length, after_length) = read_leb(after_id).ok_or(InvalidManifest::Binary)?;
        let (body, next) = after_length.split_at_checked(length).ok_or(InvalidManifest::Binary)?;
        let whole = rest.get(..rest.len() - next.len()).ok_or(InvalidManifest::Binary)?;
        sections.push(Section { id, body, whole });
        rest = next;
    }
    Ok(sections)
}

fn leb(out: &mut Vec<u8>, number: usize) {
    let mut left = number;
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        out.push(if left == 0 { low } else { low | 0x80 });
        if left == 0 {
            return;
        }
    }
}

/// A number of at most 32 bits, and what follows it.
fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{InvalidManifest, Manifest, embed};
    use crate::OnFailure;

    const TOML: &str = "name = \"m\"\nversion = \"1.2.0\"\non_failure = \"skip\"\n\
                        [asks]\nkv = { bytes = 10 }\n";

    fn empty() -> Vec<u8> {
        b"\0asm\x0d\0\x01\0".to_vec()
    }

    #[test]
    fn an_embedded_manifest_is_found_and_replaces_the_one_before() {
        assert_eq!(Manifest::find(&empty()).unwrap(), None);
        let packed = embed(&empty(), &TOML.replace("1.2.0", "1.1.0")).unwrap();
        let packed = embed(&packed, TOML).unwrap();
        let manifest = Manifest::find(&packed).unwrap().unwrap();
        assert_eq!(manifest.version, "1.2.0");
        assert_eq!(manifest.on_failure, Some(OnFailure::Skip));
        assert_eq!(manifest.asks.kv.unwrap().bytes, 10);
    }

    #[test]
    fn a_long_manifest_keeps_its_length() {
        let long = format!("{TOML}# {}\n", "x".repeat(20_000));
        assert!(Manifest::find(&embed(&empty(), &long).unwrap()).unwrap().is_some());
    }

    #[test]
    fn what_is_no_manifest_or_no_binary_is_refused() {
        let unknown = format!("{TOML}[surprise]\n");
        assert!(matches!(embed(&empty(), &unknown), Err(InvalidManifest::Toml { .. })));
        let nameless = TOML.replace("\"m\"", "\"\"");
        assert!(matches!(embed(&empty(), &nameless), Err(InvalidManifest::Field { .. })));
        assert!(matches!(embed(b"text", TOML), Err(InvalidManifest::Binary)));
        let module = b"\0asm\x01\0\0\0";
        assert!(matches!(embed(module, TOML), Err(InvalidManifest::CoreModule)));
        let mut torn = embed(&empty(), TOML).unwrap();
        torn.pop();
        assert!(matches!(Manifest::find(&torn), Err(InvalidManifest::Binary)));
    }

    #[test]
    fn two_manifests_are_one_too_many() {
        let one = embed(&empty(), TOML).unwrap();
        let mut two = one.clone();
        two.extend_from_slice(&one[8..]);
        assert!(matches!(Manifest::find(&two), Err(InvalidManifest::Twice)));
    }
}
