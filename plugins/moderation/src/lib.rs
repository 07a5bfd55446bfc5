//! The shipped moderation plugin.
