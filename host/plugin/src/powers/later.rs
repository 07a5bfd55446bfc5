//! What a plugin wants to happen later: timers, and calls to services outside.

use std::collections::BTreeSet;

use model::{ChatStatus, OUTCALL_BYTES_MAX, OUTCALLS_MAX, TIMERS_MAX};

use super::{Answer, ask, error};
use crate::bindings::carillon::plugin::{outcall, timers, types as wit};
use crate::check::{self, Fault};
use crate::state::State;
use crate::{Effect, convert};

/// The shortest timer: one that is over at once, again and again, would only fill the log.
const AFTER_MS_MIN: u32 = 100;

impl timers::Host for State {
    fn start(&mut self, name: String, after_ms: u32) -> wasmtime::Result<Answer<()>> {
        self.charge(name.len())?;
        let checked = check::timer(&name).and_then(|()| self.has_timer(&name));
        let after_ms = after_ms.max(AFTER_MS_MIN);
        let bytes = name.len() + 4;
        Ok(ask(self, checked, Effect::StartTimer { name, after_ms }, bytes))
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<Answer<()>> {
        self.charge(name.len())?;
        let checked = check::timer(&name);
        let bytes = name.len() + 1;
        Ok(ask(self, checked, Effect::CancelTimer { name }, bytes))
    }
}

impl outcall::Host for State {
    fn queue(
        &mut self,
        service: String,
        path: String,
        headers: Vec<wit::Attr>,
        body: Vec<u8>,
        correlation: String,
    ) -> wasmtime::Result<Answer<()>> {
        let texts = headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let bytes = service.len() + path.len() + texts + body.len() + correlation.len();
        self.charge(bytes)?;
        if !self.grant.outcall.contains(&service) {
            let detail = format!("service {service:?} is not granted");
            return Ok(Err(error("denied", detail)));
        }
        let headers = convert::headers(headers);
        let checked = check::outcall(&path, &headers, &body, &correlation)
            .and_then(|()| self.has_outcall(bytes));
        let effect = Effect::Outcall { service, path, headers, body, correlation };
        Ok(ask(self, checked, effect, bytes))
    }
}

impl State {
    /// Whether a timer of this name can run beside those that do, as this call would leave them.
    fn has_timer(&self, name: &str) -> Result<(), Fault> {
        let Some(call) = &self.call else { return Ok(()) };
        if call.context.status == ChatStatus::Ended {
            let detail = "a chat that has ended has no timers".to_owned();
            return Err(Fault { code: "invalid", detail });
        }
        let running = call.waiting.iter().flat_map(|waiting| waiting.timers.keys());
        let mut names: BTreeSet<&str> = running
            .filter(|(plugin, _)| **plugin == *self.plugin.name())
            .map(|(_, name)| name.as_str())
            .collect();
        for effect in self.buffer.effects() {
            match effect {
                Effect::StartTimer { name, .. } => _ = names.insert(name),
                Effect::CancelTimer { name } => _ = names.remove(name.as_str()),
                _ => {}
            }
        }
        if names.len() < TIMERS_MAX || names.contains(name) {
            return Ok(());
        }
        let detail = format!("a plugin has at most {TIMERS_MAX} timers in a chat");
        Err(Fault { code: "quota", detail })
    }

    /// Whether another call out can wait beside those that do.
    fn has_outcall(&self, bytes: usize) -> Result<(), Fault> {
        let waiting = self.call.as_ref().and_then(|call| call.waiting.as_ref());
        let waits = waiting.iter().flat_map(|waiting| waiting.outcalls.values());
        let (mut count, mut sum) = waits.fold((0, 0), |(n, sum), call| (n + 1, sum + call.bytes()));
        for effect in self.buffer.effects() {
            if let Effect::Outcall { service, path, headers, body, correlation } = effect {
                let texts: usize =
                    headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                count += 1;
                sum += service.len() + path.len() + texts + body.len() + correlation.len();
            }
        }
        if count < OUTCALLS_MAX && sum + bytes <= OUTCALL_BYTES_MAX {
            return Ok(());
        }
        let detail =
            format!("at most {OUTCALLS_MAX} calls and {OUTCALL_BYTES_MAX} bytes of them wait");
        Err(Fault { code: "quota", detail })
    }
}
