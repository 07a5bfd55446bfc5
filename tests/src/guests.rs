//! Guests without a compiler: components written as text, one habit each.
//!
//! A guest is a core module in WAT with the plumbing that every component needs (memory, allocator,
//! `check-config`), and a body for `on-message`. The answer's place is address 64: 0 there means a
//! decision, the verdict's case stands at 68, its first payload (a reason code) at 72 and 76, the
//! refusal of a failing guest at 68. Everything starts as zeros, which is `pass` without notes.
//! Addresses 1024 to 4095 are free for data.

#![expect(clippy::expect_used, reason = "a guest that cannot be built is a mistake in a test")]

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
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            on_message: String::new(),
            check_config: String::new(),
            module: String::new(),
            imports: String::new(),
            world: String::new(),
            pages: 2,
            exports: "export carillon:plugin/lifecycle@0.1.0; \
                      export carillon:plugin/message-handler@0.1.0;"
                .to_owned(),
            handler: "(export \"carillon:plugin/message-handler@0.1.0#on-message\") \
                      (param i32) (result i32)"
                .to_owned(),
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
    pub fn with_module(self, module: &str) -> Self {
        Self { module: module.to_owned(), ..self }
    }

    /// With an import: the world's line and the core module's.
    #[must_use]
    pub fn importing(mut self, world: &str, core: &str) -> Self {
        self.world.push_str(world);
        self.imports.push_str(core);
        self
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
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("wit"));
        let wit = wit.into_iter().find(|path| path.join("worlds.wit").exists());
        resolve.push_dir(wit.expect("the repository has a folder wit")).expect("our WIT is right");
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

    /// The core module alone, as text.
    pub fn core(&self) -> String {
        let Self { on_message, check_config, module, imports, pages, handler, .. } = self;
        format!(
            r#"(module
  (import "carillon:plugin/log@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))
  {imports}
  (memory (export "memory") {pages})
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $n i32) (param $align i32) (param $new i32)
    (result i32) (local $p i32)
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

/// Packages that guests may want and nobody gives them.
const STUBS: [(&str, &str); 2] = [
    ("http.wit", "package wasi:http@0.2.0; interface outgoing-handler { handle: func() -> u32; }"),
    (
        "sockets.wit",
        "package wasi:sockets@0.2.0; \
         interface network { \
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
         }",
    ),
];
