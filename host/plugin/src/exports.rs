//! The interfaces a component exports: probed once, loaded in every store that needs one.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::exports::carillon::plugin::{
    callback_handler, chat_events, lifecycle, message_handler, persistence_policy, twilio_handler,
};
use crate::state::State;
use crate::{Kind, LoadError};

/// What a component exports of our WIT. Whatever else it exports is nobody's business.
pub(crate) struct Exports {
    lifecycle: Option<lifecycle::GuestIndices>,
    message_handler: Option<message_handler::GuestIndices>,
    chat_events: Option<chat_events::GuestIndices>,
    callback_handler: Option<callback_handler::GuestIndices>,
    twilio_handler: Option<twilio_handler::GuestIndices>,
    persistence_policy: Option<persistence_policy::GuestIndices>,
    pub(crate) kinds: Vec<Kind>,
}

impl Exports {
    /// Asks for each of them. An export of that name and another shape is only found by loading it.
    pub(crate) fn probe(plugin: &str, pre: &InstancePre<State>) -> Result<Self, LoadError> {
        let mut exports = Self {
            lifecycle: lifecycle::GuestIndices::new(pre).ok(),
            message_handler: message_handler::GuestIndices::new(pre).ok(),
            chat_events: chat_events::GuestIndices::new(pre).ok(),
            callback_handler: callback_handler::GuestIndices::new(pre).ok(),
            twilio_handler: twilio_handler::GuestIndices::new(pre).ok(),
            persistence_policy: persistence_policy::GuestIndices::new(pre).ok(),
            kinds: Vec::new(),
        };
        exports.kinds = Kind::ALL.into_iter().filter(|kind| exports.has(*kind)).collect();
        if exports.kinds.is_empty() {
            let names = Kind::ALL.map(Kind::interface).join(", ");
            let text = format!("it exports no handler of carillon:plugin@0.1: none of {names}");
            return Err(LoadError::Shape { name: plugin.to_owned(), text });
        }
        Ok(exports)
    }

    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Message => self.message_handler.is_some(),
            Kind::Events => self.chat_events.is_some(),
            Kind::Callback => self.callback_handler.is_some(),
            Kind::Twilio => self.twilio_handler.is_some(),
            Kind::Policy => self.persistence_policy.is_some(),
        }
    }

    /// Loads every handler once; the text says which has another shape than ours.
    pub(crate) fn load_all(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> Result<(), String> {
        for kind in &self.kinds {
            let loaded = match kind {
                Kind::Message => self.message_handler(store, instance).map(drop),
                Kind::Events => self.chat_events(store, instance).map(drop),
                Kind::Callback => self.callback_handler(store, instance).map(drop),
                Kind::Twilio => self.twilio_handler(store, instance).map(drop),
                Kind::Policy => self.persistence_policy(store, instance).map(drop),
            };
            loaded.map_err(|fault| format!("its {}: {fault:#}", kind.interface()))?;
        }
        Ok(())
    }

    /// Its own check of its configuration, if it has one.
    pub(crate) fn lifecycle(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<Option<lifecycle::Guest>> {
        self.lifecycle.as_ref().map(|indices| indices.load(store, instance)).transpose()
    }

    pub(crate) fn message_handler(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<message_handler::Guest> {
        found(self.message_handler.as_ref(), Kind::Message)?.load(store, instance)
    }

    pub(crate) fn chat_events(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<chat_events::Guest> {
        found(self.chat_events.as_ref(), Kind::Events)?.load(store, instance)
    }

    pub(crate) fn callback_handler(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<callback_handler::Guest> {
        found(self.callback_handler.as_ref(), Kind::Callback)?.load(store, instance)
    }

    pub(crate) fn twilio_handler(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<twilio_handler::Guest> {
        found(self.twilio_handler.as_ref(), Kind::Twilio)?.load(store, instance)
    }

    pub(crate) fn persistence_policy(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<persistence_policy::Guest> {
        found(self.persistence_policy.as_ref(), Kind::Policy)?.load(store, instance)
    }
}

/// It was asked for something that it does not export.
#[derive(Debug, thiserror::Error)]
#[error("it has no {}", .0.interface())]
pub(crate) struct Absent(Kind);

fn found<T>(indices: Option<&T>, kind: Kind) -> wasmtime::Result<&T> {
    indices.ok_or_else(|| Absent(kind).into())
}
