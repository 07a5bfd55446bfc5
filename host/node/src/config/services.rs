//! `[services.NAME]`: application services that are told what is said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::Dialect;
use outbox::Keep;
use toml::de::DeValue;
use transaction::address::Range;
use transaction::{BatchLimits, EVENTS_MAX, Retry};

use super::read::{FromKey, Reading, Section, text};
use super::units::{Size, Span};
use super::{Config, RegistryKind};
use crate::directory::REGISTRY;

/// The longest body that is cut for one transaction: what receives it must take it in one piece.
const BATCH_BYTES: std::ops::RangeInclusive<Size> = Size(1 << 10)..=Size(4 << 20);

/// Less would be less than one transaction for each of many partitions.
const KEEP_BYTES_MIN: Size = Size(64 << 20);

/// `[services.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Where it is.
    pub url: String,
    /// In whose words it is spoken to.
    pub dialect: Dialect,
    /// The file with the token that a Matrix service expects.
    pub token_file: PathBuf,
    /// The file with the key that signs for a webhook.
    pub secret_file: PathBuf,
    /// The files of secrets that calls of plugins can name.
    pub secrets: BTreeMap<String, PathBuf>,
    /// So old a call of a plugin may become.
    pub outcall_give_up: Span,
    /// Which kinds concern it.
    pub kinds: Vec<String>,
    /// Private addresses that are nevertheless allowed.
    pub allow_private: Vec<Range>,
    /// Events of a transaction.
    pub batch_events: usize,
    /// Bytes of a transaction.
    pub batch_bytes: Size,
    /// How long is waited for a transaction to fill.
    pub linger: Span,
    /// In which order its events come.
    pub order: Order,
    /// Attempts at once.
    pub parallel: usize,
    /// The first wait after a failure.
    pub first: Span,
    /// The longest.
    pub cap: Span,
    /// What fails for so long is given up.
    pub give_up: Span,
    /// From where on events concern it.
    pub from: From,
    /// How long is kept for it what it does not take.
    pub keep_age: Span,
    /// How much.
    pub keep_bytes: Size,
}

/// `order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those of a chat in theirs.
    Chat,
    /// One transaction after another in the whole cluster.
    Service,
}

/// `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// From when it is configured first.
    Now,
    /// From the first that is kept.
    Start,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let (batch, retry, keep) = (BatchLimits::default(), Retry::default(), Keep::default());
        Self {
            url: String::new(),
            dialect: Dialect::Webhook,
            token_file: PathBuf::new(),
            secret_file: PathBuf::new(),
            secrets: BTreeMap::new(),
            outcall_give_up: Span(Duration::from_secs(3600)),
            kinds: vec!["*".to_owned()],
            allow_private: Vec::new(),
            batch_events: batch.events,
            batch_bytes: Size(u64::try_from(batch.bytes).unwrap_or(u64::MAX)),
            linger: Span(batch.linger),
            order: Order::Chat,
            parallel: 16,
            first: Span(retry.first),
            cap: Span(retry.cap),
            give_up: Span(retry.give_up),
            from: From::Now,
            keep_age: Span(keep.age),
            keep_bytes: Size(keep.bytes),
        }
    }
}

impl Config {
    pub(super) fn take_services(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = root.section(reading, "services");
        for name in table.names() {
            let mut section = table.section(reading, &name);
            let service = ServiceConfig::take(&mut section, reading);
            section.done(reading);
            self.services.insert(name, service);
        }
        table.done(reading);
    }

    /// The services, as they are brought their events.
    pub(crate) fn service_configs(&self) -> Vec<outbox::ServiceConfig> {
        self.services.iter().map(|(name, service)| service.made(name)).collect()
    }
}

