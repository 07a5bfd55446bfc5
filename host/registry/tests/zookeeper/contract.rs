//! What every registry must do: the same functions that the embedded one is held to.

use std::sync::Arc;

use crate::ensemble::{Ensemble, registry};
use registry::Registry;

#[path = "../contract/observing.rs"]
mod observing;
#[path = "../contract/suite.rs"]
mod suite;

async fn open() -> Option<(Registry, Arc<Ensemble>)> {
    let ensemble = Ensemble::shared().await?;
    Some((registry(ensemble.config(&ensemble.root())), ensemble))
}

crate::contract!(open);

/// Somebody watches a cluster without being in it.
mod observers {
    use super::observing as suite;

    crate::contract!(@ super::open,
        an_observer_sees_nodes_come_and_go_and_leaves_no_trace,
        a_value_that_makes_no_sense_is_named_and_what_it_said_before_stays,
        while_the_registry_is_away_the_last_view_stays_and_then_the_next_comes,
    );
}
