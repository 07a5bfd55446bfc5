//! From `[twilio]` and `[chain.twilio]` to what answers Twilio, and what is said of plugins that cannot.

use std::collections::BTreeMap;

use api::{Twilio, TwilioConfig};
use plugin::Kind;
use rollout::Lineup;

use crate::assemble::StartError;
use crate::config::Config;

/// What answers Twilio on this node.
///
/// # Errors
/// [`StartError::Twilio`]: the auth tokens cannot be used.
pub(crate) async fn twilio(config: &Config) -> Result<Twilio, StartError> {
    if !config.twilio.is_on() {
        return Ok(Twilio::off());
    }
    let path = config.twilio.auth_token_file.clone();
    let twilio = TwilioConfig {
        public_url: config.twilio.public_url.clone(),
        auth_tokens: path.clone(),
        deadline: config.twilio.deadline.0,
        fallback: config.twilio.fallback_twiml.clone(),
        channels: config.channels.clone(),
    };
    let opened = runtime::blocking(move || Twilio::open(twilio)).await;
    let ended = || StartError::Ended("the auth tokens of Twilio were not read".to_owned());
    opened.ok_or_else(ended)?.map_err(|source| StartError::Twilio { path, source })
}

/// Says which channels have a live plugin that does not answer them: their callers hear the operator's words.
pub(crate) fn tell_of_mute(channels: &BTreeMap<String, String>, lineup: &Lineup) {
    for (channel, name) in channels {
        let live = lineup.plugins.iter().find(|plugin| plugin.name() == name);
        let why = match live {
            Some(plugin) if plugin.kinds().contains(&Kind::Twilio) => continue,
            Some(_) => "its live version handles no requests of Twilio",
            None => "no version of it is live",
        };
        tracing::warn!(
            channel,
            plugin = name,
            why,
            "[chain.twilio] names a plugin that cannot answer"
        );
    }
}