impl ServiceConfig {
    fn take(section: &mut Section<'_>, reading: &mut Reading<'_>) -> Self {
        let mut it = Self::default();
        section.key(reading, "url", &mut it.url);
        section.key(reading, "dialect", &mut it.dialect);
        section.key(reading, "token_file", &mut it.token_file);
        section.key(reading, "secret_file", &mut it.secret_file);
        section.key(reading, "kinds", &mut it.kinds);
        section.key(reading, "allow_private", &mut it.allow_private);
        let mut batch = section.section(reading, "batch");
        batch.key(reading, "events", &mut it.batch_events);
        batch.key(reading, "bytes", &mut it.batch_bytes);
        batch.key(reading, "linger", &mut it.linger);
        batch.done(reading);
        section.key(reading, "order", &mut it.order);
        section.key(reading, "parallel", &mut it.parallel);
        let mut retry = section.section(reading, "retry");
        retry.key(reading, "first", &mut it.first);
        retry.key(reading, "cap", &mut it.cap);
        retry.key(reading, "give_up", &mut it.give_up);
        retry.done(reading);
        section.key(reading, "from", &mut it.from);
        let mut keep = section.section(reading, "keep");
        keep.key(reading, "age", &mut it.keep_age);
        keep.key(reading, "bytes", &mut it.keep_bytes);
        keep.done(reading);
        section.key(reading, "outcall_give_up", &mut it.outcall_give_up);
        let mut secrets = section.section(reading, "secrets");
        for name in secrets.names() {
            let mut file = PathBuf::new();
            secrets.key(reading, &name, &mut file);
            it.secrets.insert(name, file);
        }
        secrets.done(reading);
        it
    }

    /// The file with what proves who sends, if there is one.
    fn secret(&self) -> Option<PathBuf> {
        let file = match self.dialect {
            Dialect::Matrix => &self.token_file,
            Dialect::Webhook => &self.secret_file,
        };
        (!file.as_os_str().is_empty()).then(|| file.clone())
    }

    fn made(&self, name: &str) -> outbox::ServiceConfig {
        let Self { first, cap, give_up, linger, .. } = *self;
        outbox::ServiceConfig {
            name: name.to_owned(),
            url: self.url.clone(),
            dialect: self.dialect,
            secret_file: self.secret(),
            secrets: self.secrets.clone(),
            outcall_give_up: self.outcall_give_up.0,
            kinds: self.kinds.clone(),
            allow_private: self.allow_private.clone(),
            batch: BatchLimits {
                events: self.batch_events,
                bytes: self.batch_bytes.bytes(),
                linger: linger.0,
            },
            order: match self.order {
                Order::Chat => outbox::Order::Chat,
                Order::Service => outbox::Order::Service,
            },
            parallel: self.parallel,
            retry: Retry { first: first.0, cap: cap.0, give_up: give_up.0 },
            keep: Keep { age: self.keep_age.0, bytes: self.keep_bytes.0 },
            from_start: self.from == From::Start,
        }
    }
}

/// What the values of each service mean.
pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    for (name, service) in &config.services {
        let path = format!("services.{name}");
        let key = |key: &str| format!("{path}.{key}");
        if !is_name(name) {
            let fix = "Write 1 to 63 letters, digits, '-' and '_'";
            reading.fault(&path, format!("a service cannot be called {name:?}"), fix);
        }
        if reading.sound(&[&key("url")]) {
            url(config, service, &path, reading);
        }
        secrets(service, &path, reading);
        let most = u64::try_from(EVENTS_MAX).unwrap_or(u64::MAX);
        if !(1..=EVENTS_MAX).contains(&service.batch_events) {
            let what = format!("{path}.batch.events is {}", service.batch_events);
            reading.fault(&key("batch.events"), what, format!("Write 1 to {most}"));
        }
        if !BATCH_BYTES.contains(&service.batch_bytes) {
            let what = format!("{path}.batch.bytes is {}", service.batch_bytes);
            let (least, most) = (BATCH_BYTES.start(), BATCH_BYTES.end());
            reading.fault(&key("batch.bytes"), what, format!("Write {least} to {most}"));
        }
        if !(1..=256).contains(&service.parallel) {
            let what = format!("{path}.parallel is {}", service.parallel);
            reading.fault(&key("parallel"), what, "Write 1 to 256");
        }
        if service.kinds.is_empty() {
            let what = format!("{path}.kinds is empty: nothing would concern it");
            reading.fault(&key("kinds"), what, "Name kinds, or write [\"*\"]");
        }
        retry(service, &path, reading);
        keep(service, &path, reading);
    }
}

