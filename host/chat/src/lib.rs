//! What becomes of a message: handlers, log, readers.
