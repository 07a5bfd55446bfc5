//! Configuration, command line, assembly, shutdown.
