//! The ring on a real server: known places and known owners, as the system before this one had them.

use crate::ensemble::{Ensemble, registry, session};
use crate::wait::eventually;
use hashring::{NodeId, Position, Ring, Spread};
use registry::{
    POSITIONS, PositionData, PositionRecord, ServiceInfo, Session, position_key, position_of, ring,
};

/// Three places, and who answers there.
const PLACES: [&str; 3] = [
    "00000000000000000000000000000000",
    "cfcd208495d565ef66e7dff9f98764da",
    "f899139df5e1059396431415e770c6dd",
];
/// Between the MD5 of "0" and the third place.
const FOURTH: &str = "dfcd208495d565ef66e7dff9f98764da";

fn position(text: &str) -> Position {
    text.parse().expect("a position")
}

async fn stand(session: &Session, places: &[&str]) {
    let record = PositionRecord {
        service_info: ServiceInfo {
            name: "carillon".to_owned(),
            version: String::new(),
            build: String::new(),
            hostname: session.node().to_string(),
            fqdn: session.node().to_string(),
            key: String::new(),
            servers: Vec::new(),
        },
        data: PositionData {
            node: session.node().clone(),
            zone: String::new(),
            weight: 1,
            quic: String::new(),
            http: String::new(),
            fingerprint: String::new(),
            authority: String::new(),
        },
    };
    for place in places {
        let key = position_key(position(place));
        let put = session.put_ephemeral(&key, registry::encode(&record));
        put.await.expect("there is an answer").expect("the place is free");
    }
}

/// The ring as `session` reads it, once it has so many places.
async fn seen(session: &Session, places: usize) -> Ring {
    eventually("the ring", async || {
        let listed = session.list(POSITIONS).await.map_err(|error| error.to_string())?;
        let records: Vec<(Position, PositionRecord)> = listed
            .iter()
            .filter_map(|(key, value)| {
                Some((position_of(key)?, registry::decode(&value.data).ok()?))
            })
            .collect();
        let ring = ring(records.iter().map(|(position, record)| (*position, record)));
        let count = ring.positions().count();
        if count == places { Ok(ring) } else { Err(format!("{count} places")) }
    })
    .await
}

fn owner<'a>(ring: &'a Ring, key: &str) -> &'a NodeId {
    ring.owner(Position::of_key(key.as_bytes())).expect("the ring is not empty")
}

#[tokio::test]
async fn three_given_places_a_fourth_and_three_again_move_what_they_must_and_nothing_else() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let registry = registry(ensemble.config(&ensemble.root()));
    let (zero, cfcd, f899) = (
        session(&registry, "zero").await,
        session(&registry, "cfcd").await,
        session(&registry, "f899").await,
    );
    for (session, place) in [&zero, &cfcd, &f899].into_iter().zip(PLACES) {
        stand(session, &[place]).await;
    }
    let before = seen(&zero, 3).await;
    // MD5 of "0" and of "100" are the second and the third place themselves: the next one owns them.
    let owners = |ring: &Ring| ["0", "1", "2", "100"].map(|key| owner(ring, key).to_string());
    assert_eq!(owners(&before), ["f899", "cfcd", "cfcd", "zero"]);

    let fourth = session(&registry, "dfcd").await;
    stand(&fourth, &[FOURTH]).await;
    let with = seen(&cfcd, 4).await;
    assert_eq!(owners(&with), ["dfcd", "cfcd", "cfcd", "zero"]);

    drop(fourth);
    let after = seen(&f899, 3).await;
    assert_eq!(owners(&after), owners(&before));
}

#[tokio::test]
async fn a_service_that_has_all_places_is_its_own_preference_list() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let registry = registry(ensemble.config(&ensemble.root()));
    let only = session(&registry, "only").await;
    stand(&only, &PLACES).await;
    let ring = seen(&only, 3).await;
    let list = ring.preference(Position::of_key(b"0"), 3, Spread::Node);
    assert_eq!(list, [only.node().clone()]);
}

#[tokio::test]
async fn two_nodes_cannot_stand_on_one_place_and_the_first_keeps_it() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let registry = registry(ensemble.config(&ensemble.root()));
    let (a, b) = (session(&registry, "a").await, session(&registry, "b").await);
    stand(&a, &PLACES).await;
    let key = position_key(position(PLACES[1]));
    let refused = b.put_ephemeral(&key, b"{}".to_vec()).await.unwrap().unwrap_err();
    let holder: PositionRecord = registry::decode(&refused.current.unwrap().data).unwrap();
    assert_eq!(holder.data.node, *a.node());
    assert_eq!(seen(&b, 3).await.nodes().len(), 1);
}
