//! Guests without a compiler: components written as text, one habit each.
//!
//! A guest is a core module in WAT with the plumbing that every component needs (memory, allocator,
//! `check-config`), and a body for `on-message`. The answer's place is address 64: 0 there means a
//! decision, the verdict's case stands at 68, its first payload (a reason code, a media type) at 72 and
//! 76, its second at 80 and 84, the notes at 96 and 100, the refusal of a failing guest at 68. Everything
//! starts as zeros, which is `pass` without notes. Addresses 1024 to 4095 are free for data.

#![expect(clippy::expect_used, reason = "a guest that cannot be built is a mistake in a test")]

use std::fs;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A guest under construction.
#[derive(Clone, Debug)]
pub struct Guest {
    /// What `on-message` does before it answers.
    pub on_message: String,
    /// What `check-config` does before it answers an empty list; its result is at address 16.
    pub check_config: String,
    /// More of the module: functions, data, a start function.
    pub module: String,
    /// What the allocator does first, which the host calls to hand something over.
    pub realloc: String,
    /// Core imports, in WAT.
    pub imports: String,
    /// Imports of the world, in WIT, beside `log`.
    pub world: String,
    /// Pages of memory at the start.
    pub pages: u32,
    /// Exports of the world, in WIT.
    pub exports: String,
    /// The name and type under which the core module exports its handler.
    pub handler: String,
    /// What our WIT says, and what the one says that the guest was built against.
    pub contract: Option<(&'static str, &'static str)>,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            on_message: String::new(),
            check_config: String::new(),
            module: String::new(),
            realloc: String::new(),
            imports: String::new(),
            world: String::new(),
            pages: 2,
            exports: "export carillon:plugin/lifecycle@0.1.0; \
                      export carillon:plugin/message-handler@0.1.0;"
                .to_owned(),
            handler: "(export \"carillon:plugin/message-handler@0.1.0#on-message\") \
                      (param i32) (result i32)"
                .to_owned(),
            contract: None,
        }
    }
}

impl Guest {
    /// A guest that does `on_message`, then passes.
    pub fn doing(on_message: &str) -> Self {
        Self { on_message: on_message.to_owned(), ..Self::default() }
    }

    /// With more of the module.
    #[must_use]
    pub fn with_module(mut self, module: &str) -> Self {
        self.module.push_str(module);
        self
    }

    /// With an import: the world's line and the core module's.
    #[must_use]
    pub fn importing(mut self, world: &str, core: &str) -> Self {
        self.world.push_str(world);
        self.imports.push_str(core);
        self
    }

    /// That can keep notes: `$keep` sets the note whose key is the text at 1024, one byte long, to what
    /// is at the pointer and as long as it is told.
    #[must_use]
    pub fn keeping(self) -> Self {
        self.importing(
            "import carillon:plugin/kv@0.1.0;",
            "(import \"carillon:plugin/kv@0.1.0\" \"set\"
               (func $kv_set (param i32 i32 i32 i32 i32)))",
        )
        .with_module(
            "(data (i32.const 1024) \"k\")
             (func $keep (param $at i32) (param $bytes i32)
               (call $kv_set (i32.const 1024) (i32.const 1)
                 (local.get $at) (local.get $bytes) (i32.const 512)))",
        )
    }

    /// Built against another contract than ours: what says `ours` there says `theirs`.
    #[must_use]
    pub fn built_against(self, ours: &'static str, theirs: &'static str) -> Self {
        Self { contract: Some((ours, theirs)), ..self }
    }

    /// With that many pages of memory at the start.
    #[must_use]
    pub fn with_pages(self, pages: u32) -> Self {
        Self { pages, ..self }
    }

    /// The component.
    ///
    /// # Panics
    /// When the text is not a module, or does not fit its world: a mistake in a test.
    pub fn build(&self) -> Vec<u8> {
        let mut core = wat::parse_str(self.core()).expect("the guest's WAT is right");
        let mut resolve = Resolve::default();
        for (name, text) in STUBS {
            resolve.push_str(name, text).expect("the stub's WIT is right");
        }
        resolve.push_str("carillon.wit", &self.contract()).expect("the contract is right");
        let world = format!(
            "package test:guest; world guest {{ import carillon:plugin/log@0.1.0; {} {} }}",
            self.world, self.exports
        );
        let package = resolve.push_str("guest.wit", &world).expect("the guest's world is right");
        let world = resolve.select_world(&[package], Some("guest")).expect("it has one world");
        embed_component_metadata(&mut core, &resolve, world, StringEncoding::UTF8)
            .expect("the world can be embedded");
        ComponentEncoder::default()
            .module(&core)
            .and_then(|mut encoder| encoder.encode())
            .expect("the module fits its world")
    }

    /// Our WIT in one text, or that of the contract the guest was built against.
    fn contract(&self) -> String {
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("wit"));
        let wit = wit.into_iter().find(|path| path.join("worlds.wit").exists());
        let wit = wit.expect("the repository has a folder wit");
        let header = "package carillon:plugin@0.1.0;";
        let mut text = header.to_owned();
        for file in ["types.wit", "imports.wit", "exports.wit"] {
            let file = fs::read_to_string(wit.join(file)).expect("the file is there");
            text.push_str(file.strip_prefix(header).expect("each file begins with the package"));
        }
        if let Some((ours, theirs)) = self.contract {
            let changed = text.replace(ours, theirs);
            assert_ne!(changed, text, "our WIT does not say what is replaced");
            text = changed;
        }
        text
    }

    /// The core module alone, as text.
    pub fn core(&self) -> String {
        let Self { on_message, check_config, module, realloc, imports, pages, handler, .. } = self;
        format!(
            r#"(module
  (import "carillon:plugin/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))
  {imports}
  (memory (export "memory") {pages})
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $n i32) (param $align i32) (param $new i32)
    (result i32) (local $p i32)
    {realloc}
    (local.set $p (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $p) (local.get $new)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1) (memory.grow
        (i32.add (i32.const 1) (i32.shr_u (local.get $new) (i32.const 16))))))
      unreachable)
    (local.get $p))
  {module}
  (func (export "carillon:plugin/lifecycle@0.1.0#check-config") (param i32 i32) (result i32)
    {check_config}
    (i32.const 16))
  (func $on_message {handler}
    {on_message}
    (i32.const 64)))"#
        )
    }
}

