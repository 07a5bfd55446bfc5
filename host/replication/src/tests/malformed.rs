//! Frames that are too long, no frames, or stand where they do not belong; and frames that are good and come too
//! late or twice. Each over a real connection: an error with words, a counter, and nothing changed.

use std::collections::BTreeMap;

use bytes::BytesMut;
use hashring::{Partitions, Position, Spread};
use registry::Registry;
use segment::{Folder, Log, LogConfig, Reserve};
use wire::limits::FRAME_BYTES_MAX;
use wire::{Refuse, RefuseWhy};

use super::heard::Heard;
use super::*;
use crate::core::Timings;
use crate::incoming::Incoming;
use crate::{Config, Notices, Parts};

const MALFORMED: &str = "carillon_peer_malformed_total";
const TURNED_AWAY: &str = "carillon_peer_turned_away_total";

#[tokio::test]
async fn what_is_no_frame_closes_the_connection_and_leaves_the_node() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let mut b = node(&authority, "b", hello("b", 1));
    let a = node(&authority, "a", hello("a", 1));
    let mut misplaced = BytesMut::new();
    codec::encode(Kind::Hello, &hello("a", 1), &mut misplaced).unwrap();
    let mut body = BytesMut::new();
    codec::encode_raw(Kind::Message, &[0xff; 40], &mut body).unwrap();
    let oversized = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    let mut closings = 0;
    for bytes in [&oversized[..], &[6, 0, 0, 0, 9, 3, 0, 0, 0, 0], &misplaced, &body] {
        let (connection, mut greeted) = a.greet(&b).await;
        greeted.control_out.write_all(bytes).await.unwrap();
        assert_eq!(closed(&connection).await.0, code::MALFORMED, "{bytes:?} on the control stream");
        let (connection, _greeted) = a.greet(&b).await;
        let mut log = connection.open_uni().await.unwrap();
        log.write_all(bytes).await.unwrap();
        assert_eq!(closed(&connection).await.0, code::MALFORMED, "{bytes:?} on the log stream");
        let (connection, _greeted) = a.greet(&b).await;
        let (mut call, _) = connection.open_bi().await.unwrap();
        call.write_all(bytes).await.unwrap();
        let (code, reason) = closed(&connection).await;
        assert_eq!(code, code::MALFORMED, "{bytes:?} as a call");
        assert!(!reason.is_empty(), "a reason in words");
        closings += 3;
        assert_eq!(heard.counted(MALFORMED), closings, "{bytes:?}");
    }
    heard.until(&["closing the connection", "node=b peer=a"]).await;
    // A greeting has its own, smaller bound; and nothing comes before it.
    for first in [&[0, 0, 1, 0][..], &body] {
        let connection = a.connect(&b).await;
        let (mut control, _) = connection.open_bi().await.unwrap();
        control.write_all(first).await.unwrap();
        assert_eq!(closed(&connection).await.0, code::MALFORMED);
    }
    while let Ok(command) = b.commands.try_recv() {
        assert!(!matches!(command, Command::Messages { .. }), "{command:?}");
    }
    let (_connection, _greeted) = a.greet(&b).await;
}

/// A node alone with its own registry, which leads its one partition.
struct Alone {
    _folder: tempfile::TempDir,
    replication: crate::Replication,
    log: Log,
    tasks: Tasks,
}

