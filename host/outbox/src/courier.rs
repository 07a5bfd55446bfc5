//! What this crate needs of HTTP, as a trait.

use std::fmt::Debug;

use transaction::{Attempt, Rendered, Sender, Target};

use crate::desk::Later;

/// Brings what is written out to a service.
pub trait Courier: Debug + Send + Sync + 'static {
    /// One try. It always ends, and in bounded time.
    fn attempt<'a>(&'a self, target: &'a Target, request: &'a Rendered) -> Later<'a, Attempt>;
}

impl Courier for Sender {
    fn attempt<'a>(&'a self, target: &'a Target, request: &'a Rendered) -> Later<'a, Attempt> {
        Box::pin(Self::attempt(self, target, request))
    }
}
