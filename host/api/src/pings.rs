//! What the endpoints ask about application services, and of whom.

use std::future::Future;
use std::pin::Pin;

use chat::{Code, Refusal};

/// What becomes of a ping, while it does. Dropping it stops waiting for it.
pub type Pinging<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// Who is told that a service is there.
pub trait Pings: Send + Sync + 'static {
    /// Tries everything at once that waits for the service, on all nodes.
    fn ping(&self, service: String) -> Pinging<'_>;
}

/// There are no services.
pub(crate) struct NoServices;

impl Pings for NoServices {
    fn ping(&self, service: String) -> Pinging<'_> {
        let detail = format!("there is no service {service:?}");
        Box::pin(async move { Err(Refusal::new(Code::NotFound, detail)) })
    }
}
