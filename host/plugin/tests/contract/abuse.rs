//! What guests can do to the calls they make: handles that are not theirs, an allocator that does not come back,
//! a host that does not.

use std::sync::Arc;
use std::time::Duration;

use model::{Body, Cursor};
use plugin::{Call, Earlier, Failure, Later, LimitsWanted, Notes, Past, Spec, Verdict};

use crate::case::{PATIENT, call, load, said, say, spec};
use crate::guests::Guest;

/// Lets `guest` fail on a message, twice; then a good plugin answers as ever.
async fn fails(limits: LimitsWanted, guest: &Guest, call: &Call) -> Failure {
    let plugin = load(Spec { limits, ..spec(guest.build()) }).await.unwrap();
    let hello = || said("text", Body::Text("hello".to_owned()));
    let failure = plugin.on_message(call.clone(), hello()).await.unwrap_err();
    let again = plugin.on_message(call.clone(), hello()).await.unwrap_err();
    assert_eq!(failure.name(), again.name());
    let good = load(spec(Guest::default().build())).await.unwrap();
    assert_eq!(say(&good, "hello").await.unwrap().verdict, Verdict::Pass);
    failure
}

async fn traps(guest: &Guest) -> String {
    match fails(spec(Vec::new()).limits, guest, &call()).await {
        Failure::Trap { text } | Failure::BadOutput { text } => text,
        other => panic!("{other:?}"),
    }
}

/// A guest that has a stream to print to.
fn streams(does: &str) -> Guest {
    Guest::doing(does).importing(
        "import wasi:cli/stderr@0.2.0; import wasi:io/streams@0.2.0; \
         import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;",
        "(import \"wasi:cli/stderr@0.2.0\" \"get-stderr\" (func $stderr (result i32)))
         (import \"wasi:io/streams@0.2.0\" \"[resource-drop]output-stream\" (func $drop (param i32)))
         (import \"wasi:io/streams@0.2.0\" \"[method]output-stream.blocking-write-and-flush\"
           (func $write (param i32 i32 i32 i32)))
         (import \"wasi:io/poll@0.2.0\" \"[resource-drop]pollable\" (func $drop_pollable (param i32)))
         (import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\"
           (func $subscribe (param i64) (result i32)))",
    )
}

#[tokio::test]
async fn a_handle_is_dropped_once() {
    let does = "(local $it i32) (local.set $it (call $stderr))
        (call $drop (local.get $it)) (call $drop (local.get $it))";
    let text = traps(&streams(does)).await;
    assert!(text.contains("handle"), "{text}");
}

#[tokio::test]
async fn a_handle_that_was_dropped_or_never_given_is_of_no_use() {
    let written = "(i32.const 1024) (i32.const 1) (i32.const 3072)";
    for does in [
        format!(
            "(local $it i32) (local.set $it (call $stderr)) (call $drop (local.get $it))
             (call $write (local.get $it) {written})"
        ),
        format!("(call $write (i32.const 77) {written})"),
        format!("(call $write (i32.const -1) {written})"),
        "(call $drop (i32.const 0))".to_owned(),
        "(call $drop (i32.const 0x7fffffff))".to_owned(),
    ] {
        let text = traps(&streams(&does)).await;
        assert!(text.contains("handle"), "{does}: {text}");
    }
}

#[tokio::test]
async fn a_handle_of_one_kind_is_none_of_another() {
    let text = traps(&streams("(call $drop (call $subscribe (i64.const 1)))")).await;
    assert!(text.contains("handle"), "{text}");
    let text = traps(&streams("(call $drop_pollable (call $stderr))")).await;
    assert!(text.contains("handle"), "{text}");
}

#[tokio::test]
async fn handles_are_not_hoarded() {
    let hoards = "(loop $more (drop (call $stderr)) (br $more))";
    let text = traps(&streams(hoards)).await;
    assert!(text.contains("table"), "{text}");
}

/// Keeps `before` in the chat, and asks for it while its allocator does `meanwhile`.
fn allocating(meanwhile: &str) -> (Guest, Call) {
    let guest = Guest {
        realloc: format!("(if (global.get $inside) (then {meanwhile}))"),
        ..Guest::doing(
            "(global.set $inside (i32.const 1))
             (call $get (i32.const 1024) (i32.const 1) (i32.const 2048))",
        )
    };
    let guest = guest
        .with_module("(global $inside (mut i32) (i32.const 0)) (data (i32.const 1024) \"k\")")
        .importing(
            "import carillon:plugin/kv@0.1.0;",
            "(import \"carillon:plugin/kv@0.1.0\" \"get\" (func $get (param i32 i32 i32)))",
        );
    let notes = Arc::new(Notes::from([("k".to_owned(), b"before".to_vec())]));
    (guest, Call { notes, ..call() })
}

/// The host calls the guest's allocator while the guest waits for the host.
#[tokio::test]
async fn a_loop_inside_a_host_call_ends_with_the_fuel_and_with_the_deadline() {
    let (guest, call) = allocating("(loop $again (br $again))");
    let limits = LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    assert_eq!(fails(limits, &guest, &call).await, Failure::Fuel { fuel: 1_000_000 });
    let deadline = Some(Duration::from_millis(20));
    let limits = LimitsWanted { fuel: Some(PATIENT.fuel), deadline, memory: None };
    assert_eq!(fails(limits, &guest, &call).await, Failure::Deadline { deadline_ms: 20 });
}

#[tokio::test]
async fn a_host_call_inside_a_host_call_is_a_trap() {
    let again = "(call $get (i32.const 1024) (i32.const 1) (i32.const 2048))";
    let (guest, call) = allocating(again);
    let failure = fails(spec(Vec::new()).limits, &guest, &call).await;
    let Failure::Trap { text } = failure else { panic!("{failure:?}") };
    assert!(text.contains("leave"), "{text}");
}

#[tokio::test]
async fn an_allocator_that_points_outside_is_a_bad_answer() {
    let (guest, call) = allocating("(return (i32.const 0x7ffffff8))");
    let failure = fails(spec(Vec::new()).limits, &guest, &call).await;
    assert!(matches!(failure, Failure::BadOutput { .. } | Failure::Trap { .. }), "{failure:?}");
}

/// Earlier messages that nobody ever finds.
#[derive(Debug)]
struct Never;

impl Past for Never {
    fn before(&self, _at: Cursor, _limit: usize) -> Later<'_, Option<Vec<Earlier>>> {
        Box::pin(std::future::pending())
    }
}

/// Neither fuel nor epochs count while a guest waits for the host.
#[tokio::test]
async fn a_host_call_that_does_not_come_back_ends_with_the_deadline() {
    let guest =
        Guest::doing("(call $before (i64.const 9) (i64.const 9) (i32.const 2) (i32.const 2048))")
            .importing(
                "import carillon:plugin/history@0.1.0;",
                "(import \"carillon:plugin/history@0.1.0\" \"before\"
           (func $before (param i64 i64 i32 i32)))",
            );
    let past: Option<Arc<dyn Past>> = Some(Arc::new(Never));
    let deadline = Some(Duration::from_millis(20));
    let limits = LimitsWanted { deadline, ..LimitsWanted::default() };
    let failure = fails(limits, &guest, &Call { past, ..call() }).await;
    assert_eq!(failure, Failure::Deadline { deadline_ms: 20 });
}
