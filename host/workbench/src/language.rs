//! The languages that plugins are written in.

use std::fmt;

/// A language with templates, and tools that make components of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, by cargo.
    Rust,
    /// JavaScript, by componentize-qjs.
    JavaScript,
    /// Python, by componentize-py.
    Python,
    /// C, by zig.
    C,
    /// Go, by its own compiler.
    Go,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rust, Self::JavaScript, Self::Python, Self::C, Self::Go];

    /// The word for it on the command line and in `plugin.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// The language that the word is for.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
