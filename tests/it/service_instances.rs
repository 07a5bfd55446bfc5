//! Services whose instances the service registry knows.

use std::path::Path;

use node::config::Config;
use registry::service::{Data, Kind, ServiceRegistry};
use tests::ensemble::Ensemble;
use tests::{Cluster, Receiver, eventually};

use crate::services::{adds, checks_ids, gets, says, texts, webhook};

/// Whom the texts of a chat have come to, of two.
async fn both_get(one: &Receiver, two: &Receiver, wanted: &[String]) {
    eventually("two instances to get everything between them", async || {
        let (mut all, other) = (texts(one), texts(two));
        all.extend(other.into_iter().filter(|text| !all.contains(text)).collect::<Vec<_>>());
        let missing = wanted.iter().filter(|text| !all.contains(text)).count();
        if missing == 0 { Ok(()) } else { Err(all) }
    })
    .await;
}

/// Says of itself where it is, as a program would.
async fn offers(ensemble: &Ensemble) -> ServiceRegistry {
    let offers = registry::service::Config::new(&ensemble.hosts().join(","));
    ServiceRegistry::open(offers).await.expect("the ensemble is there")
}

fn address(receiver: &Receiver) -> String {
    receiver.url().replace("http://", "")
}

/// Three nodes on the ensemble, with a service whose instances stand at `path`.
async fn cluster(ensemble: &Ensemble, path: &str, folder: &Path) -> Cluster {
    let mut service = webhook(&Receiver::start().await, folder);
    service.url = format!("registry:{path}");
    service.from = node::config::From::Start;
    let (nodes, added) = (ensemble.nodes(), adds(&service));
    let both = |config: &mut Config| {
        nodes(config);
        added(config);
    };
    Cluster::start_with(3, both).await
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_the_registry_share_the_load_and_a_dead_one_is_passed_over() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let path = format!("{}-crm", ensemble.root());
    let offers = offers(&ensemble).await;
    let at = |address: &str| format!("{path}/{address}");
    let offer = async |address: &str| {
        offers.set(&at(address), &Data::Nothing, Kind::Ephemeral).await.expect("it is set")
    };
    let cluster = cluster(&ensemble, &path, folder.path()).await;
    let token = cluster.http(0).create().await;
    let mut said = says(&cluster, &token, 0..2).await;
    eventually("the service to be down, for want of instances", async || {
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        if told["services"][0]["state"] == "down" { Ok(()) } else { Err(told) }
    })
    .await;
    offer(&address(&one)).await;
    gets(&one, &said).await;
    offer(&address(&two)).await;
    // Nobody listens there.
    offer("127.0.0.1:1").await;
    let mut next = 2;
    eventually("the other one to be tried too", async || {
        said.extend(says(&cluster, &token, next..next + 1).await);
        next += 1;
        both_get(&one, &two, &said).await;
        if two.received().len() > 2 { Ok(()) } else { Err(two.received().len()) }
    })
    .await;
    let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
    assert_ne!(told["services"][0]["state"], "down", "a dead instance is not the service");
    offers.unset(&at(&address(&one))).await.expect("it is taken away");
    eventually("only the other one to get anything", async || {
        let before = one.received().len();
        said.extend(says(&cluster, &token, next..next + 1).await);
        next += 1;
        both_get(&one, &two, &said).await;
        if one.received().len() == before { Ok(()) } else { Err(before) }
    })
    .await;
    offers.close().await;
}

/// ZooKeeper is gone and comes back. Meanwhile the instance that was there last gets what is said, until it is gone too: what
/// is said then comes to the one that is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_while_zookeeper_and_the_last_instance_are_gone_comes_afterwards() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let path = format!("{}-crm", ensemble.root());
    let at = |receiver: &Receiver| format!("{path}/{}", address(receiver));
    let offered = offers(&ensemble).await;
    offered.set(&at(&one), &Data::Nothing, Kind::Persistent).await.expect("it is set");
    let cluster = cluster(&ensemble, &path, folder.path()).await;
    let token = cluster.http(0).create().await;
    let mut said = says(&cluster, &token, 0..2).await;
    gets(&one, &said).await;
    ensemble.kill(1).await;
    eventually("all to miss ZooKeeper", async || {
        for node in 0..3 {
            let info = cluster.admin(node).get("/admin/v1/info").await.expect(200);
            if info["registry"]["reached"] != false {
                return Err(info);
            }
        }
        Ok(())
    })
    .await;
    said.extend(says(&cluster, &token, 2..4).await);
    gets(&one, &said).await;
    one.answer(|_| 0);
    let meanwhile = says(&cluster, &token, 4..40).await;
    eventually("it to be tried in vain", async || {
        match one.received().iter().any(|request| request.status == 0) {
            true => Ok(()),
            false => Err(one.received().len()),
        }
    })
    .await;
    assert_eq!((texts(&one), texts(&two)), (said, Vec::new()));
    ensemble.restart(1).await;
    eventually("another instance", async || {
        offered.set(&at(&two), &Data::Nothing, Kind::Persistent).await?;
        offered.unset(&at(&one)).await
    })
    .await;
    gets(&two, &meanwhile).await;
    let last = says(&cluster, &token, 40..42).await;
    gets(&two, &[meanwhile, last].concat()).await;
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&[one.received(), two.received()].concat(), id);
    offered.close().await;
}
