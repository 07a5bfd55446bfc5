//! Who is in the chat, and what may be changed of them, of the chat and of what it keeps back.

use model::{ChatStatus, MessageId, Participant};

use super::{Answer, ask, error};
use crate::bindings::carillon::plugin::{chat_control, roster, types as wit};
use crate::check::{self, Fault};
use crate::state::State;
use crate::{Call, Effect, convert};

/// Longest page of the roster.
const ROSTER_PAGE_MAX: u32 = 100;

impl roster::Host for State {
    fn get(&mut self, id: String) -> wasmtime::Result<Answer<Option<wit::Participant>>> {
        self.charge(id.len())?;
        Ok(self.call().map(|call| call.roster.get(&id).map(convert::participant)))
    }

    fn page(
        &mut self,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Answer<Vec<wit::Participant>>> {
        let everybody = self.call().map_or(0, |call| call.roster.len());
        let id = after.as_ref().map_or(0, String::len);
        self.charge(everybody.saturating_mul(8).saturating_add(id))?;
        Ok(self.call().and_then(|call| page(call, after.as_deref(), limit)))
    }
}

impl chat_control::Host for State {
    fn set_attr(&mut self, (name, value): wit::Attr) -> wasmtime::Result<Answer<()>> {
        let bytes = name.len() + value.len();
        self.charge(bytes)?;
        let checked = check::attr(&name, &value);
        Ok(ask(self, checked, Effect::ChatAttr { name, value }, bytes))
    }

    fn set_member_attr(
        &mut self,
        member: String,
        (name, value): wit::Attr,
    ) -> wasmtime::Result<Answer<()>> {
        let bytes = member.len() + name.len() + value.len();
        self.charge(bytes)?;
        let checked = check::name(&member).and_then(|()| check::attr(&name, &value));
        Ok(ask(self, checked, Effect::MemberAttr { member, name, value }, bytes))
    }

    fn set_member_status(
        &mut self,
        member: String,
        status: String,
    ) -> wasmtime::Result<Answer<()>> {
        let bytes = member.len() + status.len();
        self.charge(bytes)?;
        let checked = check::name(&member).and_then(|()| check::member_status(&status));
        Ok(ask(self, checked, Effect::MemberStatus { member, status }, bytes))
    }

    fn start_chat(&mut self) -> wasmtime::Result<Answer<()>> {
        self.charge(0)?;
        let checked = self.status_is("start", |status| status == ChatStatus::Pending);
        Ok(ask(self, checked, Effect::StartChat, 1))
    }

    fn release(&mut self, held: String) -> wasmtime::Result<Answer<()>> {
        self.charge(held.len())?;
        let message = self.held(&held);
        let id = message.clone().unwrap_or(MessageId([0; 16]));
        Ok(ask(self, message.map(drop), Effect::Release { message: id }, held.len()))
    }

    fn drop_held(&mut self, held: String, reason: String) -> wasmtime::Result<Answer<()>> {
        self.charge(held.len() + reason.len())?;
        let bytes = held.len() + reason.len();
        let message = check::reason(&reason).and_then(|()| self.held(&held));
        let id = message.clone().unwrap_or(MessageId([0; 16]));
        Ok(ask(self, message.map(drop), Effect::DropHeld { message: id, reason }, bytes))
    }

    fn end_chat(&mut self, reason: String) -> wasmtime::Result<Answer<()>> {
        self.charge(reason.len())?;
        let checked = check::reason(&reason)
            .and_then(|()| self.status_is("end", |status| status != ChatStatus::Ended));
        let bytes = reason.len() + 1;
        Ok(ask(self, checked, Effect::EndChat { reason }, bytes))
    }
}

impl State {
    fn status_is(&self, verb: &str, allowed: impl Fn(ChatStatus) -> bool) -> Result<(), Fault> {
        let status = self.call.as_ref().map(|call| call.context.status).unwrap_or_default();
        if allowed(status) {
            return Ok(());
        }
        Err(Fault { code: "invalid", detail: format!("cannot {verb} a chat that is {status}") })
    }

    /// A message that this plugin keeps back, and has not let go in this call.
    fn held(&self, id: &str) -> Result<MessageId, Fault> {
        let no = || Fault {
            code: "invalid",
            detail: format!("{id:?} is no message that this plugin keeps back in this chat"),
        };
        let id = MessageId::parse(id).ok_or_else(no)?;
        let waiting = self.call.as_ref().and_then(|call| call.waiting.as_ref());
        let gone = self.buffer.effects().iter().any(|effect| match effect {
            Effect::Release { message } | Effect::DropHeld { message, .. } => *message == id,
            _ => false,
        });
        let holds = waiting.is_some_and(|waiting| waiting.holds(id, self.plugin.name())) && !gone;
        if holds { Ok(id) } else { Err(no()) }
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
