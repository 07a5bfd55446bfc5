//! Guests with bad habits. Each test ends with a good plugin of the same host, which must not notice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test says that it failed")]

mod case;
#[path = "../../../tests/src/guests.rs"]
#[expect(unreachable_pub, reason = "the harness shares it with other crates' tests")]
mod guests;

use std::time::Duration;

use case::{HOST, PATIENT, load, say, spec};
use guests::Guest;
use plugin::{Failure, Host, HostConfig, Limits, LimitsWanted, LoadError, Spec, Verdict};

/// A plugin that passes answers as ever.
async fn others_do_not_notice() {
    let good = load(spec(Guest::default().build())).await.unwrap();
    assert_eq!(say(&good, "hello").await.unwrap().verdict, Verdict::Pass);
}

/// Loads `guest` under `limits` and lets it fail on a message, twice: a failure leaves nothing behind.
async fn fails_under(limits: LimitsWanted, guest: Guest) -> Failure {
    let plugin = load(Spec { limits, ..spec(guest.build()) }).await.unwrap();
    let failure = say(&plugin, "hello").await.unwrap_err();
    let again = say(&plugin, "hello").await.unwrap_err();
    assert_eq!(failure.name(), again.name());
    assert_eq!(plugin.counts(), (2, 2));
    others_do_not_notice().await;
    failure
}

async fn fails(guest: Guest) -> Failure {
    fails_under(spec(Vec::new()).limits, guest).await
}

/// Offers `component` and is refused.
async fn is_refused(component: Vec<u8>) -> LoadError {
    let refusal = load(spec(component)).await.unwrap_err();
    others_do_not_notice().await;
    refusal
}

const LOOP: &str = "(loop $again (br $again))";

#[tokio::test]
async fn a_trap_fails_one_call_and_says_on_what() {
    let Failure::Trap { text } = fails(Guest::doing("unreachable")).await else { panic!() };
    assert!(text.contains("unreachable"), "{text}");
}

