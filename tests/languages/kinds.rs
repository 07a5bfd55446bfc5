//! What `plugin new` leaves, of every kind in every language: built and played as it is. The handlers of
//! messages are the examples.

use std::path::Path;

use serde_json::Value;

use crate::authors::begin_kind;
use crate::{built, carillon, err, out, played};

/// Begins, builds and plays a plugin of each kind.
fn begun(language: &str, kinds: &[&str]) {
    let parent = tempfile::tempdir().expect("a folder");
    for kind in kinds {
        let folder = begin_kind(parent.path(), &format!("my-{kind}"), language, kind);
        if !built(language, &folder) {
            return;
        }
        let told = played(&folder);
        let steps = told["fixtures"][0]["steps"].as_array().map_or(0, Vec::len);
        assert!(steps >= 3, "{told}");
    }
}

#[test]
fn rust_begins_with_every_kind() {
    begun("rust", &["events", "twilio", "callback", "policy"]);
}

#[test]
fn javascript_begins_with_every_kind() {
    begun("js", &["message", "events", "twilio", "callback", "policy"]);
}

#[test]
fn python_begins_with_events() {
    begun("python", &["events"]);
}

#[test]
fn c_begins_with_messages_and_events() {
    begun("c", &["message", "events"]);
}

#[test]
fn go_begins_with_events() {
    begun("go", &["events"]);
}

/// A plugin that keeps messages back, looks at its own holds, and lets go what somebody vouches for.
const CENSOR: &str = r"
import { dropHeld, release } from 'carillon:plugin/chat-control@0.1.0';
import * as kv from 'carillon:plugin/kv@0.1.0';
import { send } from 'carillon:plugin/post@0.1.0';

const encode = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const decode = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');

export const lifecycle = { checkConfig: () => [] };

export const messageHandler = {
  onMessage(context, message) {
    const text = decode(message.content.body);
    const held = kv.get('held');
    if (text === 'let it go' && held) {
      release(decode(held));
    } else if (text === 'drop it' && held) {
      dropHeld(decode(held), 'not here');
    } else if (text.includes('secret')) {
      kv.set('held', encode(message.id));
      const hold = { reason: 'somebody looks at it', deadlineMs: 5000, acceptOnDeadline: text.includes('small') };
      return { verdict: { tag: 'hold', val: hold }, notes: [] };
    }
    return { verdict: { tag: 'pass' }, notes: [] };
  },
};

export const chatEvents = {
  onEvent(context, event) {
    if (event.name !== 'hold.expired') return;
    const content = { mediaType: 'text/plain', body: encode('nobody looked at it') };
    send({ kind: 'text', route: { tag: 'only', val: [event.subject.id] }, content, attrs: [] });
  },
};
";

const HOLDS: &str = r#"
[[members]]
id = "alice"

[[step]]
from = "alice"
text = "a secret"
[step.expect]
verdict = "hold"
answer = "held"
reason = "somebody looks at it"

[[step]]
after_ms = 4_999
[step.expect]
events = []

[[step]]
after_ms = 1
[step.expect]
events = ["hold.expired alice outcome=dropped"]
effects = ["post text to alice: nobody looked at it"]

[[step]]
from = "alice"
text = "a small secret"
[step.expect]
answer = "held"

[[step]]
after_ms = 60_000
[step.expect]
events = ["hold.expired alice outcome=accepted"]

[[step]]
from = "alice"
text = "a secret"
[step.expect]
answer = "held"

[[step]]
from = "alice"
text = "let it go"
[step.expect]
verdict = "pass"
answer = "stored"

# It was let go: nothing ends.
[[step]]
after_ms = 60_000
[step.expect]
events = []
effects = []
"#;

#[test]
fn what_is_held_ends_by_itself_or_is_let_go_and_both_are_played() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = begin_kind(parent.path(), "censor", "js", "message");
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("it is written");
    write(&folder.join("plugin.js"), CENSOR);
    write(&folder.join("tests/censor.toml"), HOLDS);
    let manifest = "name = \"censor\"\nversion = \"1\"\nlanguage = \"js\"\n\
                    kinds = [\"message\", \"events\"]\n[asks]\nkv = { bytes = \"1KiB\" }\n\
                    post = true\nchat-control = true\n";
    write(&folder.join("plugin.toml"), manifest);
    if !built("js", &folder) {
        return;
    }
    let told = played(&folder);
    let steps = told["fixtures"][0]["steps"].as_array().cloned().unwrap_or_default();
    assert_eq!(steps.len(), 8, "{told}");
    assert!(steps.iter().all(|step| step["seen"]["answer"] != Value::Null), "{told}");

    // A handler that fails when it is told says so, and asks for nothing.
    let dir = folder.display().to_string();
    let failing = carillon(&["test", &dir, "--fault", "trap", "--on-failure", "skip", "--json"]);
    assert_eq!(failing.status.code(), Some(0), "{}{}", out(&failing), err(&failing));
    assert!(!out(&failing).contains("post text"), "{}", out(&failing));
}
