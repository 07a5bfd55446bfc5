//! The shipped status plugin.
