//! Messages that a handler adds.

use model::{ChatStatus, MessageId};

use super::{Answer, error, fault, full, no_chat};
use crate::bindings::carillon::plugin::{post, types as wit};
use crate::state::State;
use crate::{Draft, Effect, check, convert};

impl post::Host for State {
    fn send(&mut self, draft: wit::Draft) -> wasmtime::Result<Answer<String>> {
        let names = match &draft.route {
            wit::Route::Only(names) => names.iter().map(String::len).sum(),
            wit::Route::Everyone | wit::Route::Nobody => 0,
        };
        let pairs = draft.attrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let texts = draft.kind.len() + draft.content.media_type.len();
        self.charge(texts + names + draft.content.body.len() + pairs)?;
        Ok(send(self, draft))
    }
}

fn send(state: &mut State, draft: wit::Draft) -> Answer<String> {
    let wit::Draft { kind, route, content, attrs } = draft;
    let call = state.call.as_deref_mut().ok_or_else(no_chat)?;
    if call.context.status == ChatStatus::Ended {
        return Err(error("invalid", "the chat has ended".to_owned()));
    }
    check::kind(&kind).map_err(fault)?;
    let route = convert::route(route).map_err(fault)?;
    let body = convert::body(content).map_err(fault)?;
    let attrs = convert::attrs(attrs).map_err(fault)?;
    if attrs.contains_key(check::ARCHIVE) {
        let rule = format!("what handlers say refers to nothing: leave {} out", check::ARCHIVE);
        return Err(error("invalid", rule));
    }
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
