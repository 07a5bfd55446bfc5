//! What is counted of streams, and said in the log of those that end because of what their clients did not do.

use ::metrics::{Gauge, gauge};

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its client is gone.
    Client,
    /// Its client took nothing for too long.
    Slow,
    /// Its client said nothing, not even that it is there.
    Silent,
    /// The node takes its leave.
    Draining,
    /// The chats, or the token, say no.
    Refused,
}

/// Counted as open until it is dropped, and then why it ended.
#[derive(Debug)]
pub(crate) struct Open {
    sort: &'static str,
    request_id: String,
    open: Gauge,
    why: Ended,
}

impl Open {
    /// One more is open. Unless it is said otherwise, it ends because of its client.
    pub(crate) fn new(sort: &'static str, request_id: String) -> Self {
        let open = gauge!("carillon_streams", "sort" => sort);
        open.increment(1.0);
        Self { sort, request_id, open, why: Ended::Client }
    }

    /// It ends, and this is why.
    pub(crate) fn ends(&mut self, why: Ended) {
        self.why = why;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.decrement(1.0);
        let why = match self.why {
            Ended::Client => "client",
            Ended::Slow => "slow",
            Ended::Silent => "silent",
            Ended::Draining => "draining",
            Ended::Refused => "refused",
        };
        ::metrics::counter!("carillon_streams_ended_total", "sort" => self.sort, "why" => why)
            .increment(1);
        let (sort, request_id) = (self.sort, self.request_id.as_str());
        match self.why {
            Ended::Slow => {
                tracing::info!(sort, request_id, "a stream ended: its client took nothing");
            }
            Ended::Silent => {
                tracing::info!(sort, request_id, "a stream ended: its client was silent");
            }
            Ended::Client | Ended::Draining | Ended::Refused => {}
        }
    }
}
