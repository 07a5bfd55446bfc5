//! Who is believed: authority, name, cluster, protocol, folder and certificate. Whoever is not hears a
//! sentence, on both sides, and it is counted.

use super::heard::Heard;
use super::*;
use crate::greeting::GreetingError;
use wire::Reason;

#[tokio::test]
async fn a_node_of_another_authority_is_never_a_peer() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let b = node(&ours, "b", hello("b", 1));
    let stranger = node(&theirs, "a", hello("a", 1));
    let name = tls::server_name(&id("b"));
    let refused = stranger.endpoint.connect(b.address(), &name).unwrap().await;
    assert!(refused.unwrap_err().to_string().contains("certificate"), "the dialler checks");
    // One that believes our authority, but shows what another one signed: the handshake looks fine to
    // it until it asks for an answer.
    let shown = theirs.issue(&id("a")).unwrap();
    let pem = Pem { authority: ours.issue(&id("a")).unwrap().authority, ..shown };
    let impostor = node_with(&pem, "a", hello("a", 1));
    let connection = impostor.connect(&b).await;
    let greeted = greeting::call(&connection, &id("b"), &impostor.net.ours, &Peers::new()).await;
    assert!(matches!(greeted, Err(GreetingError::Ended(_))), "the listener checks: {greeted:?}");
    assert!(!b.net.peers.is_up(&id("a")));
}

#[tokio::test]
async fn a_node_is_dialled_by_the_name_in_its_certificate() {
    let authority = Authority::new("test").unwrap();
    let a = node(&authority, "a", hello("a", 1));
    let c = node(&authority, "c", hello("c", 1));
    let name = tls::server_name(&id("b"));
    let refused = a.endpoint.connect(c.address(), &name).unwrap().await;
    assert!(refused.unwrap_err().to_string().contains("certificate"));
}

async fn refusal(certified: &str, ours: Hello) -> (String, String) {
    let authority = Authority::new("test").unwrap();
    let b = node(&authority, "b", hello("b", 1));
    let a = node(&authority, certified, ours);
    let connection = a.connect(&b).await;
    let greeted = greeting::call(&connection, &id("b"), &a.net.ours, &Peers::new()).await;
    let Err(GreetingError::RefusedByPeer(refusal)) = greeted else { panic!("{greeted:?}") };
    let (code, sentence) = closed(&connection).await;
    assert_eq!(code, code::REFUSED);
    (refusal.sentence, sentence)
}

#[tokio::test]
async fn a_greeting_that_does_not_fit_is_refused_with_a_sentence() {
    let newer = Hello { protocol: PROTOCOL + 1, ..hello("a", 1) };
    let (in_frame, at_close) = refusal("a", newer).await;
    assert_eq!(in_frame, "node a speaks protocol 2, node b only up to 1: update b first");
    assert_eq!(at_close, in_frame, "whoever does not read the frame reads it here");
    let (sentence, _) = refusal("a", hello("c", 1)).await;
    assert!(sentence.contains("calls itself c but its certificate is for a"), "{sentence}");
    let (sentence, _) = refusal("a", Hello { cluster: 8, ..hello("a", 1) }).await;
    assert!(sentence.contains("belongs to cluster 0000000000000008"), "{sentence}");
}

#[tokio::test]
async fn a_node_on_another_folder_than_it_registered_is_refused() {
    let authority = Authority::new("test").unwrap();
    let b = node(&authority, "b", hello("b", 1));
    let known = Target { boot: 3, store: 73, fingerprint: String::new(), ..b.target() };
    b.net.peers.heard_of(&id("a"), &known);
    let a = node(&authority, "a", Hello { store: 9, ..hello("a", 3) });
    let connection = a.connect(&b).await;
    let greeted = greeting::call(&connection, &id("b"), &a.net.ours, &Peers::new()).await;
    let Err(GreetingError::RefusedByPeer(refusal)) = greeted else { panic!("{greeted:?}") };
    assert_eq!(refusal.reason, Reason::Store);
    assert!(refusal.sentence.contains("known with folder 0000000000000049"), "{refusal}");
}

