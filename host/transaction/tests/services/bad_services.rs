//! What services do that they should not, and what comes of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transaction::{Outcome, RETRY_AFTER_MAX};

use crate::outside::{Door, Time, against, read, request, send, sender};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const LATER: Outcome = Outcome::Retry { connected: true };
const NOWHERE: Outcome = Outcome::Retry { connected: false };

#[tokio::test]
async fn a_service_that_takes_a_transaction_has_it() {
    let (door, sender) = (Door::open().await, sender());
    let (attempt, (_, got)) = tokio::join!(send(&sender, door.target(), 7), door.answer(OK));
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Done, Some(200)));
    assert_eq!((attempt.head.as_ref(), attempt.error), (&b"{}"[..], None));
    assert_eq!(got.line, "PUT /_matrix/app/v1/transactions/00c0ffee-1-1-7-0 HTTP/1.1");
    assert_eq!(got.header("host"), Some(door.address.to_string().as_str()));
    assert_eq!(got.header("authorization"), Some("Bearer hush-hush"));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.body, b"{\"events\":[1]}");
}

#[tokio::test]
async fn each_status_says_what_it_says() {
    for (status, outcome) in [
        (201, Outcome::Done),
        (204, Outcome::Done),
        (400, Outcome::Refused),
        (413, Outcome::Refused),
        (422, Outcome::Refused),
        (410, Outcome::Gone),
        (401, LATER),
        (404, LATER),
        (429, LATER),
        (500, LATER),
        (503, LATER),
    ] {
        let (door, sender) = (Door::open().await, sender());
        let answer = format!("HTTP/1.1 {status} Words\r\ncontent-length: 0\r\n\r\n");
        let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(&answer));
        assert_eq!((attempt.outcome, attempt.status), (outcome, Some(status)));
    }
}

#[tokio::test]
async fn a_service_that_crashes_after_its_answer_is_nowhere_the_next_time() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let (attempt, (stream, _)) = tokio::join!(send(&sender, &target, 1), door.answer(OK));
    assert_eq!(attempt.outcome, Outcome::Done);
    drop((stream, door));
    let attempt = send(&sender, &target, 2).await;
    assert_eq!((attempt.outcome, attempt.status), (NOWHERE, None));
    let words = attempt.error.unwrap();
    assert!(words.contains("127.0.0.1 does not take a connection"), "{words}");
}

#[tokio::test]
async fn a_service_that_ends_in_the_middle_has_said_nothing() {
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-le", "FTP ready\r\n\r\n", "HTTP/1.1 200"] {
        let (door, sender) = (Door::open().await, sender());
        let ends = async { drop(door.answer(said).await) };
        let (attempt, ()) = tokio::join!(send(&sender, door.target(), 1), ends);
        assert_eq!((attempt.outcome, attempt.status), (LATER, None), "{said}");
        assert!(attempt.error.unwrap().contains("no answer of http://127.0.0.1"), "{said}");
        assert!(
            door.is_untouched().await,
            "a fresh connection that breaks is not tried again: {said}"
        );
    }
}

#[tokio::test]
async fn a_status_counts_although_the_body_ends_in_the_middle() {
    let (door, sender) = (Door::open().await, sender());
    let ends =
        async { drop(door.answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"fai").await) };
    let (attempt, ()) = tokio::join!(send(&sender, door.target(), 1), ends);
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Done, Some(200)));
    assert_eq!((attempt.head.as_ref(), attempt.failed.len()), (&b"{\"fai"[..], 0));
}

#[tokio::test]
async fn a_service_that_hangs_before_or_in_its_headers_is_given_twenty_seconds() {
    for said in ["", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", "HTTP/1.1 102 Wait\r\n\r\n"] {
        let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
        let hangs = async {
            let _open = door.answer(said).await;
            time.passes().await;
        };
        let attempt = against(send(&sender, door.target(), 1), hangs).await;
        assert_eq!((attempt.outcome, attempt.status), (LATER, None), "{said}");
        assert!((20_000..22_000).contains(&attempt.ms), "{}", attempt.ms);
        assert!(attempt.error.unwrap().contains("within 20000 ms"));
    }
}

