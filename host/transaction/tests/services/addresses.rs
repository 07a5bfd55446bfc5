//! To which addresses a node speaks, whatever names say.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or it fails")]

use std::sync::Arc;

use transaction::{Outcome, Resolve, Sender, SenderConfig};

use crate::outside::{Door, Fickle, Silent, Time, against, request, send, target};

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
const NOWHERE: Outcome = Outcome::Retry { connected: false };

fn sender(resolver: Arc<dyn Resolve>) -> Sender {
    Sender::new(SenderConfig { resolver, ..SenderConfig::default() }).unwrap()
}

#[tokio::test]
async fn a_name_that_comes_to_mean_a_private_address_is_not_called_there() {
    let door = Door::open().await;
    // The same port of another address of this machine, which the service is not allowed.
    let inside = Door::at(&format!("127.0.0.2:{}", door.address.port())).await;
    let target = target(&format!("http://crm.example:{}", door.address.port()));
    for moved in
        [&["127.0.0.2"][..], &["::ffff:127.0.0.2"], &["169.254.169.254"], &["10.0.0.1", "::1"]]
    {
        let sender = sender(Fickle::new(&[&["127.0.0.1"], moved]));
        let (attempt, (_, got)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
        assert_eq!(attempt.outcome, Outcome::Done);
        let host = format!("crm.example:{}", door.address.port());
        assert_eq!(got.header("host"), Some(host.as_str()));
        let attempt = send(&sender, &target, 2).await;
        assert_eq!((attempt.outcome, attempt.status), (NOWHERE, None));
        let words = attempt.error.unwrap();
        assert!(words.contains("crm.example is at") && words.contains("allow_private"), "{words}");
    }
    assert!(inside.is_untouched().await && door.is_untouched().await);
}

#[tokio::test]
async fn of_several_addresses_only_those_that_may_be_are_called() {
    let door = Door::open().await;
    let inside = Door::at(&format!("127.0.0.2:{}", door.address.port())).await;
    let target = target(&format!("http://crm.example:{}", door.address.port()));
    let sender = sender(Fickle::new(&[&["127.0.0.2", "127.0.0.1"]]));
    let (attempt, _) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    assert_eq!(attempt.outcome, Outcome::Done);
    assert!(inside.is_untouched().await);
}

#[tokio::test]
async fn an_address_in_a_url_is_checked_like_any_other() {
    let sender = sender(Arc::new(Silent));
    let inside = Door::at("127.0.0.2:0").await;
    let port = inside.address.port();
    for url in [
        format!("http://127.0.0.2:{port}"),
        format!("https://127.0.0.2:{port}"),
        format!("http://[::ffff:127.0.0.2]:{port}"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/".to_owned(),
        "http://0.0.0.0/".to_owned(),
    ] {
        let attempt = send(&sender, target(&url), 1).await;
        assert_eq!((attempt.outcome, attempt.status), (NOWHERE, None), "{url}");
        let words = attempt.error.unwrap();
        assert!(words.contains("name it in allow_private"), "{words}");
    }
    assert!(inside.is_untouched().await);
}

#[tokio::test]
async fn other_ways_to_write_this_machine_are_names_and_checked_when_they_are_known() {
    let sender = sender(Fickle::new(&[&["127.0.0.2"]]));
    for url in ["http://2130706434/", "http://0x7f.2/", "http://127.2/", "http://localhost/"] {
        let attempt = send(&sender, target(url), 1).await;
        let words = attempt.error.unwrap();
        assert!(words.contains("127.0.0.2, which is this machine"), "{url}: {words}");
    }
}

#[tokio::test]
async fn nothing_is_sent_in_the_clear_to_where_the_operator_has_no_say() {
    let sender = sender(Fickle::new(&[&["192.31.196.1"]]));
    let attempt = send(&sender, target("http://crm.example/"), 1).await;
    let words = attempt.error.unwrap();
    assert!(words.contains("let url begin with https://"), "{words}");
    assert_eq!(attempt.outcome, NOWHERE);
}

#[tokio::test]
async fn a_connection_that_rests_is_not_used_for_an_address_that_is_allowed_no_more() {
    let door = Door::open().await;
    let sender = sender(Arc::new(Silent));
    let mut target = door.target();
    let kept = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let (attempt, (_open, _)) = tokio::join!(send(&sender, &target, 1), door.answer(kept));
    assert_eq!(attempt.outcome, Outcome::Done);
    target.allow_private.clear();
    let attempt = send(&sender, &target, 2).await;
    assert_eq!((attempt.outcome, attempt.status), (NOWHERE, None));
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_given_five_seconds() {
    let time = Time::stands_still();
    let sender = sender(Arc::new(Silent));
    let target = target("https://crm.example/");
    let passes = async {
        time.passes().await;
    };
    let attempt = against(send(&sender, &target, 1), passes).await;
    assert_eq!(attempt.outcome, NOWHERE);
    assert!((5_000..7_000).contains(&attempt.ms), "{}", attempt.ms);
    assert!(attempt.error.unwrap().contains("no connection to crm.example within 5000 ms"));
}

#[tokio::test]
async fn what_is_misconfigured_is_said_and_tried_again() {
    let sender = sender(Fickle::new(&[&[]]));
    for (url, words) in [
        ("https://u:p@crm.example", "token_file"),
        ("gopher://crm.example", "begins with https://"),
        ("https://crm.example", "crm.example has no address"),
    ] {
        let attempt = send(&sender, target(url), 1).await;
        let said = attempt.error.unwrap();
        assert!(attempt.outcome == NOWHERE && said.contains(words), "{said}");
    }
    let mut target = target("https://crm.example");
    target.secret = Some(transaction::Secret::new("a\r\nb: c"));
    let attempt = send(&sender, &target, 1).await;
    assert_eq!(attempt.outcome, NOWHERE);
    assert!(attempt.error.unwrap().contains("token_file does not hold one token"));
}

#[tokio::test]
async fn a_request_that_must_not_be_sent_is_refused_here() {
    let door = Door::open().await;
    let sender = sender(Arc::new(Silent));
    let refused = async |change: &dyn Fn(&mut transaction::Rendered)| {
        let mut request = request(1);
        change(&mut request);
        let attempt = sender.attempt(&door.target(), &request).await;
        assert_eq!((attempt.outcome, attempt.status), (Outcome::Refused, None));
        assert!(attempt.error.unwrap().starts_with("not sent: "));
    };
    refused(&|request| request.path = "/../admin".to_owned()).await;
    refused(&|request| request.path = "/x y".to_owned()).await;
    for (name, value) in [
        ("Host", "other"),
        ("Transfer-Encoding", "chunked"),
        ("x", "a\r\nb: c"),
        ("a b", ""),
        ("Content-Length", "0"),
    ] {
        refused(&|request| request.headers.push((name.to_owned(), value.to_owned()))).await;
    }
    assert!(door.is_untouched().await);
}
