//! A chat with one person in it, a message, and a host that every test of a file shares.

#![expect(clippy::unwrap_used, reason = "this is only used by tests")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use model::{Attrs, Body, ChatStatus, ChatToken, Cursor, Message, MessageId, Participant, Route};
use plugin::{
    Call, Context, Failure, Grant, HistoryGrant, Host, HostConfig, Ids, KvGrant, Limits,
    LimitsWanted, LoadError, Notes, Plugin, Reply, Said, Spec,
};

/// Limits that a busy machine does not reach by being busy.
pub(crate) const PATIENT: Limits =
    Limits { fuel: 1 << 40, deadline: Duration::from_secs(60), memory_bytes: 64 << 20 };

/// One engine for all tests of a process, as for all nodes of one.
pub(crate) static HOST: LazyLock<Host> = LazyLock::new(|| {
    let config = HostConfig { ceiling: PATIENT, calls_max: 32, ..HostConfig::default() };
    Host::new(config).unwrap()
});

/// A plugin that may do everything, and has time.
pub(crate) fn spec(component: impl Into<Bytes>) -> Spec {
    Spec {
        name: "guest".to_owned(),
        component: component.into(),
        config: serde_json::json!({}),
        grant: everything(),
        limits: LimitsWanted { deadline: Some(PATIENT.deadline), ..LimitsWanted::default() },
        on_failure: None,
    }
}

/// Every grant there is.
pub(crate) fn everything() -> Grant {
    Grant {
        log: true,
        roster: true,
        post: true,
        chat_control: true,
        timers: true,
        outcall: vec!["crm".to_owned()],
        kv: Some(KvGrant { bytes: 4096 }),
        history: Some(HistoryGrant { messages: 20 }),
        recall: true,
        metrics: true,
    }
}

/// Loads it on the shared host.
pub(crate) async fn load(spec: Spec) -> Result<Arc<Plugin>, LoadError> {
    HOST.load(spec).await
}

/// Alice.
pub(crate) fn alice() -> Participant {
    Participant {
        id: "alice".to_owned(),
        role: "caller".to_owned(),
        status: "connected".to_owned(),
        heard_ms: 1_000,
        ordinal: 1,
        attrs: Attrs::new(),
    }
}

const CHAT: ChatToken = ChatToken([7; 16]);

/// A call in a started chat in which Alice is.
pub(crate) fn call() -> Call {
    Call {
        context: Context {
            chat: CHAT,
            head: Cursor { epoch: 3, seq: 4 },
            now_ms: 1_700_000_000_000,
            status: ChatStatus::Started,
            started_ms: Some(1_699_999_999_000),
            max_duration_ms: None,
            max_participants: Some(2),
            participants: 1,
            chat_attrs: Arc::new(Attrs::new()),
        },
        roster: Arc::new([alice()].into_iter().collect()),
        notes: Arc::new(Notes::new()),
        waiting: None,
        decisions: None,
        past: None,
        ids: Ids { partition: 9, chat: CHAT, epoch: 3, turn: 5, next_index: 1 },
        seed: 42,
    }
}

/// What Alice says in it.
pub(crate) fn said(kind: &str, body: Body) -> Said {
    let message = Message {
        id: MessageId::derive(9, CHAT, 3, 5, 0),
        sender: "alice".to_owned(),
        kind: kind.to_owned(),
        route: Route::Everyone,
        body,
        archive: None,
        attrs: Attrs::new(),
        time_ms: 1_700_000_000_000,
        sent_ms: None,
        stamps: vec![],
    };
    Said { message: Arc::new(message), sender: alice() }
}

/// Alice says `text` to `plugin`.
pub(crate) async fn say(plugin: &Plugin, text: &str) -> Result<Reply, Failure> {
    plugin.on_message(call(), said("text", Body::Text(text.to_owned()))).await
}