#[tokio::test]
async fn a_service_that_takes_no_bytes_is_given_no_longer() {
    let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
    let mut huge = request(1);
    huge.body = vec![b' '; 64 << 20].into();
    let hangs = async {
        let _open = door.accept().await;
        time.passes().await;
    };
    let attempt = against(sender.attempt(&door.target(), &huge), hangs).await;
    assert_eq!(attempt.outcome, LATER);
    assert!(attempt.ms <= 30_000, "{}", attempt.ms);
}

#[tokio::test]
async fn one_byte_of_a_head_each_second_is_no_answer() {
    let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
    let dribbles = async {
        let mut stream = door.accept().await;
        read(&mut stream).await;
        for byte in "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".bytes() {
            stream.write_all(&[byte]).await.unwrap();
            time.tick().await;
        }
        time.passes().await;
    };
    let attempt = against(send(&sender, door.target(), 1), dribbles).await;
    assert_eq!((attempt.outcome, attempt.status), (LATER, None));
    assert!((20_000..22_000).contains(&attempt.ms), "{}", attempt.ms);
}

#[tokio::test]
async fn one_byte_of_a_body_each_second_is_read_for_five() {
    let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
    let dribbles = async {
        let (mut stream, _) = door.answer("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n").await;
        loop {
            stream.write_all(b"x").await.unwrap();
            time.tick().await;
        }
    };
    let attempt = against(send(&sender, door.target(), 1), dribbles).await;
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Done, Some(200)));
    assert!((5_000..7_000).contains(&attempt.ms), "{}", attempt.ms);
    assert!((1..9).contains(&attempt.head.len()), "{:?}", attempt.head);
}

#[tokio::test]
async fn of_an_answer_without_end_64_kib_are_read() {
    let (door, sender) = (Door::open().await, sender());
    let floods = async {
        let (mut stream, _) =
            door.answer("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await;
        let mut sent = 0_u64;
        // Until nobody listens any more.
        while stream.write_all(&[b'x'; 16 << 10]).await.is_ok() {
            sent += 16 << 10;
        }
        sent
    };
    let (attempt, sent) = tokio::join!(send(&sender, door.target(), 1), floods);
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Done, Some(200)));
    assert_eq!((attempt.body.len(), attempt.head.len()), (64 << 10, 1 << 10));
    // What the sockets hold, and far less than the answer.
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    let (door, sender) = (Door::open().await, sender());
    let floods = async {
        let (mut stream, _) = door.answer("HTTP/1.1 200 OK\r\n").await;
        let mut sent = 0_u64;
        while stream.write_all(b"x-more: and more and more and more\r\n").await.is_ok() {
            sent += 36;
        }
        sent
    };
    let (attempt, sent) = tokio::join!(send(&sender, door.target(), 1), floods);
    assert_eq!((attempt.outcome, attempt.status), (LATER, None));
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn a_service_that_wants_us_to_wait_is_asked_to_say_how_long() {
    let far = "HTTP/1.1 429 Slow\r\nretry-after: 86400\r\ncontent-length: 0\r\n\r\n";
    let seconds = "HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    let date = "HTTP/1.1 503 Busy\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                retry-after: Sun, 06 Nov 1994 08:50:07 GMT\r\ncontent-length: 0\r\n\r\n";
    let none = "HTTP/1.1 500 Oh\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n";
    let done = "HTTP/1.1 200 OK\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    for (answer, wait) in [
        (far, Some(RETRY_AFTER_MAX)),
        (seconds, Some(120 * crate::outside::SECOND)),
        (date, Some(30 * crate::outside::SECOND)),
        (none, None),
        (done, None),
    ] {
        let (door, sender) = (Door::open().await, sender());
        let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(answer));
        assert_eq!(attempt.retry_after, wait, "{answer}");
    }
}

#[tokio::test]
async fn a_service_may_take_a_part() {
    let (door, sender) = (Door::open().await, sender());
    let body = r#"{"failed": ["$a", "b"]}"#;
    let part = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(&part));
    assert_eq!(
        (attempt.outcome, attempt.failed),
        (Outcome::Done, vec!["a".to_owned(), "b".to_owned()])
    );
    // A refusal is of all of them, whatever else it says.
    let (door, sender) = (Door::open().await, self::sender());
    let none = part.replace("200 OK", "400 No");
    let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(&none));
    assert_eq!((attempt.outcome, attempt.failed.len()), (Outcome::Refused, 0));
}