#[tokio::test]
async fn a_division_by_zero_and_a_pointer_outside_are_traps() {
    let zero = "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 8))))";
    assert!(matches!(fails(Guest::doing(zero)).await, Failure::Trap { .. }));
    let outside = "(drop (i32.load (i32.const 0x7fffffff)))";
    assert!(matches!(fails(Guest::doing(outside)).await, Failure::Trap { .. }));
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_fuel() {
    let limits = LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    let failure = fails_under(limits, Guest::doing(LOOP)).await;
    assert_eq!(failure, Failure::Fuel { fuel: 1_000_000 });
}

#[tokio::test]
async fn an_endless_loop_ends_with_its_deadline() {
    let deadline = Some(Duration::from_millis(20));
    let limits = LimitsWanted { fuel: Some(PATIENT.fuel), deadline, memory: None };
    let failure = fails_under(limits, Guest::doing(LOOP)).await;
    assert_eq!(failure, Failure::Deadline { deadline_ms: 20 });
}

#[tokio::test]
async fn a_loop_gives_others_their_turn_and_can_be_abandoned() {
    let limits = LimitsWanted { fuel: Some(PATIENT.fuel), ..spec(Vec::new()).limits };
    let looping = load(Spec { limits, ..spec(Guest::doing(LOOP).build()) }).await.unwrap();
    // One thread for both: the loop has it first, and is dropped where it stands.
    tokio::select! {
        biased;
        ended = say(&looping, "hello") => panic!("it has a minute: {ended:?}"),
        () = others_do_not_notice() => {}
    }
    others_do_not_notice().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_every_instance_busy_is_told_so_in_time() {
    let config = HostConfig { ceiling: PATIENT, calls_max: 1, ..HostConfig::default() };
    let host = Host::new(config).unwrap();
    let limits = LimitsWanted { fuel: Some(PATIENT.fuel), ..spec(Vec::new()).limits };
    let looping = host.load(Spec { limits, ..spec(Guest::doing(LOOP).build()) }).await.unwrap();
    let hurried = LimitsWanted { deadline: Some(Duration::from_millis(5)), ..limits };
    let good = Spec { limits: hurried, ..spec(Guest::default().build()) };
    let good = host.load(good).await.unwrap();
    tokio::select! {
        biased;
        ended = say(&looping, "hello") => panic!("it has a minute: {ended:?}"),
        failure = say(&good, "hello") => assert_eq!(failure.unwrap_err(), Failure::Busy),
    }
    // The slot is free again when the call that had it is gone.
    let patient = host.load(spec(Guest::default().build())).await.unwrap();
    assert_eq!(say(&patient, "hello").await.unwrap().verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_memory_bomb_is_told_apart_from_other_traps() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
    let limits = LimitsWanted { memory: Some(4 << 20), ..spec(Vec::new()).limits };
    let failure = fails_under(limits, Guest::doing(&format!("{grow} unreachable"))).await;
    let Failure::Memory { memory_bytes, text } = failure else { panic!("{failure:?}") };
    assert_eq!(memory_bytes, 4 << 20);
    assert!(text.contains("unreachable"), "{text}");

    // Being refused memory is no failure for a guest that can do without.
    let modest = load(Spec { limits, ..spec(Guest::doing(grow).build()) }).await.unwrap();
    assert_eq!(say(&modest, "hello").await.unwrap().verdict, Verdict::Pass);
}

#[tokio::test]
async fn memory_that_is_refused_once_is_given_in_smaller_pieces() {
    let guest = Guest::doing(
        "(if (i32.ne (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))
         (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))",
    );
    let limits = LimitsWanted { memory: Some(1 << 20), ..spec(Vec::new()).limits };
    let plugin = load(Spec { limits, ..spec(guest.build()) }).await.unwrap();
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_guest_that_begins_with_too_much_memory_is_not_loaded() {
    // More than its limit, and more than any limit can be.
    let limits = LimitsWanted { memory: Some(1 << 20), ..spec(Vec::new()).limits };
    let greedy = Spec { limits, ..spec(Guest::default().with_pages(17).build()) };
    let refusal = load(greedy).await.unwrap_err();
    let LoadError::CheckConfig { source: Failure::Memory { .. }, .. } = refusal else {
        panic!("{refusal:?}")
    };
    let refusal = is_refused(Guest::default().with_pages(2_000).build()).await;
    assert!(matches!(refusal, LoadError::NotAComponent { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() {
    let deep = Guest::doing("(drop (call $on_message (i32.const 0)))");
    let Failure::Trap { text } = fails(deep).await else { panic!() };
    assert!(text.contains("stack"), "{text}");
}

/// A guest that rejects with a reason code of `bytes` at `at`, of which it has `pages` of memory.
fn rejecting(at: u32, bytes: u32, pages: u32) -> Guest {
    let answer = format!(
        "(i32.store8 (i32.const 68) (i32.const 3))
         (i32.store (i32.const 72) (i32.const {at}))
         (i32.store (i32.const 76) (i32.const {bytes}))"
    );
    Guest::doing(&answer).with_pages(pages)
}

async fn bad_output(guest: Guest) -> String {
    match fails(guest).await {
        Failure::BadOutput { text } => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn output_that_is_too_large_is_not_carried() {
    let text = bad_output(rejecting(65_536, 16_000_000, 300)).await;
    assert!(text.contains("hostcalls"), "{text}");
    let text = bad_output(rejecting(1024, 65, 2)).await;
    assert!(text.contains("65 is more than 64"), "{text}");
}

#[tokio::test]
async fn a_rewrite_beyond_the_size_of_a_message_is_bad_output() {
    let guest = Guest::doing(
        "(i32.store8 (i32.const 68) (i32.const 2))
         (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 9))
         (i32.store (i32.const 80) (i32.const 65536)) (i32.store (i32.const 84) (i32.const 65537))",
    );
    let guest = guest.with_module("(data (i32.const 1024) \"image/png\")").with_pages(3);
    let text = bad_output(guest).await;
    assert!(text.contains("65537 is more than 65536"), "{text}");
}

#[tokio::test]
async fn more_notes_than_a_message_may_have_are_bad_output() {
    let notes =
        "(i32.store (i32.const 96) (i32.const 2048)) (i32.store (i32.const 100) (i32.const 65))";
    let text = bad_output(Guest::doing(notes)).await;
    assert!(text.contains("65 is more than 64"), "{text}");
}

#[tokio::test]
async fn output_that_cannot_be_read_is_bad_output() {
    let not_utf8 = "(data (i32.const 1024) \"\\ff\\fe\")";
    let text = bad_output(rejecting(1024, 2, 2).with_module(not_utf8)).await;
    assert!(text.contains("utf-8"), "{text}");
    let text = bad_output(rejecting(1024, 0x7fff_ffff, 2)).await;
    assert!(text.contains("out of bounds"), "{text}");
    bad_output(Guest::doing("(i32.store8 (i32.const 68) (i32.const 99))")).await;
    bad_output(Guest::doing("(i32.store8 (i32.const 64) (i32.const 2))")).await;
    let text = bad_output(rejecting(1024, 0, 2)).await;
    assert!(text.contains("code"), "{text}");
}

#[tokio::test]
async fn a_guest_may_say_that_it_cannot_decide() {
    let refuses = Guest::doing(
        "(i32.store8 (i32.const 64) (i32.const 1))
         (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const 4))
         (i32.store8 (i32.const 84) (i32.const 1))",
    );
    let failure = fails(refuses.with_module("(data (i32.const 1024) \"busy\")")).await;
    assert!(failure.retryable());
    let (code, detail) = ("busy".to_owned(), String::new());
    assert_eq!(failure, Failure::Refused { code, detail, retryable: true });
}

#[tokio::test]
async fn a_flood_of_host_calls_ends_with_the_fuel() {
    let flood = "(loop $again
       (call $emit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
       (br $again))";
    let limits = LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    let failure = fails_under(limits, Guest::doing(flood)).await;
    assert_eq!(failure, Failure::Fuel { fuel: 1_000_000 });

    let flood = "(loop $again (call $keep (i32.const 0) (i32.const 64)) (br $again))";
    let failure = fails_under(limits, Guest::doing(flood).keeping()).await;
    assert_eq!(failure, Failure::Fuel { fuel: 1_000_000 });
}

#[tokio::test]
async fn one_line_of_log_cannot_carry_more_than_the_guest_has() {
    // 65,536 fields, each of which points at the same mebibyte of text.
    let amplified = Guest::doing(
        "(local $i i32)
         (loop $next
           (i32.store (i32.add (i32.const 2097152) (i32.mul (local.get $i) (i32.const 16)))
             (i32.const 65536))
           (i32.store (i32.add (i32.const 2097156) (i32.mul (local.get $i) (i32.const 16)))
             (i32.const 1048576))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $next (i32.lt_u (local.get $i) (i32.const 65536))))
         (call $emit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2097152)
           (i32.const 65536))",
    );
    let text = bad_output(amplified.with_pages(64)).await;
    assert!(text.contains("hostcalls"), "{text}");
}

#[tokio::test]
async fn bytes_that_are_no_component_are_refused() {
    let whole = Guest::default().build();
    let module = wat::parse_str("(module)").unwrap();
    for (bytes, why) in [
        (Vec::new(), ""),
        (b"hello".to_vec(), "magic"),
        (whole[..whole.len() / 2].to_vec(), "unexpected end"),
        (module, "module"),
    ] {
        let refusal = is_refused(bytes).await;
        let LoadError::NotAComponent { text, .. } = refusal else { panic!("{refusal:?}") };
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_component_built_for_another_contract_is_found_when_it_is_loaded() {
    // The export is there under its name, so that asking for it finds it: only its type is another.
    let ours = "record rejection { code: string, reason: string, ";
    let theirs = "record rejection { code: string, reason: string, severity: u32, ";
    let refusal = is_refused(Guest::default().built_against(ours, theirs).build()).await;
    let LoadError::Shape { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("message-handler") && text.contains("reject"), "{text}");
}

#[tokio::test]
async fn an_import_of_another_shape_is_refused() {
    let theirs = "text: func(key: string, language: string) -> option<string>;";
    let guest = Guest::default()
        .importing(
            "import carillon:plugin/settings@0.1.0;",
            "(import \"carillon:plugin/settings@0.1.0\" \"text\"
               (func $text (param i32 i32 i32 i32 i32)))",
        )
        .built_against("text: func(key: string) -> option<string>;", theirs);
    let refusal = is_refused(guest.build()).await;
    let LoadError::Shape { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("settings"), "{text}");
}

#[tokio::test]
async fn a_component_without_a_handler_is_no_plugin() {
    let lifecycle = "export carillon:plugin/lifecycle@0.1.0;".to_owned();
    let handler = "(param i32) (result i32)".to_owned();
    let guest = Guest { exports: lifecycle, handler, ..Guest::default() };
    let refusal = is_refused(guest.build()).await;
    let LoadError::Shape { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("message-handler"), "{text}");
}

#[tokio::test]
async fn a_start_function_that_loops_is_found_when_it_is_loaded() {
    let guest = Guest::default().with_module(&format!("(func $begin {LOOP}) (start $begin)"));
    let limits = LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    let refusal = load(Spec { limits, ..spec(guest.build()) }).await.unwrap_err();
    let LoadError::CheckConfig { source, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(source, Failure::Fuel { fuel: 1_000_000 });
    others_do_not_notice().await;
}

#[tokio::test]
async fn a_check_of_the_configuration_that_fails_keeps_the_plugin_out() {
    let guest = Guest { check_config: "unreachable".to_owned(), ..Guest::default() };
    let refusal = is_refused(guest.build()).await;
    let LoadError::CheckConfig { source: Failure::Trap { .. }, .. } = refusal else {
        panic!("{refusal:?}")
    };
}

#[tokio::test]
async fn limits_are_never_above_the_ceiling() {
    let ceiling =
        Limits { fuel: 500_000, deadline: Duration::from_secs(30), memory_bytes: 2 << 20 };
    let host = Host::new(HostConfig { ceiling, calls_max: 2, ..HostConfig::default() }).unwrap();
    let limits = LimitsWanted {
        fuel: Some(u64::MAX),
        deadline: Some(Duration::MAX),
        memory: Some(u64::MAX),
    };
    let plugin = host.load(Spec { limits, ..spec(Guest::doing(LOOP).build()) }).await.unwrap();
    assert_eq!(plugin.limits(), ceiling);
    assert_eq!(say(&plugin, "hello").await.unwrap_err(), Failure::Fuel { fuel: 500_000 });
}

#[tokio::test]
async fn a_component_that_is_too_big_is_not_even_read() {
    let refusal = HOST.load(spec(vec![0; (64 << 20) + 1])).await.unwrap_err();
    assert!(matches!(refusal, LoadError::TooLarge { .. }), "{refusal:?}");
}
