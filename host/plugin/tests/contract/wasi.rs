//! WASI is there for those who insist, and can do nothing.

use std::time::Duration;

use model::Body;
use plugin::{Failure, Plugin, Verdict};

use crate::case::{call, load, said, say, spec};
use crate::guests::Guest;
use crate::{kept, note};

#[tokio::test]
async fn the_clock_stands_at_the_chats_time() {
    let guest =
        Guest::doing("(call $now (i32.const 2048)) (call $keep (i32.const 2048) (i32.const 8))")
            .keeping()
            .importing(
                "import wasi:clocks/wall-clock@0.2.0;",
                "(import \"wasi:clocks/wall-clock@0.2.0\" \"now\" (func $now (param i32)))",
            );
    let plugin = load(spec(guest.build())).await.unwrap();
    assert_eq!(kept(&plugin).await, 1_700_000_000_u64.to_le_bytes());
}

/// Go's runtime ends where its clock stands at zero: no plugin in Go passed its self-test, so none became live.
#[tokio::test]
async fn the_clock_stands_at_zero_for_nobody_and_not_for_the_self_test() {
    let reads = "(call $now (i32.const 32))
                 (if (i32.eqz (i32.or (i32.load (i32.const 32)) (i32.load (i32.const 40))))
                   (then unreachable))";
    let guest = Guest { check_config: reads.to_owned(), ..Guest::doing(reads) }.importing(
        "import wasi:clocks/wall-clock@0.2.0;",
        "(import \"wasi:clocks/wall-clock@0.2.0\" \"now\" (func $now (param i32)))",
    );
    let plugin = load(spec(guest.build())).await.unwrap();
    plugin.self_test().await.unwrap();
}

#[tokio::test]
async fn waiting_is_over_at_once() {
    let hour_ns = 3_600_000_000_000_u64;
    let guest = Guest::doing(&format!("(call $block (call $after (i64.const {hour_ns})))"))
        .importing(
            "import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;",
            "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\"
               (func $after (param i64) (result i32)))
             (import \"wasi:io/poll@0.2.0\" \"[method]pollable.block\" (func $block (param i32)))",
        );
    let plugin = load(spec(guest.build())).await.unwrap();
    let began = runtime::now();
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
    assert!(began.elapsed() < Duration::from_secs(50), "the guest waited");
}

#[tokio::test]
async fn randomness_follows_from_the_call() {
    let guest = Guest::doing(
        "(i64.store (i32.const 2048) (call $random)) (i64.store (i32.const 2056) (call $random))
         (call $keep (i32.const 2048) (i32.const 16))",
    );
    let guest = guest.keeping().importing(
        "import wasi:random/random@0.2.0;",
        "(import \"wasi:random/random@0.2.0\" \"get-random-u64\" (func $random (result i64)))",
    );
    let plugin = load(spec(guest.build())).await.unwrap();
    let (once, again) = (drawn(&plugin, 42).await, drawn(&plugin, 42).await);
    assert_eq!(once, again);
    assert_ne!(once[..8], once[8..], "two draws of one call differ");
    assert_ne!(drawn(&plugin, 43).await, once);
}

async fn drawn(plugin: &Plugin, seed: u64) -> Vec<u8> {
    let mut call = call();
    call.seed = seed;
    let said = said("text", Body::Text("hello".to_owned()));
    note(&plugin.on_message(call, said).await.unwrap()).unwrap()
}

/// What WASI answers to somebody who may not: a case, and at 4 an error code.
const ACCESS_DENIED: (u8, u8) = (1, 1);

#[tokio::test]
async fn there_are_no_sockets() {
    for kind in ["tcp", "udp"] {
        let guest = Guest::doing(
            "(call $create (i32.const 0) (i32.const 2048)) (call $keep (i32.const 2048) (i32.const 8))",
        );
        let guest = guest.keeping().importing(
            &format!("import wasi:sockets/{kind}-create-socket@0.2.0;"),
            &format!(
                "(import \"wasi:sockets/{kind}-create-socket@0.2.0\" \"create-{kind}-socket\"
                   (func $create (param i32 i32)))"
            ),
        );
        let plugin = load(spec(guest.build())).await.unwrap();
        let answer = kept(&plugin).await;
        assert_eq!((answer[0], answer[4]), ACCESS_DENIED, "{kind}: {answer:?}");
    }
}

#[tokio::test]
async fn no_name_is_looked_up() {
    let guest = Guest::doing(
        "(call $resolve (call $network) (i32.const 3072) (i32.const 9) (i32.const 2048))
         (call $keep (i32.const 2048) (i32.const 8))",
    );
    let guest = guest.keeping().with_module("(data (i32.const 3072) \"localhost\")").importing(
        "import wasi:sockets/instance-network@0.2.0; import wasi:sockets/ip-name-lookup@0.2.0;",
        "(import \"wasi:sockets/instance-network@0.2.0\" \"instance-network\"
               (func $network (result i32)))
             (import \"wasi:sockets/ip-name-lookup@0.2.0\" \"resolve-addresses\"
               (func $resolve (param i32 i32 i32 i32)))",
    );
    let plugin = load(spec(guest.build())).await.unwrap();
    let answer = kept(&plugin).await;
    // The name of a machine is refused, and nobody is asked for it.
    assert_eq!(answer[0], 1, "{answer:?}");
}

#[tokio::test]
async fn what_a_guest_printed_stands_beside_its_trap() {
    let guest = Guest::doing(
        "(call $write (call $stderr) (i32.const 2048) (i32.const 6) (i32.const 3072)) unreachable",
    )
    .with_module("(data (i32.const 2048) \"my end\")")
    .importing(
        "import wasi:cli/stderr@0.2.0; import wasi:io/streams@0.2.0;",
        "(import \"wasi:cli/stderr@0.2.0\" \"get-stderr\" (func $stderr (result i32)))
         (import \"wasi:io/streams@0.2.0\" \"[method]output-stream.blocking-write-and-flush\"
           (func $write (param i32 i32 i32 i32)))",
    );
    let plugin = load(spec(guest.build())).await.unwrap();
    let Failure::Trap { text } = say(&plugin, "hello").await.unwrap_err() else { panic!() };
    assert!(text.contains("my end") && text.contains("unreachable"), "{text}");
}
