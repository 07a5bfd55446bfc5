//! The SQLite file: open, migrate, one writer.
