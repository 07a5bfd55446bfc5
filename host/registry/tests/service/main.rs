//! The service registry on a real ZooKeeper, through the library and a client in another
//! language. The command line is tried in `tests/it`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test ends where a step fails"
)]

mod announcing;
mod away;
mod bounds;
#[expect(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../../tests/src/ensemble/mod.rs"]
mod ensemble;
#[expect(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../../tests/src/python.rs"]
mod interpreter;
mod locks;
mod python;
mod setting;
#[path = "../../../../tests/src/skip.rs"]
mod skip;
mod users;
#[expect(dead_code, reason = "not everybody needs all of it")]
#[path = "../../../../tests/src/wait.rs"]
mod wait;
mod watching;

use std::time::Duration;

use ensemble::Ensemble;
use registry::service::{Config, Data, Entry, Kind, Map, Outcome, ServiceRegistry, Status};
use wait::eventually;

/// How to open a registry below `root` of `ensemble`.
fn config(ensemble: &Ensemble, root: &str) -> Config {
    let servers = format!("{}{root}", ensemble.hosts().join(","));
    // Longer than a loaded machine takes for one call.
    Config {
        timeout: Duration::from_secs(30),
        session: Duration::from_secs(4),
        ..Config::new(&servers)
    }
}

async fn open(ensemble: &Ensemble, root: &str) -> ServiceRegistry {
    ServiceRegistry::open(config(ensemble, root)).await.expect("the ensemble is there")
}

fn map(json: serde_json::Value) -> Map {
    json.as_object().expect("an object").clone()
}

fn data(json: serde_json::Value) -> Data {
    Data::Map(map(json))
}

async fn set(registry: &ServiceRegistry, path: &str, data: &Data, kind: Kind) {
    let outcome = registry.set(path, data, kind).await.expect("it is set");
    assert!(matches!(outcome, Outcome::Applied(Some(_))), "{path}: {outcome:?}");
}

/// Until `registry` sees what `is` accepts at `path`.
async fn sees(
    registry: &ServiceRegistry,
    what: &str,
    path: &str,
    is: impl Fn(&Entry) -> bool,
) -> Entry {
    eventually(what, async || match registry.get(path).await {
        Ok(entry) if is(&entry) => Ok(entry),
        other => Err(other),
    })
    .await
}

/// Until the registration of `path` is as `is` accepts.
async fn becomes(registry: &ServiceRegistry, what: &str, path: &str, is: impl Fn(&Status) -> bool) {
    eventually(what, async || {
        let all = registry.registrations();
        let found = all.iter().find(|(set, _)| set == path).map(|(_, status)| status.clone());
        match &found {
            Some(status) if is(status) => Ok(()),
            _ => Err(found),
        }
    })
    .await;
}

/// What stands under `key`, as text.
fn text<'e>(entry: &'e Entry, key: &str) -> Option<&'e str> {
    entry.data.as_ref()?.get(key)?.as_str()
}
