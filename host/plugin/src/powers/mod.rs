//! What a guest can call: one interface, one grant.
//!
//! Each function checks its arguments, costs fuel, answers with an error rather than a trap, and
//! changes nothing but the buffer of its call.

mod keeping;
mod later;
mod people;
mod saying;
#[cfg(test)]
mod tests;

use wasmtime::Trap;
use wasmtime::component::{HasData, Linker};

use crate::bindings::carillon::plugin::{
    chat_control, history, kv, log, metrics, outcall, post, recall, roster, settings, timers,
    types as wit,
};
use crate::buffer::Full;
use crate::check::Fault;
use crate::series::Sample;
use crate::state::State;
use crate::{Call, Effect};

/// Fuel of one host call: about what its work is worth in instructions.
const CALL_FUEL: u64 = 500;

/// Names the type through which the generated code reaches a call's state.
#[derive(Debug)]
pub(crate) struct Powers;

impl HasData for Powers {
    type Data<'a> = &'a mut State;
}

type Answer<T> = Result<T, wit::CapError>;

/// Links one interface of our WIT; `false` when this version has none of that name.
pub(crate) fn link(linker: &mut Linker<State>, interface: &str) -> wasmtime::Result<bool> {
    match interface {
        "settings" => settings::add_to_linker::<State, Powers>(linker, |state| state)?,
        "log" => log::add_to_linker::<State, Powers>(linker, |state| state)?,
        "roster" => roster::add_to_linker::<State, Powers>(linker, |state| state)?,
        "post" => post::add_to_linker::<State, Powers>(linker, |state| state)?,
        "chat-control" => chat_control::add_to_linker::<State, Powers>(linker, |state| state)?,
        "timers" => timers::add_to_linker::<State, Powers>(linker, |state| state)?,
        "outcall" => outcall::add_to_linker::<State, Powers>(linker, |state| state)?,
        "kv" => kv::add_to_linker::<State, Powers>(linker, |state| state)?,
        "history" => history::add_to_linker::<State, Powers>(linker, |state| state)?,
        "recall" => recall::add_to_linker::<State, Powers>(linker, |state| state)?,
        "metrics" => metrics::add_to_linker::<State, Powers>(linker, |state| state)?,
        "types" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

impl wit::Host for State {}

impl settings::Host for State {
    fn all(&mut self) -> wasmtime::Result<String> {
        let text = self.settings.all.clone();
        self.charge(text.len())?;
        Ok(text)
    }

    fn one(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let text = self.settings.keys.get(&key).map(|(json, _)| json.clone());
        self.charge(key.len() + text.as_ref().map_or(0, String::len))?;
        Ok(text)
    }

    fn text(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let text = self.settings.keys.get(&key).and_then(|(_, text)| text.clone());
        self.charge(key.len() + text.as_ref().map_or(0, String::len))?;
        Ok(text)
    }
}

impl log::Host for State {
    fn emit(
        &mut self,
        level: log::Level,
        text: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.charge(text.len() + bytes)?;
        crate::line::emit(self, level, &text, &fields);
        Ok(())
    }
}

impl metrics::Host for State {
    fn count(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        self.charge(name.len())?;
        self.buffer.sample(Sample::Count(name, by));
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.charge(name.len())?;
        self.buffer.sample(Sample::Value(name, value));
        Ok(())
    }
}

impl State {
    /// Takes the price of a host call that moves `bytes`.
    fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let price = CALL_FUEL.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let left = self.host_fuel_left.checked_sub(price);
        self.host_fuel_left = left.unwrap_or(0);
        if left.is_none() {
            return Err(Trap::OutOfFuel.into());
        }
        Ok(())
    }

    /// The call, unless the guest only checks its configuration.
    fn call(&self) -> Answer<&Call> {
        self.call.as_deref().ok_or_else(no_chat)
    }
}

/// Puts an effect into the buffer, if it is as it should be and there is a chat.
fn ask(state: &mut State, checked: Result<(), Fault>, effect: Effect, bytes: usize) -> Answer<()> {
    if state.call.is_none() {
        return Err(no_chat());
    }
    checked.map_err(fault)?;
    state.buffer.push(effect, bytes).map_err(full)
}

fn error(code: &str, detail: String) -> wit::CapError {
    wit::CapError { code: code.to_owned(), detail }
}

fn fault(fault: Fault) -> wit::CapError {
    error(fault.code, fault.detail)
}

fn full(full: Full) -> wit::CapError {
    let detail = match full {
        Full::Call => "one call may ask for 64 effects and 256 KiB",
        Full::Notes => "more than the granted bytes of kv",
    };
    error("quota", detail.to_owned())
}

fn no_chat() -> wit::CapError {
    error("unavailable", "there is no chat while the configuration is checked".to_owned())
}
