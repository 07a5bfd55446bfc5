//! How a call can end without a decision, and why a component is not loaded.

use crate::manifest::InvalidManifest;

/// A call ended without a decision. Nothing of it is left: its effects are dropped, its store is gone,
/// and the next call of the same plugin is like any other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The guest trapped: a panic, an unreachable, a stack overflow. Its author reads the text.
    #[error("trapped: {text}")]
    Trap {
        /// What it trapped on, and what the guest printed before.
        text: String,
    },
    /// The guest used up its fuel. The operator gives it more, or its author makes it do less.
    #[error("used up its fuel of {fuel}")]
    Fuel {
        /// The limit.
        fuel: u64,
    },
    /// The guest was not done in time. The operator gives it more, or its author makes it do less.
    #[error("not done within {deadline_ms} ms")]
    Deadline {
        /// The limit.
        deadline_ms: u64,
    },
    /// The guest wanted more memory than its limit and gave up. The operator gives it more.
    #[error("needs more memory than {memory_bytes} bytes: {text}")]
    Memory {
        /// The limit.
        memory_bytes: u64,
        /// How it gave up.
        text: String,
    },
    /// What the guest answered, or handed to the host, is not what it may. Its author reads the text.
    #[error("bad output: {text}")]
    BadOutput {
        /// What is wrong with it.
        text: String,
    },
    /// The guest said that it could not decide. Its own words tell why.
    #[error("could not decide: {code}: {detail}")]
    Refused {
        /// Its code.
        code: String,
        /// Its words.
        detail: String,
        /// Whether it thinks that trying again makes sense.
        retryable: bool,
    },
    /// No room to run it: every instance of the host is busy. Trying again later makes sense.
    #[error("every plugin instance is busy")]
    Busy,
    /// It was not called: it has failed again and again, and is left alone for a while. Its author mends
    /// it, or the operator takes it out; trying again later makes sense.
    #[error("not called: it has failed again and again; tried again in {retry_after_ms} ms")]
    Paused {
        /// When somebody is let through again, at the earliest.
        retry_after_ms: u64,
    },
    /// It does not export what it was asked for. Whoever asks looks at its kinds first.
    #[error("{text}")]
    Absent {
        /// What it lacks.
        text: String,
    },
}

impl Failure {
    /// One word, for metrics and stamps.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Fuel { .. } => "fuel",
            Self::Deadline { .. } => "deadline",
            Self::Memory { .. } => "memory",
            Self::BadOutput { .. } => "bad-output",
            Self::Refused { .. } => "refused",
            Self::Busy => "busy",
            Self::Paused { .. } => "paused",
            Self::Absent { .. } => "absent",
        }
    }

    /// Whether the same call could end better later.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Busy | Self::Paused { .. } | Self::Deadline { .. } => true,
            Self::Refused { retryable, .. } => *retryable,
            Self::Trap { .. }
            | Self::Fuel { .. }
            | Self::Memory { .. }
            | Self::BadOutput { .. }
            | Self::Absent { .. } => false,
        }
    }
}

/// Why a component does not become a plugin. Nothing is left behind; what ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The name is not usable in configurations and metrics. The operator picks another one.
    #[error("plugin name {name:?}: 1 to 64 of a-z, 0-9, - and _, beginning with a letter")]
    Name {
        /// The name.
        name: String,
    },
    /// The file is too big to be compiled here. Its author leaves something out.
    #[error("plugin {name}: {bytes} bytes are more than the {bytes_max} that are compiled")]
    TooLarge {
        /// The plugin.
        name: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The bytes are no component this host can compile. The text says what they look like instead.
    #[error("plugin {name}: not a usable component: {text}")]
    NotAComponent {
        /// The plugin.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// Compiling it takes more than a component may take. Its author leaves something out: a component
    /// that is only big compiles in seconds.
    #[error("plugin {name}: {text}")]
    TooHard {
        /// The plugin.
        name: String,
        /// Which limit.
        text: String,
    },
    /// The process that compiles could not be started, or broke. The operator reads why; what it says of
    /// the system is mended there, anything else is a fault of ours.
    #[error("plugin {name}: {text}")]
    Compiler {
        /// The plugin.
        name: String,
        /// What happened.
        text: String,
    },
    /// The embedded `plugin.toml` cannot be read. Its author packs it again.
    #[error("plugin {name}: its manifest")]
    Manifest {
        /// The plugin.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidManifest,
    },
    /// It imports what it was not granted, or what nobody offers. Each line says which import, and the
    /// configuration that would grant it where there is one.
    #[error("plugin {name}: {}", lines(.refused))]
    Imports {
        /// The plugin.
        name: String,
        /// Every refused import.
        refused: Vec<RefusedImport>,
    },
    /// An import or export has another shape than our WIT, or no handler is exported. Its author
    /// builds against the right version.
    #[error("plugin {name}: {text}")]
    Shape {
        /// The plugin.
        name: String,
        /// Which, and how.
        text: String,
    },
    /// The guest's own `check-config` found problems. The operator mends the configuration.
    #[error("plugin {name}: its configuration: {}", lines(.problems))]
    Config {
        /// The plugin.
        name: String,
        /// Every problem.
        problems: Vec<Problem>,
    },
    /// The guest failed while it checked its configuration. Its author reads why.
    #[error("plugin {name}: check-config")]
    CheckConfig {
        /// The plugin.
        name: String,
        /// How.
        #[source]
        source: Failure,
    },
    /// The thread that compiles is gone, which happens only while the node stops.
    #[error("plugin {name}: the host is stopping")]
    Stopping {
        /// The plugin.
        name: String,
    },
}

/// One import that is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedImport {
    /// Its full name, with version.
    pub import: String,
    /// The line of configuration that grants it; `None` when no configuration can.
    pub grant: Option<String>,
}

impl std::fmt::Display for RefusedImport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.grant {
            Some(line) => write!(f, "imports {} which is not granted: add `{line}`", self.import),
            None => write!(f, "imports {} which this version does not offer", self.import),
        }
    }
}

/// One fault that a guest found in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: String,
    /// What.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.detail)
    }
}

fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
