//! What every registry must do: the same functions that the embedded one is held to.

use std::sync::Arc;

use crate::ensemble::{Ensemble, registry};
use registry::Registry;

#[path = "../contract/suite.rs"]
mod suite;

async fn open() -> Option<(Registry, Arc<Ensemble>)> {
    let ensemble = Ensemble::shared().await?;
    Some((registry(ensemble.config(&ensemble.root())), ensemble))
}

crate::contract!(open);