/// A node with a certificate that `pem` holds.
fn renewed(pem: &Pem, name: &str, boot: u64) -> Node {
    node_with(pem, name, hello(name, boot))
}

/// Waits until both logs say `words` and somebody counted a refusal.
async fn both_hear(heard: &Heard, words: [&str; 2]) {
    heard.until(&words).await;
    assert!(heard.counted("carillon_peer_refused_total") >= 2, "{heard:?}");
}

#[tokio::test]
async fn both_logs_say_that_the_authorities_differ() {
    let heard = Heard::start();
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let b = node(&ours, "b", hello("b", 1));
    let mut stranger = node(&theirs, "a", hello("a", 1));
    stranger.dial(&b);
    let here = "the other side's certificate was signed by another authority";
    both_hear(&heard, [here, "this node's certificate, says the other side, was signed by"]).await;
    assert!(!b.net.peers.is_up(&id("a")) && !stranger.net.peers.is_up(&id("b")));
}

#[tokio::test]
async fn both_logs_say_that_one_believes_and_is_not_believed() {
    let heard = Heard::start();
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let b = node(&ours, "b", hello("b", 1));
    let pem = Pem { authority: ours.certificate().to_owned(), ..theirs.issue(&id("a")).unwrap() };
    let mut impostor = node_with(&pem, "a", hello("a", 1));
    impostor.dial(&b);
    let here = "the other side's certificate was signed by another authority";
    both_hear(&heard, [here, "this node's certificate, says the other side, was signed by"]).await;
    assert!(!b.net.peers.is_up(&id("a")));
}

#[tokio::test]
async fn both_logs_say_that_a_certificate_is_for_another_node() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let mut a = node(&authority, "a", hello("a", 1));
    let c = node(&authority, "c", hello("c", 1));
    // The registry says that b is where c answers.
    a.dialler.aim(&id("b"), c.target());
    let here = "the other side's certificate is not in the name of the node that was dialled";
    both_hear(&heard, [here, "this node's certificate, says the other side, is not in the name"])
        .await;
    assert!(!a.net.peers.is_up(&id("b")) && !a.net.peers.is_up(&id("c")));
}

#[tokio::test]
async fn who_has_no_place_any_more_is_dialled_again_only_when_it_has_one() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let (mut a, gone) =
        (node(&authority, "a", hello("a", 1)), node(&authority, "b", hello("b", 1)));
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    a.dialler.aim(&id("b"), Target { address, ..gone.target() });
    heard.until(&["nobody answers at"]).await;
    assert!(heard.counted("carillon_peer_unreachable_total") >= 1, "{heard:?}");
    assert_eq!(heard.counted("carillon_peer_refused_total"), 0, "nobody refused anything");
    a.dialler.only(&[&id("c")].into());
    heard.until(&["has no place in the registry any more"]).await;
    let mut b = node(&authority, "b", hello("b", 2));
    a.dial(&b);
    assert_eq!((a.link().await.node, b.link().await.node), (id("b"), id("a")));
}

#[tokio::test]
async fn both_logs_say_that_a_name_a_cluster_or_a_protocol_is_another() {
    let mismatches = [
        (hello("c", 1), "calls itself c but its certificate is for a"),
        (Hello { cluster: 8, ..hello("a", 1) }, "belongs to cluster 0000000000000008"),
        (Hello { protocol: PROTOCOL + 1, ..hello("a", 1) }, "node b only up to 1: update b first"),
    ];
    for (ours, words) in mismatches {
        let heard = Heard::start();
        let authority = Authority::new("test").unwrap();
        let b = node(&authority, "b", hello("b", 1));
        let mut a = node(&authority, "a", Hello { node: id("a"), ..ours.clone() });
        // As a node that calls itself so would greet.
        let connection = a.connect(&b).await;
        let greeted = greeting::call(&connection, &id("b"), &ours, &Peers::new()).await;
        assert!(greeted.unwrap_err().to_string().contains(words), "the caller learns it: {words}");
        if ours.node == id("a") {
            a.dial(&b);
            heard.until(&[&format!("refused by the other side: {}", sentence(&ours, &b))]).await;
        }
        heard.until(&[&format!("refused: {}", sentence(&ours, &b))]).await;
        assert!(heard.counted("carillon_peer_refused_total") >= 1, "{heard:?}");
        assert!(b.commands.is_empty(), "nobody came up");
    }
}

