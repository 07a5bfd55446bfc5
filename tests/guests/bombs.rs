//! Components that are small and cost a compiler much.

use std::fmt::Write;
use std::time::Duration;

use plugin::{CompileLimits, LoadError};

use crate::{HOST, host, hurried, is_refused};

/// A component with one function of this body, and a memory.
fn component(locals: usize, body: &str) -> Vec<u8> {
    let locals = "(local i64)".repeat(locals);
    let text = format!(
        "(component (core module (memory 1) (func (export \"f\") (param i32) {locals} {body})))"
    );
    wat::parse_str(text).unwrap()
}

/// Jumps that each lead everywhere: so many edges that it takes a compiler minutes.
pub(crate) fn tables(blocks: usize, jumps: usize) -> Vec<u8> {
    let targets: String = (1..=blocks).fold(String::new(), |text, at| text + &format!("{at} "));
    let mut body = "(block ".repeat(blocks);
    for jump in 0..jumps {
        let _infallible = write!(
            body,
            "(if (i32.load offset={jump} (local.get 0))
               (then (br_table {targets} (i32.load (local.get 0)))))"
        );
    }
    body.push_str(&")".repeat(blocks));
    component(0, &body)
}

/// Values that all stay alive over blocks: memory in proportion to the one times the other.
fn values(count: usize, blocks: usize) -> Vec<u8> {
    let mut body = String::new();
    for value in 1..=count {
        let at = value * 8;
        let _infallible = write!(body, "(local.set {value} (i64.load offset={at} (local.get 0)))");
    }
    for block in 0..blocks {
        let (one, two) = (block * 7_919 % count + 1, block * 104_729 % count + 1);
        let _infallible = write!(
            body,
            "(block (br_if 0 (i32.load offset={block} (local.get 0)))
               (local.set {one} (i64.add (local.get {one}) (local.get {two}))))"
        );
    }
    for value in 1..=count {
        let at = value * 8;
        let _infallible = write!(body, "(i64.store offset={at} (local.get 0) (local.get {value}))");
    }
    component(count, &body)
}

async fn is_too_hard(limits: CompileLimits, component: Vec<u8>) -> String {
    let refusal = is_refused(&host(limits), component).await;
    let LoadError::TooHard { text, .. } = refusal else { panic!("{refusal:?}") };
    text
}

#[tokio::test]
async fn a_bomb_that_takes_time_ends_with_its_processor_time() {
    let text = is_too_hard(hurried(), tables(1_000, 100)).await;
    assert_eq!(text, "compiling it takes more than 1 s of processor time");
}

#[tokio::test]
async fn a_bomb_that_takes_memory_ends_with_its_memory() {
    let bomb = values(5_000, 10_000);
    assert!(bomb.len() < 400 << 10, "{} bytes are no small bomb", bomb.len());
    let text = is_too_hard(CompileLimits::default(), bomb).await;
    assert_eq!(text, "compiling it needs more memory than 1073741824 bytes");
}

/// With the limits as they are, when there is time for it.
#[tokio::test]
async fn the_biggest_bomb_ends_after_a_minute() {
    if std::env::var_os("CARILLON_GUESTS_LONG").is_none() {
        return tests::skipped("the minute of a bomb: set CARILLON_GUESTS_LONG=1");
    }
    let text = is_too_hard(CompileLimits::default(), tables(3_000, 2_000)).await;
    assert_eq!(text, "compiling it takes more than 60 s of processor time");
}

#[tokio::test]
async fn time_on_the_clock_ends_it_too() {
    let limits = CompileLimits { wall: Duration::from_millis(300), ..CompileLimits::default() };
    let refusal = host(limits).load(crate::case::spec(tables(1_000, 100))).await.unwrap_err();
    let LoadError::TooHard { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("took more than"), "{text}");
}

#[tokio::test]
async fn deep_nesting_ends_in_the_child_at_worst() {
    // Blocks in a function, and components in a component, both deeper than anybody's stack.
    let blocks = format!("{}{}", "block ".repeat(20_000), "end ".repeat(20_000));
    for bytes in [component(0, &blocks), nested_components(5_000), nested_components(200_000)] {
        match is_refused(&HOST, bytes).await {
            // A compiler that broke is a child that broke.
            LoadError::NotAComponent { text, .. }
            | LoadError::TooHard { text, .. }
            | LoadError::Compiler { text, .. } => assert!(!text.is_empty()),
            // Being deep is no error: then it lacks a handler.
            LoadError::Shape { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A component in a component in a component, in bytes: whoever writes it as text needs the stack.
fn nested_components(depth: usize) -> Vec<u8> {
    const HEADER: [u8; 8] = [0, b'a', b's', b'm', 13, 0, 1, 0];
    const COMPONENT_SECTION: u8 = 4;
    let mut lengths = vec![(Vec::new(), HEADER.len())];
    for _ in 0..depth {
        let (_, inner) = lengths.last().unwrap();
        let (mut left, mut length) = (*inner, Vec::new());
        while left >= 0x80 {
            length.push(u8::try_from(left % 0x80).unwrap() | 0x80);
            left /= 0x80;
        }
        length.push(u8::try_from(left).unwrap());
        let whole = HEADER.len() + 1 + length.len() + inner;
        lengths.push((length, whole));
    }
    let mut bytes = HEADER.to_vec();
    for (length, _) in lengths.iter().skip(1).rev() {
        bytes.push(COMPONENT_SECTION);
        bytes.extend(length);
        bytes.extend(HEADER);
    }
    bytes
}
