//! Guests with bad habits. Each test ends with a good plugin of the same host, which must not notice.

mod case;
#[path = "../../../tests/src/guests.rs"]
#[expect(unreachable_pub, reason = "the harness shares it with other crates' tests")]
mod guests;

use case::{load, say, spec};
use guests::Guest;
use plugin::{Failure, Verdict};

/// A plugin that passes answers as ever.
async fn others_do_not_notice() {
    let good = load(spec(Guest::default().build())).await.unwrap();
    assert_eq!(say(&good, "hello").await.unwrap().verdict, Verdict::Pass);
}

/// Loads `guest` and lets it fail on a message.
async fn fails(guest: Guest) -> Failure {
    let plugin = load(spec(guest.build())).await.unwrap();
    let failure = say(&plugin, "hello").await.unwrap_err();
    others_do_not_notice().await;
    failure
}

#[tokio::test]
async fn a_trap_fails_one_call_and_says_on_what() {
    let Failure::Trap { text } = fails(Guest::doing("unreachable")).await else { panic!() };
    assert!(text.contains("unreachable"), "{text}");
}
