//! tidy