fn url(config: &Config, service: &ServiceConfig, path: &str, reading: &mut Reading<'_>) {
    let key = format!("{path}.url");
    let url = &service.url;
    if let Some(found_at) = url.strip_prefix(REGISTRY) {
        if !is_path(found_at) {
            let what = format!("{key} is {url:?}");
            reading.fault(
                &key,
                what,
                "Write where its instances are, as in \"registry:/services/crm\"",
            );
        } else if config.registry.kind == RegistryKind::Embedded {
            let what = format!("{key} is {url:?}, and an embedded registry has no other services");
            reading.fault(
                &key,
                what,
                "Write its http or https URL, or have the registry in ZooKeeper",
            );
        }
    } else if !["http://", "https://"].iter().any(|scheme| {
        url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    }) {
        let what = format!("{key} is {url:?}");
        reading.fault(&key, what, "Write where it is, as in \"https://crm.example.org/hook\"");
    }
}

/// Whether a service may be looked for there: an absolute path without empty or dotted parts.
fn is_path(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part)) && path.len() <= 1024
}

fn secrets(service: &ServiceConfig, path: &str, reading: &mut Reading<'_>) {
    let (token, secret) = (&service.token_file, &service.secret_file);
    let (wrong, wanted) = match service.dialect {
        Dialect::Matrix => (secret, "token_file"),
        Dialect::Webhook => (token, "secret_file"),
    };
    if !reading.sound(&[&format!("{path}.dialect")]) {
        return;
    }
    if !wrong.as_os_str().is_empty() {
        let what = format!("{path} speaks {}, which has no use for that file", service.dialect);
        reading.fault(path, what, format!("Name the file in {wanted}"));
    } else if service.dialect == Dialect::Webhook && secret.as_os_str().is_empty() {
        let what = format!("{path}.secret_file is missing: a webhook is signed");
        reading.fault(path, what, "Name a file that holds whsec_ and 24 to 64 bytes in base64");
    }
}

fn retry(service: &ServiceConfig, path: &str, reading: &mut Reading<'_>) {
    let ServiceConfig { first, cap, give_up, .. } = service;
    if *first < Span(Duration::from_millis(100)) {
        let what = format!("{path}.retry.first is {first}");
        reading.fault(&format!("{path}.retry.first"), what, "Write 100ms or more");
    }
    if cap < first {
        let what = format!("{path}.retry.cap is {cap}, and first is {first}");
        reading.fault(&format!("{path}.retry.cap"), what, format!("Write {first} or more"));
    }
    if give_up < cap {
        let what = format!("{path}.retry.give_up is {give_up}, and cap is {cap}");
        reading.fault(&format!("{path}.retry.give_up"), what, format!("Write {cap} or more"));
    }
}

fn keep(service: &ServiceConfig, path: &str, reading: &mut Reading<'_>) {
    let ServiceConfig { keep_age, keep_bytes, give_up, .. } = service;
    if keep_age < give_up {
        let what = format!("{path}.keep.age is {keep_age}, and retry.give_up is {give_up}");
        let fix = format!("Write {give_up} or more: until then it is tried");
        reading.fault(&format!("{path}.keep.age"), what, fix);
    }
    if *keep_bytes < KEEP_BYTES_MIN {
        let what = format!("{path}.keep.bytes is {keep_bytes}");
        reading.fault(
            &format!("{path}.keep.bytes"),
            what,
            format!("Write {KEEP_BYTES_MIN} or more"),
        );
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(letter)
}

impl FromKey for Dialect {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"matrix\" or \"webhook\"";
        text(value, wanted)?.parse().map_err(|_not_one| wanted.to_owned())
    }
}

impl FromKey for Vec<Range> {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "a list of address ranges, as in [\"127.0.0.0/8\"]";
        let texts = Vec::<String>::from_key(value).map_err(|_not_a_list| wanted.to_owned())?;
        let range = |text: &String| text.parse().map_err(|_not_one| wanted.to_owned());
        texts.iter().map(range).collect()
    }
}

impl FromKey for Order {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"chat\" or \"service\"";
        match text(value, wanted)? {
            "chat" => Ok(Self::Chat),
            "service" => Ok(Self::Service),
            _ => Err(wanted.to_owned()),
        }
    }
}

impl FromKey for From {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        match text(value, "\"now\" or \"start\"")? {
            "now" => Ok(Self::Now),
            "start" => Ok(Self::Start),
            _ => Err("\"now\" or \"start\"".to_owned()),
        }
    }
}