fn sentence(theirs: &Hello, b: &Node) -> String {
    theirs.check(&b.net.ours, &id("a")).unwrap_err().sentence
}

#[tokio::test]
async fn a_node_that_is_refused_after_it_answered_learns_why() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let mut a = node(&authority, "a", hello("a", 1));
    let b = node(&authority, "b", Hello { protocol: PROTOCOL + 1, ..hello("b", 1) });
    a.dial(&b);
    let words = "node b speaks protocol 2, node a only up to 1: update a first";
    let (here, there) =
        (format!("refused: {words}"), format!("refused by the other side: {words}"));
    both_hear(&heard, [&here, &there]).await;
    assert!(!a.net.peers.is_up(&id("b")));
}

#[tokio::test]
async fn another_certificate_than_the_registered_one_is_refused_on_either_side() {
    let authority = Authority::new("test").unwrap();
    let (first, second) = (authority.issue(&id("a")).unwrap(), authority.issue(&id("a")).unwrap());
    let words = "node a shows another certificate than it has registered";
    // The one that is dialled looks.
    let heard = Heard::start();
    let b = node(&authority, "b", hello("b", 1));
    let registered = renewed(&first, "a", 1);
    b.net.peers.heard_of(&id("a"), &registered.target());
    let mut thief = renewed(&second, "a", 1);
    thief.dial(&b);
    let (here, there) =
        (format!("refused: {words}"), format!("refused by the other side: {words}"));
    both_hear(&heard, [&here, &there]).await;
    assert!(!b.net.peers.is_up(&id("a")));
    // The one that dials looks.
    let heard = Heard::start();
    let (first, second) = (authority.issue(&id("b")).unwrap(), authority.issue(&id("b")).unwrap());
    let mut a = node(&authority, "a", hello("a", 1));
    let (registered, thief) = (renewed(&first, "b", 1), renewed(&second, "b", 1));
    let address = thief.address().to_string();
    a.dialler.aim(&id("b"), Target { address, ..registered.target() });
    let words = "node b shows another certificate than it has registered";
    let (here, there) =
        (format!("refused: {words}"), format!("refused by the other side: {words}"));
    both_hear(&heard, [&here, &there]).await;
    assert!(!a.net.peers.is_up(&id("b")));
}

#[tokio::test]
async fn a_renewed_certificate_counts_once_it_is_registered() {
    let authority = Authority::new("test").unwrap();
    let mut a = node(&authority, "a", hello("a", 1));
    let (first, second) = (authority.issue(&id("b")).unwrap(), authority.issue(&id("b")).unwrap());
    let before = renewed(&first, "b", 1);
    a.dial(&before);
    a.link().await;
    before.net.tasks.stop().stop();
    assert!(matches!(a.command().await, Command::PeerDown { .. }));
    // Its next life shows the new one, and has registered it before anybody dials.
    let after = renewed(&second, "b", 2);
    a.dial(&after);
    assert_eq!(a.link().await.boot, 2);
    assert!(a.net.peers.is_up(&id("b")));
}

#[tokio::test]
async fn a_connection_under_a_certificate_that_turns_out_to_be_foreign_is_closed() {
    let heard = Heard::start();
    let authority = Authority::new("test").unwrap();
    let mut b = node(&authority, "b", hello("b", 1));
    let thief = node(&authority, "a", hello("a", 1));
    // b has not read yet what the registry says of a.
    let (connection, _streams) = thief.greet(&b).await;
    b.link().await;
    let registered = node(&authority, "a", hello("a", 1));
    b.dialler.aim(&id("a"), registered.target());
    let (code, sentence) = closed(&connection).await;
    assert_eq!(code, code::REFUSED);
    assert!(sentence.contains("another certificate than it has registered"), "{sentence}");
    heard.until(&["its certificate is not the one it has registered"]).await;
    assert_eq!(heard.counted("carillon_peer_refused_total"), 1);
    assert!(!b.net.peers.is_up(&id("a")));
}
