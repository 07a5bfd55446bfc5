//! What a guest can call: one interface, one grant.
//!
//! Each function checks its arguments, costs fuel, answers with an error rather than a trap, and
//! changes nothing but the buffer of its call.

use model::{ChatStatus, MessageId, Participant};
use wasmtime::Trap;
use wasmtime::component::{HasData, Linker};

use crate::bindings::carillon::plugin::{
    chat_control, kv, log, post, roster, settings, types as wit,
};
use crate::buffer::Full;
use crate::check::{self, Fault};
use crate::state::State;
use crate::{Call, Draft, Effect, convert};

/// Fuel of one host call: about what its work is worth in instructions.
const CALL_FUEL: u64 = 500;

/// Longest page of the roster.
const ROSTER_PAGE_MAX: u32 = 100;

/// Most keys in one answer.
const KEYS_MAX: u32 = 1_000;

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
        "kv" => kv::add_to_linker::<State, Powers>(linker, |state| state)?,
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
        self.charge(text.as_ref().map_or(0, String::len))?;
        Ok(text)
    }

    fn text(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        let text = self.settings.keys.get(&key).and_then(|(_, text)| text.clone());
        self.charge(text.as_ref().map_or(0, String::len))?;
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

impl roster::Host for State {
    fn get(&mut self, id: String) -> wasmtime::Result<Answer<Option<wit::Participant>>> {
        self.charge(0)?;
        Ok(self.call().map(|call| call.roster.get(&id).map(convert::participant)))
    }

    fn page(
        &mut self,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Answer<Vec<wit::Participant>>> {
        let everybody = self.call().map_or(0, |call| call.roster.len());
        self.charge(everybody.saturating_mul(8))?;
        Ok(self.call().and_then(|call| page(call, after.as_deref(), limit)))
    }
}

impl post::Host for State {
    fn send(&mut self, draft: wit::Draft) -> wasmtime::Result<Answer<String>> {
        self.charge(draft.content.body.len())?;
        Ok(send(self, draft))
    }
}

impl chat_control::Host for State {
    fn set_attr(&mut self, (name, value): wit::Attr) -> wasmtime::Result<Answer<()>> {
        self.charge(value.len())?;
        let checked = check::attr(&name, &value);
        let bytes = name.len() + value.len();
        Ok(ask(self, checked, Effect::ChatAttr { name, value }, bytes))
    }

    fn set_member_attr(
        &mut self,
        member: String,
        (name, value): wit::Attr,
    ) -> wasmtime::Result<Answer<()>> {
        self.charge(value.len())?;
        let checked = check::name(&member).and_then(|()| check::attr(&name, &value));
        let bytes = member.len() + name.len() + value.len();
        Ok(ask(self, checked, Effect::MemberAttr { member, name, value }, bytes))
    }

    fn set_member_status(
        &mut self,
        member: String,
        status: String,
    ) -> wasmtime::Result<Answer<()>> {
        self.charge(0)?;
        let checked = check::name(&member).and_then(|()| check::member_status(&status));
        let bytes = member.len() + status.len();
        Ok(ask(self, checked, Effect::MemberStatus { member, status }, bytes))
    }

    fn start_chat(&mut self) -> wasmtime::Result<Answer<()>> {
        self.charge(0)?;
        let checked = self.status_is("start", |status| status == ChatStatus::Pending);
        Ok(ask(self, checked, Effect::StartChat, 1))
    }

    fn release(&mut self, _held: String) -> wasmtime::Result<Answer<()>> {
        self.charge(0)?;
        Ok(Err(no_holding()))
    }

    fn drop_held(&mut self, _held: String, _reason: String) -> wasmtime::Result<Answer<()>> {
        self.charge(0)?;
        Ok(Err(no_holding()))
    }

    fn end_chat(&mut self, reason: String) -> wasmtime::Result<Answer<()>> {
        self.charge(reason.len())?;
        let checked = check::reason(&reason)
            .and_then(|()| self.status_is("end", |status| status != ChatStatus::Ended));
        let bytes = reason.len() + 1;
        Ok(ask(self, checked, Effect::EndChat { reason }, bytes))
    }
}

impl kv::Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Answer<Option<Vec<u8>>>> {
        let value = self.call().map(drop).map(|()| self.buffer.note(&key).map(Vec::from));
        self.charge(value.as_ref().ok().and_then(Option::as_ref).map_or(0, Vec::len))?;
        Ok(value)
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Answer<()>> {
        self.charge(key.len() + value.len())?;
        Ok(note(self, key, Some(value)))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        self.charge(key.len())?;
        Ok(note(self, key, None))
    }

    fn keys(&mut self, prefix: String, limit: u32) -> wasmtime::Result<Answer<Vec<String>>> {
        if let Err(unavailable) = self.call() {
            return Ok(Err(unavailable));
        }
        let limit = usize::try_from(limit.min(KEYS_MAX)).unwrap_or_default();
        self.charge(self.buffer.notes_count().saturating_mul(8))?;
        let keys = self.buffer.keys(&prefix, limit);
        Ok(Ok(keys))
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

    fn status_is(&self, verb: &str, allowed: impl Fn(ChatStatus) -> bool) -> Result<(), Fault> {
        let status = self.call.as_ref().map(|call| call.context.status).unwrap_or_default();
        if allowed(status) {
            return Ok(());
        }
        Err(Fault { code: "invalid", detail: format!("cannot {verb} a chat that is {status}") })
    }
}

fn page(call: &Call, after: Option<&str>, limit: u32) -> Answer<Vec<wit::Participant>> {
    let after = match after {
        None => 0,
        Some(id) => match call.roster.get(id) {
            Some(participant) => participant.ordinal,
            None => return Err(error("invalid", format!("{id:?} is not in the chat"))),
        },
    };
    let mut rest: Vec<&Participant> =
        call.roster.values().filter(|participant| participant.ordinal > after).collect();
    rest.sort_by_key(|participant| participant.ordinal);
    rest.truncate(usize::try_from(limit.min(ROSTER_PAGE_MAX)).unwrap_or_default());
    Ok(rest.into_iter().map(convert::participant).collect())
}

fn send(state: &mut State, draft: wit::Draft) -> Answer<String> {
    let wit::Draft { kind, route, content, attrs } = draft;
    let call = state.call.as_deref_mut().ok_or_else(no_chat)?;
    check::kind(&kind).map_err(fault)?;
    let route = convert::route(route).map_err(fault)?;
    let body = convert::body(content).map_err(fault)?;
    let attrs = convert::attrs(attrs).map_err(fault)?;
    let ids = &mut call.ids;
    let id = MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index);
    let names = match &route {
        model::Route::Only(names) => names.iter().map(String::len).sum(),
        model::Route::Everyone | model::Route::Nobody => 0,
    };
    let pairs = attrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let bytes = kind.len() + names + body.len() + pairs;
    let draft = Draft { id, kind, route, body, attrs };
    state.buffer.push(Effect::Post(draft), bytes).map_err(full)?;
    ids.next_index = ids.next_index.saturating_add(1);
    Ok(id.to_string())
}

/// Puts an effect into the buffer, if it is as it should be and there is a chat.
fn ask(state: &mut State, checked: Result<(), Fault>, effect: Effect, bytes: usize) -> Answer<()> {
    if state.call.is_none() {
        return Err(no_chat());
    }
    checked.map_err(fault)?;
    state.buffer.push(effect, bytes).map_err(full)
}

fn note(state: &mut State, key: String, value: Option<Vec<u8>>) -> Answer<()> {
    if state.call.is_none() {
        return Err(no_chat());
    }
    check::note_key(&key).map_err(fault)?;
    state.buffer.set_note(key, value).map_err(full)
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

fn no_holding() -> wit::CapError {
    error("unavailable", "this version does not hold messages".to_owned())
}

#[cfg(test)]
mod tests;
