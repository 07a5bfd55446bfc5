//! A ring-aware HTTP client with cursors and retry.