#[tokio::test]
async fn a_service_that_refuses_every_second_request_gets_the_same_again() {
    let (door, sender) = (Door::open().await, sender());
    let target = door.target();
    let no = "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    let mut seen = Vec::new();
    let serves = async {
        let mut stream = door.accept().await;
        for answer in [no, OK, no, OK] {
            seen.push(read(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let sends = async {
        let mut outcomes = Vec::new();
        for seq in [1, 1, 2, 2] {
            outcomes.push(send(&sender, &target, seq).await.outcome);
        }
        outcomes
    };
    let (outcomes, ()) = tokio::join!(sends, serves);
    assert_eq!(outcomes, [LATER, Outcome::Done, LATER, Outcome::Done]);
    assert_eq!((&seen[0], &seen[2]), (&seen[1], &seen[3]));
    assert_ne!(seen[0].line, seen[2].line);
}

#[tokio::test]
async fn a_service_that_answers_too_late_sees_the_same_transaction_again() {
    let (door, sender, time) = (Door::open().await, sender(), Time::stands_still());
    let mut first = None;
    let hangs = async {
        let mut stream = door.accept().await;
        let got = read(&mut stream).await;
        first = Some((stream, got));
        time.passes().await;
    };
    let attempt = against(send(&sender, door.target(), 1), hangs).await;
    assert_eq!(attempt.outcome, LATER);
    let (mut stream, first) = first.unwrap();
    // It says so all the same, to nobody: that connection is closed and its answer is no one else's.
    let _nobody = stream.write_all(OK.as_bytes()).await;
    let (attempt, (_, second)) = tokio::join!(send(&sender, door.target(), 1), door.answer(OK));
    assert_eq!(attempt.outcome, Outcome::Done);
    assert_eq!(first, second);
    let mut rest = Vec::new();
    assert!(matches!(stream.read_to_end(&mut rest).await, Ok(0) | Err(_)), "{rest:?}");
}

#[tokio::test]
async fn a_service_that_repeats_our_token_does_not_put_it_into_what_is_shown() {
    let (door, sender) = (Door::open().await, sender());
    let body = "denied: Bearer hush-hush";
    let echo = format!("HTTP/1.1 403 No\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(&echo));
    assert_eq!(attempt.head, "denied: Bearer …".as_bytes());
    let told = format!("{:?} {:?}", attempt.error, door.target());
    assert!(!told.contains("hush-hush"), "{told}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_follows_it() {
    let (door, elsewhere, sender) = (Door::open().await, Door::open().await, sender());
    for place in
        ["http://169.254.169.254/latest/meta-data/", &format!("http://{}/", elsewhere.address)]
    {
        for status in [301, 302, 303, 307, 308] {
            let moved = format!(
                "HTTP/1.1 {status} Moved\r\nlocation: {place}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let (attempt, _) = tokio::join!(send(&sender, door.target(), 1), door.answer(&moved));
            assert_eq!((attempt.outcome, attempt.status), (LATER, Some(status)));
            assert!(attempt.error.unwrap().contains("redirects are not followed"));
        }
    }
    assert!(elsewhere.is_untouched().await);
}

#[tokio::test]
async fn a_secret_that_a_plugin_names_is_filled_in_and_comes_back_to_nobody() {
    let (door, sender) = (Door::open().await, sender());
    let mut request = request(1);
    let own = [("X-Key", "key {{secret:crm}}"), ("Authorization", "Basic {{secret:crm}}")];
    request.headers = own.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let echo = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nkey whisper";
    let target = door.target();
    let (attempt, (_, got)) = tokio::join!(sender.attempt(&target, &request), door.answer(echo));
    assert_eq!(got.header("x-key"), Some("key whisper"));
    let proofs: Vec<_> = got.headers.iter().filter(|(name, _)| name == "authorization").collect();
    assert_eq!(proofs, [&("authorization".to_owned(), "Basic whisper".to_owned())]);
    assert_eq!((attempt.body.as_ref(), &attempt.head), ("key …".as_bytes(), &attempt.body));
    request.headers = vec![("x-key".to_owned(), "{{secret:other}}".to_owned())];
    let attempt = sender.attempt(&target, &request).await;
    assert_eq!((attempt.outcome, attempt.status), (Outcome::Refused, None));
    assert_eq!(attempt.error.unwrap(), "not sent: there is no secret named \"other\"");
}