/// What guests import of WASI here; `wasi:http` is what nobody gives them.
const STUBS: [(&str, &str); 6] = [
    ("http.wit", "package wasi:http@0.2.0; interface outgoing-handler { handle: func() -> u32; }"),
    (
        "io.wit",
        "package wasi:io@0.2.0; \
         interface error { resource error; } \
         interface poll { resource pollable { ready: func() -> bool; block: func(); } } \
         interface streams { \
           use error.{error}; \
           variant stream-error { last-operation-failed(error), closed } \
           resource output-stream { \
             blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; \
           } \
         }",
    ),
    (
        "clocks.wit",
        "package wasi:clocks@0.2.0; \
         interface wall-clock { \
           record datetime { seconds: u64, nanoseconds: u32 } \
           now: func() -> datetime; \
         } \
         interface monotonic-clock { \
           use wasi:io/poll@0.2.0.{pollable}; \
           subscribe-duration: func(when: u64) -> pollable; \
         }",
    ),
    (
        "random.wit",
        "package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }",
    ),
    (
        "cli.wit",
        "package wasi:cli@0.2.0; \
         interface stderr { \
           use wasi:io/streams@0.2.0.{output-stream}; \
           get-stderr: func() -> output-stream; \
         }",
    ),
    (
        "sockets.wit",
        "package wasi:sockets@0.2.0; \
         interface network { \
           resource network; \
           enum ip-address-family { ipv4, ipv6 } \
           enum error-code { unknown, access-denied, not-supported, invalid-argument, \
             out-of-memory, timeout, concurrency-conflict, not-in-progress, would-block, \
             invalid-state, new-socket-limit, address-not-bindable, address-in-use, \
             remote-unreachable, connection-refused, connection-reset, connection-aborted, \
             datagram-too-large, name-unresolvable, temporary-resolver-failure, \
             permanent-resolver-failure } \
         } \
         interface tcp { resource tcp-socket; } \
         interface tcp-create-socket { \
           use network.{error-code, ip-address-family}; use tcp.{tcp-socket}; \
           create-tcp-socket: func(address-family: ip-address-family) \
             -> result<tcp-socket, error-code>; \
         } \
         interface udp { resource udp-socket; } \
         interface udp-create-socket { \
           use network.{error-code, ip-address-family}; use udp.{udp-socket}; \
           create-udp-socket: func(address-family: ip-address-family) \
             -> result<udp-socket, error-code>; \
         } \
         interface instance-network { \
           use network.{network}; instance-network: func() -> network; \
         } \
         interface ip-name-lookup { \
           use network.{network, error-code}; resource resolve-address-stream; \
           resolve-addresses: func(network: borrow<network>, name: string) \
             -> result<resolve-address-stream, error-code>; \
         }",
    ),
];
