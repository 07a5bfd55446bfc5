//! What Twilio is told: one turn of a chat, whose answer is kept with it.
//!
//! The handler is asked where the chat is led. What it asked for and what it answered are one entry, so a request
//! that comes again, to whichever node, gets the same answer and nothing happens twice. A request is known by
//! what Twilio signed of it: what is not signed cannot make an old one new. A chat that is over is asked
//! all the same, until it is forgotten: a call outlasts its conversation.

use std::sync::Arc;

use model::{Answer, KeyHash, Known, Remembered};
use plugin::{Answered, Effect, Failure, Kind, TWIML_BYTES_MAX, TwilioRequest, twiml};
use sha2::{Digest, Sha256};

use crate::chain::{Chain, Handler};
use crate::chats::{Asked, Shared};
use crate::conversation::{Appended, Conversation};
use crate::duty::Duty;
use crate::effects::SYSTEM;
use crate::ran::{Interrupt, Ran, not_committed};
use crate::reign::Reign;
use crate::sending::lost;
use crate::storing::entry;
use crate::{Code, Refusal, RequestOutcome, Response, Telephone, history};

impl Shared {
    /// Answers Twilio.
    pub(crate) async fn twilio(
        &self,
        reign: &Reign,
        telephone: &Telephone,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, telephone.token, asked).await?;
        let key = key(telephone);
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(Some(KeyHash::of(SYSTEM, &key)), reign.epoch);
        if let Some(known) = seen.known {
            drop(guard);
            return self.answer_again(reign, &conversation, telephone, &seen, known, asked).await;
        }
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let chain = self.chain(&seen.chat, asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        let mut duty = Duty::new(scene);
        let text = self.ask_for_twiml(&chain, &mut duty, telephone).await?;
        let (chat, changes, depth) = duty.done_all();
        let changes = self.marked(&chain, chat, changes, depth);
        let (sender, body_hash) = (SYSTEM.to_owned(), said(&telephone.request));
        let answer = Answer::Twiml { text: text.clone() };
        let remembered = Remembered { sender, key, body_hash, answer };
        let entry = Arc::new(entry(chat, now_ms, changes, Some(remembered)));
        drop(seen);
        self.store(reign, &conversation, guard, entry, commit, asked).await?;
        self.meters.twilio_answered.increment(1);
        Ok(Response::Twiml { text, replay: false })
    }

    /// Answers a request that is known: as the first time.
    async fn answer_again(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        telephone: &Telephone,
        seen: &Appended,
        known: Known,
        asked: &Asked<'_>,
    ) -> Ran {
        self.barrier(reign, conversation, seen, asked).await?;
        if !known.is_for(&said(&telephone.request)) {
            // A signature covers names and values without what is between them.
            let detail = "what was signed says something else than the first time";
            return Err(Refusal::new(Code::IdempotencyConflict, detail).into());
        }
        let first =
            history::entry(&*self.ledger, reign.partition, telephone.token, known.seq).await;
        let Some((_, entry)) = first else {
            let detail = "the first answer cannot be read at the moment";
            let refusal = Refusal::new(Code::NotReady, detail);
            return Err(refusal.with_outcome(RequestOutcome::Unknown).into());
        };
        match entry.remembered.map(|kept| kept.answer) {
            Some(Answer::Twiml { text }) => {
                self.meters.twilio_repeated.increment(1);
                Ok(Response::Twiml { text, replay: true })
            }
            _ => Err(lost().into()),
        }
    }

    /// Asks the handler, and takes what it asked for. Nothing is taken of one that fails.
    async fn ask_for_twiml(
        &self,
        chain: &Chain,
        duty: &mut Duty<'_>,
        telephone: &Telephone,
    ) -> Result<String, Interrupt> {
        let plugin = telephone.plugin.as_str();
        let heard = match chain.find(plugin, Kind::Twilio) {
            Some(handler) => self.hear_twiml(handler, duty, telephone).await,
            None => Err("it is not live, or handles no requests of Twilio".to_owned()),
        };
        heard.map_err(|why| {
            self.meters.twilio_failed.increment(1);
            let chat = telephone.token;
            tracing::warn!(?chat, plugin, %why, "a handler did not answer Twilio");
            let mut refusal =
                not_committed(Code::PluginFailed, format!("handler {plugin} failed: {why}"));
            refusal.plugin = Some(plugin.to_owned());
            refusal.into()
        })
    }

    async fn hear_twiml(
        &self,
        handler: &dyn Handler,
        duty: &mut Duty<'_>,
        telephone: &Telephone,
    ) -> Result<String, String> {
        let plugin = handler.name();
        let call = self.told_of_past(duty.call(plugin), handler, duty.scene());
        let answered = handler.on_request(call, telephone.request.clone()).await;
        let Answered { answer, effects, .. } =
            answered.map_err(|failure: Failure| failure.to_string())?;
        let text = twiml(&answer);
        if text.len() > TWIML_BYTES_MAX {
            return Err(format!("its answer has more than {TWIML_BYTES_MAX} bytes"));
        }
        let scene = duty.scene();
        let over = scene.is_over();
        // What is over by itself stays as it is to its readers, as what has ended does.
        let kept =
            effects.into_iter().filter(|effect| !(over && matches!(effect, Effect::Post(_))));
        duty.hear(plugin, kept.collect()).map_err(|misfit| misfit.to_string())?;
        Ok(text)
    }
}

/// The key under which the answer is kept. Nobody else has such keys: no sender is called like that, and no key of
/// a client has a space in it.
fn key(telephone: &Telephone) -> String {
    format!("twilio {}", telephone.key)
}

/// SHA-256 over what was asked, in postcard. Twilio's own key for a repeat is not signed, and so no part of it.
fn said(request: &TwilioRequest) -> [u8; 32] {
    let TwilioRequest { channel, path, sid, caller, callee, params, idempotency: _ } = request;
    // Cannot fail: texts and lists into memory.
    let bytes = postcard::to_allocvec(&(channel, path, sid, caller, callee, params));
    let bytes = bytes.unwrap_or_default();
    Sha256::new().chain_update(b"carillon twilio 1").chain_update(bytes).finalize().into()
}

#[cfg(test)]
mod tests {
    use plugin::TwilioRequest;

    use super::said;

    fn request() -> TwilioRequest {
        TwilioRequest {
            channel: "voice".into(),
            path: "end".into(),
            sid: "CA1".into(),
            caller: "+491".into(),
            callee: "+492".into(),
            params: vec![("Digits".into(), "1".into())],
            idempotency: Some("i".into()),
        }
    }

    /// These stand in logs: another hash for the same request would call an honest repeat a forgery.
    #[test]
    fn what_was_asked_has_the_hash_it_always_had() {
        let hex: String = said(&request()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "cf8ebd2b19edd876f32ae989857618f80e2cd918449d66481c5a4f22593fa5dc");
    }

    #[test]
    fn what_is_not_signed_is_not_what_was_asked() {
        let again = TwilioRequest { idempotency: None, ..request() };
        assert_eq!(said(&again), said(&request()));
        let other = TwilioRequest { params: vec![("Digit".into(), "s1".into())], ..request() };
        assert_ne!(said(&other), said(&request()));
    }
}
