//! Who may change what was set, also after the user changed.

use crate::ensemble::Ensemble;
use crate::wait::eventually;
use registry::service::{Config, Data, Error, Kind, ServiceRegistry, User};
use serde_json::json;

use super::{config, data, open, sees, set, text};

async fn as_user(ensemble: &Ensemble, root: &str, name: &str) -> ServiceRegistry {
    let user = Some(user(name));
    ServiceRegistry::open(Config { user, ..config(ensemble, root) }).await.expect("open")
}

fn user(name: &str) -> User {
    User::new(name, &format!("{name}'s secret")).expect("a name")
}

#[tokio::test]
async fn a_changed_user_renews_what_was_set_and_the_parents_that_were_made() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let a = as_user(&ensemble, &root, "alice").await;
    set(&a, "/top/crm/1", &data(json!({"v": "1"})), Kind::Ephemeral).await;
    set(&a, "/top/crm/flag", &data(json!({"v": "1"})), Kind::Persistent).await;
    let intruder = ensemble.intruder().await;
    let who = async |path: &str| {
        let (acl, _) = intruder.client().get_acl(&format!("{root}{path}")).await.expect("there");
        let who = |acl: &zookeeper::Acl| {
            let name = acl.id().split(':').next().unwrap_or_default();
            format!("{} {name} {}", acl.scheme(), acl.permission())
        };
        acl.iter().map(who).collect::<Vec<_>>()
    };
    let alices = ["digest alice ALL", "world anyone READ"];
    for path in ["/top/crm", "/top/crm/1", "/top/crm/flag"] {
        assert_eq!(who(path).await, alices, "{path}");
    }
    assert_eq!(who("/top").await, ["world anyone ALL"]);

    // Everybody reads; nobody else writes.
    let stranger = open(&ensemble, &root).await;
    assert_eq!(text(&stranger.get("/top/crm/flag").await.expect("there"), "v"), Some("1"));
    let refused = stranger.set("/top/crm/flag", &data(json!({"v": "2"})), Kind::Persistent).await;
    assert_eq!(refused, Err(Error::NoAuth { path: "/top/crm/flag".to_owned() }));
    assert_eq!(stranger.registrations(), []);
    let refused = stranger.unset("/top/crm/flag").await;
    assert_eq!(refused, Err(Error::NoAuth { path: "/top/crm/flag".to_owned() }));

    let renewed = a.become_user(Some(user("bob"))).await.expect("open");
    assert_eq!((renewed.done, renewed.pending), (2, 0));
    let bobs = ["digest bob ALL", "world anyone READ"];
    for path in ["/top/crm", "/top/crm/1", "/top/crm/flag"] {
        assert_eq!(who(path).await, bobs, "{path}");
    }
    // In a session that is only Bob's everything is made again.
    let session = intruder.expire_session_of(&format!("{root}/top/crm/1")).await;
    sees(&stranger, "it is set again", "/top/crm/1", |entry| {
        entry.stat.is_some_and(|stat| stat.ephemeral_owner != session)
    })
    .await;
    assert_eq!(who("/top/crm/1").await, bobs);
    let old = as_user(&ensemble, &root, "alice").await;
    let refused = old.set("/top/crm/2", &Data::Nothing, Kind::Ephemeral).await;
    assert!(matches!(refused, Err(Error::NoAuth { .. })), "{refused:?}");

    let nobody = a.become_user(None).await.expect("open");
    assert_eq!((nobody.done, nobody.pending), (2, 0));
    assert_eq!(who("/top/crm/flag").await, ["world anyone ALL"]);
}

#[tokio::test]
async fn a_user_changed_while_the_ensemble_is_away_is_changed_when_it_is_back() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let quick = Config {
        user: Some(user("alice")),
        timeout: std::time::Duration::from_secs(2),
        lazy: true,
        ..config(&ensemble, "")
    };
    let a = ServiceRegistry::open(quick).await.expect("open");
    set(&a, "/crm/1", &Data::Nothing, Kind::Ephemeral).await;
    set(&a, "/crm/flag", &Data::Nothing, Kind::Persistent).await;
    ensemble.kill(1).await;
    eventually(
        "the loss is noticed",
        async || {
            if a.connection().is_connected() { Err(()) } else { Ok(()) }
        },
    )
    .await;
    let renewed = a.become_user(Some(user("bob"))).await.expect("open");
    assert_eq!((renewed.done, renewed.pending), (0, 2));
    ensemble.restart(1).await;
    let intruder = ensemble.intruder().await;
    for path in ["/crm", "/crm/1", "/crm/flag"] {
        eventually("it is Bob's", async || {
            let (acl, _) = intruder.client().get_acl(path).await.map_err(|e| e.to_string())?;
            let id = acl[0].id().to_owned();
            if id.starts_with("bob:") { Ok(()) } else { Err(id) }
        })
        .await;
    }
    a.close().await;
}
