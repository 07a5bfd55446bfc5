//! Versions that are asked beside the live ones: to make a decision again, or to see what another version would
//! decide. They are prepared as far as answering needs it, and never become live by that.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plugin::Plugin;

use crate::{Digest, Refused, Rollout};

/// How long a call that nobody waits for may take at least.
const DEADLINE: Duration = Duration::from_secs(5);

impl Rollout {
    /// The component of this digest in `name`'s place: from this node's disk, or from another node that still
    /// has it.
    ///
    /// # Errors
    /// [`Refused`]: nobody has it any more, or it cannot be used with what `name` is given now.
    pub async fn aside(&self, name: &str, digest: Digest) -> Result<Arc<Plugin>, Refused> {
        if let Some(ready) = self.version(name, digest) {
            return Ok(Arc::new(ready.aside(DEADLINE)));
        }
        let artefact = self.shared.obtain(name, digest, None).await.map_err(Refused::Unknown)?;
        self.component_aside(name, artefact.component).await
    }

    /// Any component in `name`'s place. It is kept nowhere.
    ///
    /// # Errors
    /// [`Refused::Unusable`].
    pub async fn component_aside(
        &self,
        name: &str,
        component: Bytes,
    ) -> Result<Arc<Plugin>, Refused> {
        let settings = &self.shared.settings;
        let loaded = settings.host.load_aside((settings.spec)(name, component)).await;
        loaded.map_err(|error| Refused::Unusable((settings.explain)(name, &error).to_string()))
    }
}
