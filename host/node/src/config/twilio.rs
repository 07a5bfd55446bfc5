//! `[twilio]` and `[chain.twilio]`: whether Twilio is answered, and by which plugins.
//!
//! Without a file of auth tokens it is not: nobody is answered whose signature cannot be looked at.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Config;
use super::read::{FromKey, Reading, Section};
use super::units::Span;

/// Sooner than this nothing that is replicated is answered.
const DEADLINE_MIN: Span = Span(Duration::from_millis(100));
/// Twilio itself gives up after 15 seconds.
const DEADLINE_MAX: Span = Span(Duration::from_secs(14));
/// Bytes of a channel's name.
const CHANNEL_BYTES_MAX: usize = 32;

/// `[twilio]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twilio {
    /// The address that Twilio is told, up to `/v1/twilio/`.
    pub public_url: String,
    /// The account's auth tokens; empty: Twilio is not answered.
    pub auth_token_file: PathBuf,
    /// How long an answer may take.
    pub deadline: Span,
    /// What a call is told when there is no answer.
    pub fallback_twiml: String,
}

impl Default for Twilio {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            auth_token_file: PathBuf::new(),
            deadline: Span(Duration::from_secs(8)),
            fallback_twiml: "<Response><Say>Sorry, that did not work. Please call again.</Say>\
                             <Hangup/></Response>"
                .to_owned(),
        }
    }
}

impl Twilio {
    /// Whether it is answered.
    pub fn is_on(&self) -> bool {
        !self.auth_token_file.as_os_str().is_empty()
    }
}

impl Config {
    pub(super) fn take_twilio(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = root.section(reading, "twilio");
        table.key(reading, "public_url", &mut self.twilio.public_url);
        table.key(reading, "auth_token_file", &mut self.twilio.auth_token_file);
        table.key(reading, "deadline", &mut self.twilio.deadline);
        table.key(reading, "fallback_twiml", &mut self.twilio.fallback_twiml);
        table.done(reading);
    }

    /// `[chain.twilio]`: which plugin answers a channel. The names are the operator's.
    pub(super) fn take_channels(&mut self, chain: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = chain.section(reading, "twilio");
        for channel in table.names() {
            let Some(value) = table.value(reading, &channel) else { continue };
            self.take_channel(channel, value, reading);
        }
        table.done(reading);
    }

    fn take_channel(&mut self, channel: String, value: &DeValue<'_>, reading: &mut Reading<'_>) {
        match String::from_key(value) {
            Ok(plugin) => _ = self.channels.insert(channel, plugin),
            Err(wanted) => {
                let path = format!("chain.twilio.{channel}");
                let what = format!("{path} is not a value it can have");
                reading.spoil(&path, what, format!("Write {wanted}: the name of a plugin"));
            }
        }
    }
}

pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    address(&config.twilio, reading);
    let Twilio { deadline, fallback_twiml, .. } = &config.twilio;
    if !(DEADLINE_MIN..=DEADLINE_MAX).contains(deadline) {
        let fix = format!("Write {DEADLINE_MIN} to {DEADLINE_MAX}: Twilio gives up after 15s");
        reading.fault("twilio.deadline", format!("twilio.deadline is {deadline}"), fix);
    }
    if let Err(wrong) = plugin::check_twiml(fallback_twiml) {
        let what = format!("twilio.fallback_twiml is no TwiML: {wrong}");
        let fix = "Write one <Response> with what a caller is to hear";
        reading.fault("twilio.fallback_twiml", what, fix);
    }
    channels(&config.channels, config, reading);
}

fn address(twilio: &Twilio, reading: &mut Reading<'_>) {
    let url = &twilio.public_url;
    if url.is_empty() {
        if twilio.is_on() && reading.sound(&["twilio.public_url"]) {
            let what = "twilio.auth_token_file is named, and twilio.public_url is empty";
            let fix =
                "Write the address at which Twilio reaches this cluster: it is what Twilio signs";
            reading.fault("twilio.auth_token_file", what, fix);
        }
        return;
    }
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#@\"<>\\".contains(&byte);
    if host.is_none_or(str::is_empty) || !url.bytes().all(plain) {
        let what = format!("twilio.public_url is {url:?}");
        let fix = "Write a scheme, a host and, if a proxy has one before /v1, a path, as in \
                   \"https://chat.example.com\"";
        reading.fault("twilio.public_url", what, fix);
    }
}

fn channels(channels: &BTreeMap<String, String>, config: &Config, reading: &mut Reading<'_>) {
    for (channel, plugin) in channels {
        let path = format!("chain.twilio.{channel}");
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=CHANNEL_BYTES_MAX).contains(&channel.len()) || !channel.bytes().all(letter) {
            let what = format!("[chain.twilio] names a channel {channel:?}");
            let fix = format!(
                "Write 1 to {CHANNEL_BYTES_MAX} of a-z, 0-9 and '-': it is a part of the path"
            );
            reading.fault(&path, what, fix);
        }
        if !config.plugins.contains_key(plugin) && reading.sound(&[&format!("plugins.{plugin}")]) {
            let what = format!("[chain.twilio] names {plugin}, which is no plugin");
            let fix = format!(
                "Add [plugins.{plugin}], with its source if a new cluster begins with it, or leave {channel} out"
            );
            reading.fault(&path, what, fix);
        }
    }
}
