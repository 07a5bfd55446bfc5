//! Services whose instances the service registry knows.

use node::config::Config;
use registry::service::{Data, Kind, ServiceRegistry};
use tests::ensemble::Ensemble;
use tests::{Cluster, Receiver, eventually};

use crate::services::{adds, gets, says, texts, webhook};

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

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_the_registry_share_the_load_and_a_dead_one_is_passed_over() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let path = format!("{}-crm", ensemble.root());
    let offers = registry::service::Config::new(&ensemble.hosts().join(","));
    let offers = ServiceRegistry::open(offers).await.expect("the ensemble is there");
    let at = |address: &str| format!("{path}/{address}");
    let offer = async |address: &str| {
        offers.set(&at(address), &Data::Nothing, Kind::Ephemeral).await.expect("it is set")
    };
    let address = |receiver: &Receiver| receiver.url().replace("http://", "");
    let mut service = webhook(&one, folder.path());
    service.url = format!("registry:{path}");
    service.from = node::config::From::Start;
    let (nodes, added) = (ensemble.nodes(), adds(&service));
    let both = |config: &mut Config| {
        nodes(config);
        added(config);
    };
    let cluster = Cluster::start_with(3, both).await;
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
