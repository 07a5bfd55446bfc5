//! A sender against services in this process that do what they should, and what they should not.

mod addresses;
mod bad_services;
mod connections;
mod outside;