impl Alone {
    async fn start(authority: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::embedded(&folder.path().join("registry")).unwrap();
        let session = registry.session(&id("b"));
        let places = || vec![Position::of_key(b"b")];
        let data = Folder::open(&folder.path().join("b"), &id("b"), 1, places).unwrap();
        let data = crate::enlist(&session, data).await.unwrap();
        let notices = Notices::default();
        let config = LogConfig {
            folder: data.logs(),
            store: data.store(),
            partitions: 1,
            value_file_bytes_max: 64 << 20,
            reserve: Reserve::Bytes(0),
        };
        let told = notices.clone();
        let (log, _) = Log::open(config, move |notice| told.tell(notice)).unwrap();
        let config = Config {
            node: id("b"),
            partitions: Partitions::try_from(1).unwrap(),
            copies: 1,
            commit: 1,
            spread: Spread::Node,
            positions: places(),
            listen: HERE,
            advertise: String::new(),
            http: "http://b.example".to_owned(),
            zone: String::new(),
            weight: 1,
            timings: Timings::default(),
            scrub: 0,
            catch_up: None,
        };
        let credentials = Credentials::new(&authority.issue(&id("b")).unwrap()).unwrap();
        let restored = BTreeMap::new();
        let parts =
            Parts { session, credentials, folder: data, log: log.clone(), restored, notices };
        let (replication, driver) = crate::bind(config, parts).unwrap();
        let tasks = Tasks::current(Stop::default());
        driver.start(Arc::new(Echo), &tasks);
        Self { _folder: folder, replication, log, tasks }
    }

    async fn until_it_leads(&self) {
        let leads = async {
            while !self.replication.view(PartitionId(0)).leading {
                tokio::task::yield_now().await;
            }
        };
        runtime::timeout(PATIENCE, leads).await.expect("it leads in time");
    }

    fn held(&self) -> Vec<segment::LogEntry> {
        self.log.read(PartitionId(0), 1, 100, 1 << 20).unwrap()
    }
}

#[tokio::test]
async fn what_is_of_an_old_epoch_or_comes_again_is_refused_and_changes_nothing() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let b = Alone::start(&authority).await;
    b.until_it_leads().await;
    let before = (b.replication.view(PartitionId(0)), b.held());
    let cluster = b.replication.cluster().unwrap();
    let a = node(&authority, "a", Hello { cluster, ..hello("a", 1) });
    let name = tls::server_name(&id("b"));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, b.replication.address().port()));
    let connection = a.endpoint.connect(address, &name).unwrap().await.unwrap();
    let peers = Peers::new();
    let _greeted = greeting::call(&connection, &id("b"), &a.net.ours, &peers).await.unwrap();
    let mut log_out = connection.open_uni().await.unwrap();
    let mut log_in = None;
    let mut frame = BytesMut::new();
    let entry = Entry { epoch: 0, seq: 1, chain: [3; 16], payload: Bytes::from_static(b"\x01old") };
    let old = Append {
        partition: PartitionId(0),
        epoch: 0,
        prev: End::default(),
        entries: vec![entry],
        commit: 1,
    };
    codec::encode(Kind::Message, &Message::Append(old), &mut frame).unwrap();
    for _time in ["once", "and again"] {
        log_out.write_all(&frame).await.unwrap();
        // A stream is seen once something came over it.
        if log_in.is_none() {
            let stream = runtime::timeout(PATIENCE, connection.accept_uni()).await;
            let stream = stream.expect("an answer in time").unwrap();
            log_in = Some(Incoming::new(stream, FRAME_BYTES_MAX));
        }
        let refuse = refusal(log_in.as_mut().expect("it is open")).await;
        assert!(matches!(refuse.why, RefuseWhy::Stale { .. }), "{refuse:?}");
    }
    assert_eq!(heard.counted(TURNED_AWAY), 2);
    assert_eq!(heard.counted(MALFORMED), 0);
    let after = (b.replication.view(PartitionId(0)), b.held());
    assert_eq!((before.0.epoch, before.0.end, &before.1), (after.0.epoch, after.0.end, &after.1));
    assert!(after.0.leading);
    b.tasks.stop().stop();
}

/// The next refusal that comes; beats and whatever else comes are passed over.
async fn refusal(from: &mut Incoming) -> Refuse {
    let next = async {
        loop {
            let frame = from.next().await.unwrap().expect("it is open");
            if let Message::Refuse(refuse) = codec::decode(Kind::Message, &frame).unwrap() {
                return refuse;
            }
        }
    };
    runtime::timeout(PATIENCE, next).await.expect("an answer in time")
}
