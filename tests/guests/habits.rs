//! Habits of guests that need more of the host than one call.

use plugin::{Effect, Failure, LimitsWanted, LoadError, Spec};
use tests::guests::Guest;

use crate::case::{say, spec};
use crate::{HOST, is_refused};

#[tokio::test]
async fn imports_that_nobody_knows_are_all_named() {
    let guest = Guest::default().importing(
        "import wasi:http/outgoing-handler@0.2.0;",
        "(import \"wasi:http/outgoing-handler@0.2.0\" \"handle\" (func $handle (result i32)))",
    );
    let refusal = is_refused(&HOST, guest.build()).await;
    let LoadError::Imports { refused, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].import.starts_with("wasi:http/") && refused[0].grant.is_none());
}

#[tokio::test]
async fn a_component_of_another_version_of_the_contract_is_refused() {
    let text = wat::parse_str("(component (import \"carillon:plugin/log@0.9.0\" (instance)))");
    let refusal = is_refused(&HOST, text.unwrap()).await;
    let LoadError::Imports { refused, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(refused[0].import, "carillon:plugin/log@0.9.0");
}

/// A guest that is another one every time it is asked finds that it cannot be: it counts its calls in
/// its memory and in a global, and both begin anew.
#[tokio::test]
async fn a_guest_cannot_behave_differently_the_second_time() {
    let guest = Guest::doing(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))
         (i32.store (i32.const 2052) (global.get $calls))
         (i32.store (i32.const 2056) (memory.size))
         (drop (memory.grow (i32.const 3)))
         (call $keep (i32.const 2048) (i32.const 12))",
    )
    .with_module("(global $calls (mut i32) (i32.const 0))")
    .keeping();
    let plugin = HOST.load(spec(guest.build())).await.unwrap();
    let first = say(&plugin, "hello").await.unwrap();
    let Some(Effect::Note { value: Some(kept), .. }) = first.effects.first() else {
        panic!("{first:?}")
    };
    assert_eq!((kept[0], kept[4]), (1, 1));
    for _ in 0..100 {
        assert_eq!(say(&plugin, "hello").await.unwrap(), first, "fuel included");
    }
}

#[tokio::test]
async fn a_hundred_thousand_host_calls_are_paid_for_or_not_made() {
    let calls = Guest::doing(
        "(local $i i32) (loop $again
           (call $emit (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 100000))))",
    );
    // The default fuel does not reach.
    let plugin = HOST.load(spec(calls.build())).await.unwrap();
    assert!(matches!(say(&plugin, "hello").await, Err(Failure::Fuel { .. })));
    // With fuel for all of them it logs 64 lines, and is told nothing of the rest.
    let limits = LimitsWanted { fuel: Some(1 << 40), ..spec(Vec::new()).limits };
    let name = "floods".to_owned();
    let plugin = HOST.load(Spec { name, limits, ..spec(calls.build()) }).await.unwrap();
    say(&plugin, "hello").await.unwrap();
    let lines = plugin.journal().lines(None, 0).lines;
    assert_eq!(lines.len(), 65, "64 and the one that says so");
}

#[tokio::test]
async fn a_table_bomb_gets_no_table() {
    let grow = "(loop $more (br_if $more
        (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
        (if (i32.gt_u (table.size $t) (i32.const 20000)) (then unreachable))";
    let guest = Guest::doing(grow).with_module("(table $t 1 funcref)");
    let plugin = HOST.load(spec(guest.build())).await.unwrap();
    say(&plugin, "hello").await.unwrap();
    // One that begins with too large a table is not even loaded.
    let guest = Guest::default().with_module("(table $t 2000000 funcref)");
    let refusal = is_refused(&HOST, guest.build()).await;
    let LoadError::NotAComponent { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("table"), "{text}");
}

#[tokio::test]
async fn effects_beyond_the_limit_are_told_and_not_kept() {
    // Sixty-five notes, each under a key of its own; the last is answered with an error.
    let guest = Guest::doing(
        "(local $i i32) (loop $again
           (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (local.get $i)))
           (i32.store8 (i32.const 512) (i32.const 0))
           (call $keep (i32.const 2048) (i32.const 1))
           (if (i32.ne (i32.load8_u (i32.const 512)) (i32.ge_u (local.get $i) (i32.const 64)))
             (then unreachable))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 65))))",
    );
    let plugin = HOST.load(spec(guest.keeping().build())).await.unwrap();
    let reply = say(&plugin, "hello").await.unwrap();
    assert_eq!(reply.effects.len(), 64);
}
