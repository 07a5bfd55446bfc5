//! HTTP in: endpoints, problems, the chat page.
//!
//! Everything a client can do wrong is found here and answered in one shape, a problem; everything below
//! may take a [`chat::Request`] for well-formed. Only this crate knows HTTP's numbers. What is asked goes
//! through [`Ask`], and of the archive through [`Objects`], so that the whole surface can be tried over real
//! sockets without a cluster.
//!
//! A request's way: `server` accepts it and bounds the connections, `connection` and `socket` bound one of
//! them in bytes and time, `endpoints` finds who answers, `auth` who asks and whether they may, `asked` and
//! `check` read and refuse, `calling` asks the chats, `shape` is what goes in and comes out as JSON, `problem` what an error looks
//! like, `placed` where the answer says that things are. What Twilio asks is let in by `twilio`, which knows
//! what Twilio signs. [`admin`] is the same for operators, on a listener
//! of their own.

pub mod admin;
mod ask;
mod asked;
pub mod auth;
mod beside;
mod body;
mod calling;
mod check;
mod config;
mod connected;
mod connection;
mod crowd;
mod endpoints;
mod handshake;
mod incoming;
mod json;
mod metrics;
mod objects;
mod pings;
mod placed;
mod problem;
mod request_id;
mod server;
mod shape;
mod socket;
mod stream;
mod twilio;

pub use ask::{Ask, Asking};
pub use auth::{Auth, JwtConfig, KeySetError};
pub use config::{Config, Patience};
pub use endpoints::openapi;
pub use metrics::install_metrics;
pub use objects::{Objects, Pieces, Telling};
pub use pings::{Pinging, Pings};
pub use server::{BindError, Drained, Reserved, Server, Serving};
pub use shape::{head_line, message_line};
pub use twilio::{TokensError, Twilio, TwilioConfig};
