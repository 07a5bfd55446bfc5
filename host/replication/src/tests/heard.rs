//! What this thread has logged and counted, for tests of refusals: somebody has to be able to read why.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Subscriber};

use super::PATIENCE;

/// Lines and counters of the thread that made it, as long as it lives.
pub(super) struct Heard {
    ears: Arc<Ears>,
    _lines: DefaultGuard,
    _counters: ::metrics::LocalRecorderGuard<'static>,
}

#[derive(Default)]
struct Ears {
    lines: Mutex<Vec<String>>,
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Heard {
    pub(super) fn start() -> Self {
        let ears = Arc::new(Ears::default());
        // A recorder is borrowed for as long as it is used; a test's few bytes may as well stay.
        let recorder: &'static Counting = Box::leak(Box::new(Counting(Arc::clone(&ears))));
        Self {
            _lines: tracing::subscriber::set_default(Listening(Arc::clone(&ears))),
            _counters: ::metrics::set_default_local_recorder(recorder),
            ears,
        }
    }

    /// Waits until each of `words` stands in some line.
    pub(super) async fn until(&self, words: &[&str]) {
        let told = |words: &str| self.lines().iter().any(|line| line.contains(words));
        let all = async {
            while !words.iter().all(|words| told(words)) {
                tokio::task::yield_now().await;
            }
        };
        let heard = runtime::timeout(PATIENCE, all).await;
        assert!(heard.is_ok(), "{words:?} in {:#?}", self.lines());
    }

    /// The sum of the counters of this name.
    pub(super) fn counted(&self, name: &str) -> u64 {
        let counters = self.ears.counters.lock().unwrap();
        let named = counters.iter().filter(|(key, _)| key.as_str() == name);
        named.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
    }

    fn lines(&self) -> Vec<String> {
        self.ears.lines.lock().unwrap().clone()
    }
}

impl Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lines()).finish()
    }
}

struct Listening(Arc<Ears>);

impl Subscriber for Listening {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("replication")
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lines.lock().unwrap().push(line.0);
    }
}

/// All fields of one event.
struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {}={value}", field.name()).unwrap();
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

struct Counting(Arc<Ears>);

impl Recorder for Counting {
    fn describe_counter(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_gauge(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}
    fn describe_histogram(&self, _name: KeyName, _unit: Option<Unit>, _text: SharedString) {}

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        let mut counters = self.0.counters.lock().unwrap();
        let count = counters.entry(key.name().to_owned()).or_default();
        Counter::from_arc(Arc::clone(count))
    }

    fn register_gauge(&self, _key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
