//! What a component is made of, beside its author's code.
//!
//! The [contract](wit::FILES) and the small [`World`] of one plugin; bindings for languages whose own tools
//! have none ([`bindings`]: C and Go); and the way from the core module that a C or Go compiler leaves to a
//! component (`component`). The generators are libraries here, because as commands they take longer to
//! build than everything else of a small plugin together. Nothing here reads or writes files.

pub mod bindings;
mod component;
mod error;
mod go_module;
mod shape;
pub mod wit;

pub use component::component;
pub use error::Error;
pub use shape::Shape;
pub use wit::World;
