//! The checker is checked: by histories that no correct cluster makes, by good ones in great number, and
//! against a search that knows nothing of its shortcuts.

mod bad;
mod good;
mod search;
mod story;
mod traces;
