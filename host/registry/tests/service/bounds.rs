//! Bounds hold, and say which one it was.

use std::time::Duration;

use crate::ensemble::Ensemble;
use registry::service::{Bounds, Config, Data, Error, Kind, ServiceRegistry};

use super::{config, set};

async fn bounded(ensemble: &Ensemble, root: &str, bounds: Bounds) -> ServiceRegistry {
    ServiceRegistry::open(Config { bounds, ..config(ensemble, root) }).await.expect("open")
}

#[tokio::test]
async fn more_paths_than_may_be_are_refused_and_room_can_be_made() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let bounds = Bounds { watched_max: 2, set_max: 2, children_max: 2, ..Bounds::default() };
    let a = bounded(&ensemble, &root, bounds).await;
    for path in ["/a", "/b"] {
        set(&a, path, &Data::Nothing, Kind::Persistent).await;
        a.get(path).await.expect("there");
    }
    let refused = a.set("/c", &Data::Nothing, Kind::Persistent).await;
    assert_eq!(refused, Err(Error::TooMany { what: "set", max: 2 }));
    assert_eq!(a.get("/c").await, Err(Error::TooMany { what: "watched", max: 2 }));
    a.release("/a");
    a.forget("/a");
    set(&a, "/c", &Data::Nothing, Kind::Persistent).await;
    a.get("/c").await.expect("there");
    a.forget("/c");
    let refused = a.get("/").await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_is_too_large_or_no_path_is_refused_before_asking() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = bounded(&ensemble, &root, Bounds::default()).await;
    let large = Data::Text("x".repeat(1 << 20));
    let refused = a.set("/large", &large, Kind::Persistent).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    // What just fits is taken by the ensemble, too.
    set(&a, "/large", &Data::Text("x".repeat(1_000_000)), Kind::Persistent).await;
    for path in ["", "x", "/", "/x/", "/x//y", "/../y"] {
        let refused = a.set(path, &Data::Nothing, Kind::Persistent).await;
        assert!(matches!(refused, Err(Error::InvalidPath { .. })), "{path:?}: {refused:?}");
    }
    set(&a, "/e", &Data::Nothing, Kind::Ephemeral).await;
    let refused = a.set("/e/below", &Data::Nothing, Kind::Persistent).await;
    assert_eq!(refused, Err(Error::UnderEphemeral { path: "/e/below".to_owned() }));
}

#[tokio::test]
async fn calls_over_the_rate_wait_and_those_that_would_wait_too_long_are_refused() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let bounds = Bounds { calls_per_second: 1, calls_at_once: 4, ..Bounds::default() };
    let config = Config { bounds, timeout: Duration::from_millis(500), ..config(&ensemble, &root) };
    let a = ServiceRegistry::open(config).await.expect("open");
    let mut refused = None;
    for n in 0..8 {
        if let Err(error) = a.get(&format!("/{n}")).await {
            refused = Some(error);
            break;
        }
    }
    assert!(
        matches!(refused, Some(Error::NoConnection { .. } | Error::Busy { .. })),
        "{refused:?}"
    );
}
