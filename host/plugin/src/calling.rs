//! The calls of a plugin, one kind each: what goes in is lowered, what comes out is checked.
//!
//! Every call has a store of its own. A guest of the kind that is asked for is loaded in it, asked once, and
//! gone; nothing of a call that failed is left.

use wasmtime::Store;

use crate::bindings::carillon::plugin::types as wit;
use crate::bindings::exports::carillon::plugin::{callback_handler, chat_events};
use crate::check::Fault;
use crate::component::{Plugin, spent};
use crate::journal::Subject;
use crate::state::State;
use crate::{
    Answered, Call, CallbackReply, Event, Failure, Limits, Plan, Reply, Said, Stats, TwilioRequest,
    Verb, check, convert, outcome, policy, twilio,
};

/// Longest words of a guest that are repeated.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// What a guest answers when it is asked, or why it cannot.
type Heard<T> = wasmtime::Result<Result<T, wit::Failure>>;

impl Plugin {
    /// Asks it about a message. Dropping the future ends the call and drops its effects.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    pub async fn on_message(&self, call: Call, said: Said) -> Result<Reply, Failure> {
        let began = runtime::now();
        let message = convert::message(None, &said.message, convert::participant(&said.sender));
        let of = Subject::of(&call, Some(said.message.id));
        let result = self.watched(of, |limits| self.message(limits, call, message, of)).await;
        let outcome = result.as_ref().map(|reply| (reply.verdict.name(), reply.fuel));
        self.count(outcome, began);
        self.answers.count(&result);
        result
    }

    /// Tells it what has happened.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    pub async fn on_event(&self, call: Call, event: Event) -> Result<Answered<()>, Failure> {
        self.other(Subject::of(&call, None), |limits| self.event(limits, call, event)).await
    }

    /// Gives it the answer to one of its calls out.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    pub async fn on_reply(
        &self,
        call: Call,
        reply: CallbackReply,
    ) -> Result<Answered<()>, Failure> {
        self.other(Subject::of(&call, None), |limits| self.callback(limits, call, reply)).await
    }

    /// Asks it what Twilio is to do.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    pub async fn on_request(
        &self,
        call: Call,
        request: TwilioRequest,
    ) -> Result<Answered<Vec<Verb>>, Failure> {
        self.other(Subject::of(&call, None), |limits| self.request(limits, call, request)).await
    }

    /// Asks it what is to become of a chat. `moment` is `committed`, `idle`, `ended`, `zombie` or
    /// `erase-requested`.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    pub async fn plan_for(
        &self,
        call: Call,
        moment: &str,
        stats: Stats,
    ) -> Result<Answered<Plan>, Failure> {
        self.other(Subject::of(&call, None), |limits| self.plan(limits, call, moment, stats)).await
    }

    /// Runs and counts a call of any kind but a message's.
    async fn other<T, F>(
        &self,
        of: Subject,
        call: impl FnOnce(Limits) -> F,
    ) -> Result<Answered<T>, Failure>
    where
        F: Future<Output = Result<Answered<T>, Failure>>,
    {
        let began = runtime::now();
        let result = self.watched(of, call).await;
        self.count(result.as_ref().map(|answered| ("done", answered.fuel)), began);
        result
    }

    pub(crate) async fn message(
        &self,
        limits: Limits,
        call: Call,
        message: wit::Message,
        of: Subject,
    ) -> Result<Reply, Failure> {
        let context = convert::context(&call.context);
        let mut store = self.store(&limits, Some(Box::new(call)), of);
        let answer = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let guest = self.exports.message_handler(&mut store, &instance)?;
            guest.call_on_message(&mut store, &context, &message).await
        };
        let answer = answer.await;
        let (decision, fuel) = settled(&store, &limits, answer)?;
        let verdict = convert::verdict(decision.verdict).map_err(bad)?;
        check::decision_notes(&decision.notes).map_err(bad)?;
        let effects = self.effects_of(store);
        Ok(Reply { verdict, notes: decision.notes, effects, fuel })
    }

    pub(crate) async fn event(
        &self,
        limits: Limits,
        call: Call,
        event: Event,
    ) -> Result<Answered<()>, Failure> {
        let context = convert::context(&call.context);
        let event = chat_events::Event {
            name: event.name.to_owned(),
            subject: event.subject.as_ref().map(convert::participant),
            attrs: event.attrs,
        };
        let of = Subject::of(&call, None);
        let mut store = self.store(&limits, Some(Box::new(call)), of);
        let answer = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let guest = self.exports.chat_events(&mut store, &instance)?;
            guest.call_on_event(&mut store, &context, &event).await
        };
        let answer = answer.await;
        self.answered(store, &limits, answer, Ok)
    }

    pub(crate) async fn callback(
        &self,
        limits: Limits,
        call: Call,
        reply: CallbackReply,
    ) -> Result<Answered<()>, Failure> {
        let context = convert::context(&call.context);
        let CallbackReply { correlation, status, body, attempts } = reply;
        let reply = callback_handler::Reply { correlation, status, body, attempts };
        let of = Subject::of(&call, None);
        let mut store = self.store(&limits, Some(Box::new(call)), of);
        let answer = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let guest = self.exports.callback_handler(&mut store, &instance)?;
            guest.call_on_reply(&mut store, &context, &reply).await
        };
        let answer = answer.await;
        self.answered(store, &limits, answer, Ok)
    }

    pub(crate) async fn request(
        &self,
        limits: Limits,
        call: Call,
        request: TwilioRequest,
    ) -> Result<Answered<Vec<Verb>>, Failure> {
        let (context, request) = (convert::context(&call.context), request.to_wit());
        let of = Subject::of(&call, None);
        let mut store = self.store(&limits, Some(Box::new(call)), of);
        let answer = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let guest = self.exports.twilio_handler(&mut store, &instance)?;
            guest.call_on_request(&mut store, &context, &request).await
        };
        let answer = answer.await;
        self.answered(store, &limits, answer, twilio::verbs)
    }

    pub(crate) async fn plan(
        &self,
        limits: Limits,
        call: Call,
        moment: &str,
        stats: Stats,
    ) -> Result<Answered<Plan>, Failure> {
        let context = convert::context(&call.context);
        let of = Subject::of(&call, None);
        let mut store = self.store(&limits, Some(Box::new(call)), of);
        let answer = async {
            let instance = self.pre.instantiate_async(&mut store).await?;
            let guest = self.exports.persistence_policy(&mut store, &instance)?;
            guest.call_plan_for(&mut store, &context, moment, stats.to_wit()).await
        };
        let answer = answer.await;
        self.answered(store, &limits, answer, policy::plan)
    }

    /// An answer that was checked, with what the call asked for.
    fn answered<W, T>(
        &self,
        store: Store<State>,
        limits: &Limits,
        answer: Heard<W>,
        check: impl FnOnce(W) -> Result<T, Fault>,
    ) -> Result<Answered<T>, Failure> {
        let (answer, fuel) = settled(&store, limits, answer)?;
        let answer = check(answer).map_err(bad)?;
        Ok(Answered { answer, effects: self.effects_of(store), fuel })
    }
}

/// What a guest said, and what that cost.
fn settled<T>(
    store: &Store<State>,
    limits: &Limits,
    answer: Heard<T>,
) -> Result<(T, u64), Failure> {
    let answer = answer.map_err(|error| outcome::failure(&error, store.data(), limits))?;
    let answer = answer.map_err(|refusal| Failure::Refused {
        code: outcome::cut(refusal.code, 64),
        detail: outcome::cut(refusal.detail, WORDS_BYTES_MAX),
        retryable: refusal.retryable,
    })?;
    let fuel = spent(store, limits);
    if fuel > limits.fuel {
        return Err(Failure::Fuel { fuel: limits.fuel });
    }
    Ok((answer, fuel))
}

fn bad(fault: Fault) -> Failure {
    Failure::BadOutput { text: fault.detail }
}
