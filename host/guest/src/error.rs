//! What can go wrong on the way to a component.

/// No bindings, or no component. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The world cannot be read as WIT. A name in it is no interface of the contract.
    #[error("the world of the plugin: {text}")]
    World {
        /// What its parser says.
        text: String,
    },
    /// The generator refuses the world. The text says which part.
    #[error("generating bindings: {text}")]
    Bindings {
        /// What it says.
        text: String,
    },
    /// The core module does not become a component. It lacks an export of the world, mostly because a
    /// function has another name than the bindings expect.
    #[error("the compiled module is no component of its world: {text}")]
    Component {
        /// What is wrong with it.
        text: String,
    },
    /// The bytes are no component, or damaged. The text says what they look like instead.
    #[error("no component: {text}")]
    NotAComponent {
        /// What is wrong with it.
        text: String,
    },
}
