//! What a client says over a WebSocket: who asks, which chats are followed, what is sent. What takes time is begun here, and
//! answered when it has come to its end; what is wrong is answered at once.

use std::sync::Arc;
use std::time::Duration;

use chat::Request;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::Message;

use super::follow::Follower;
use super::frame::{
    self, AuthFrame, ReadFrame, Said, SendFrame, SubFrame, Told, TypingFrame, UnsubFrame,
};
use super::meters::Ended;
use super::talk::Talk;
use super::wire::{End, Frame, refused_frame};
use super::work::Done;
use crate::auth::{Denied, Grant, InChat, Needs, Reads, Sends};
use crate::calling::{Aside, put};
use crate::check;
use crate::endpoints::{Placing, follow_from, mark_request, new_send, typing_request};
use crate::problem::Problem;
use crate::shape::{NewMessage, Shown};

/// Chats followed at once over one socket. Each waits at the node that leads it.
const SUBS_MAX: usize = 1024;

impl Talk {
    /// A frame came, or something that is none.
    pub(super) async fn heard(&mut self, frame: Frame) -> Result<(), End> {
        match frame {
            Ok(Message::Text(text)) => match Said::read(&text) {
                Ok(said) => self.said(said).await,
                Err(problem) => self.refuse(None, None, &problem).await,
            },
            Ok(Message::Binary(_)) => {
                self.refuse(None, None, &Problem::invalid("frames are JSON, in frames of text"))
                    .await
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(()),
            Ok(Message::Close(_)) => Err(End(Ended::Client, None)),
            Err(error) => Err(refused_frame(&error)),
        }
    }

    async fn said(&mut self, said: Said<'_>) -> Result<(), End> {
        match said {
            Said::Auth(auth) => self.auth(auth).await,
            Said::Sub(sub) => match self.sub(&sub) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&sub.chat), None, &problem).await,
            },
            Said::Unsub(unsub) => self.unsub(&unsub).await,
            Said::Send(SendFrame { chat, key, w, n, message, .. }) => {
                let placing = Placing { acks: w, copies: n };
                match self.send(&chat, &key, placing, message) {
                    Ok(()) => Ok(()),
                    Err(problem) => self.refuse(Some(&chat), Some(&key), &problem).await,
                }
            }
            Said::Typing(typing) => match self.types(&typing) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&typing.chat), None, &problem).await,
            },
            Said::Read(read) => match self.has_read(&read) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&read.chat), None, &problem).await,
            },
            Said::Ping => self.wire.tell(&Told::Pong).await,
        }
    }

    async fn auth(&mut self, auth: AuthFrame<'_>) -> Result<(), End> {
        let mut headers = HeaderMap::new();
        // What no header can hold is no token either.
        if let Ok(value) = HeaderValue::try_from(format!("Bearer {}", auth.token)) {
            headers.insert(AUTHORIZATION, value);
        }
        match self.edge.auth.identify(&mut headers).await {
            Ok(caller) => {
                self.caller = Some(caller);
                self.wire.tell(&Told::Authed).await
            }
            Err(reason) => {
                self.edge.auth.count(reason);
                self.refuse(None, None, &reason.problem()).await
            }
        }
    }

    /// The grant for a chat, if whoever asks has it now.
    fn grant<G: Grant>(&self, chat: &str) -> Result<G, Problem> {
        let Some(caller) = &self.caller else {
            let detail = "say who asks first, in a frame of the type auth";
            return Err(Problem::new(chat::Code::Unauthenticated, detail));
        };
        let valid = self.edge.auth.still_valid(caller).map_err(Denied::from);
        valid.and_then(|()| G::check(caller.clone(), Some(chat))).map_err(|denied| {
            if let Denied::Refused(reason) = &denied {
                self.edge.auth.count(*reason);
            }
            denied.problem()
        })
    }

    fn sub(&mut self, sub: &SubFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Reads> = self.grant(&sub.chat)?;
        let chat = grant.chat();
        if self.subs.contains_key(&chat) {
            return Err(Problem::invalid("chat: it is followed already over this socket"));
        }
        if self.subs.len() >= SUBS_MAX {
            let detail = format!("one socket follows at most {SUBS_MAX} chats");
            return Err(Problem::new(chat::Code::Overloaded, detail));
        }
        let (reader, after) = follow_from(&grant, sub.r#as.clone(), sub.after.as_deref())?;
        let (edge, id) = (Arc::clone(&self.edge), self.request_id.clone());
        let connection = self.connected.number();
        let mut follower = Follower::new(edge, grant, reader, after, None, (connection, id));
        let abort = self.work.wait(async move {
            let first = follower.first().await;
            Done::Followed(Box::new((chat, follower, first)))
        });
        self.subs.insert(chat, abort);
        Ok(())
    }

    async fn unsub(&mut self, unsub: &UnsubFrame<'_>) -> Result<(), End> {
        let followed = unsub.chat.parse().ok().and_then(|chat| self.subs.remove_entry(&chat));
        let Some((chat, abort)) = followed else {
            let problem = Problem::invalid("chat: it is not followed over this socket");
            return self.refuse(Some(&unsub.chat), None, &problem).await;
        };
        abort.abort();
        self.wire.tell(&Told::Unsubbed { chat: Shown(chat) }).await
    }

    fn send(
        &mut self,
        chat: &str,
        key: &str,
        placing: Placing,
        new: NewMessage<'_>,
    ) -> Result<(), Problem> {
        let grant: InChat<Sends> = self.grant(chat)?;
        check::key(key).map_err(|wrong| Problem::invalid(format!("key: {wrong}")))?;
        let (chat, key) = (grant.chat(), key.to_owned());
        let request = new_send(&self.edge, &grant, new, key.clone(), placing)?;
        let (edge, id) = (Arc::clone(&self.edge), self.request_id.clone());
        self.work.send(async move {
            let answer = put(&edge, &grant, Request::Send(request), at_once(&id)).await;
            Some(frame::receipt(chat, &key, answer, &id))
        });
        Ok(())
    }

    fn types(&mut self, typing: &TypingFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Sends> = self.grant(&typing.chat)?;
        let request = typing_request(&grant, typing.sender.clone(), typing.typing)?;
        self.note(grant, request);
        Ok(())
    }

    fn has_read(&mut self, read: &ReadFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Reads> = self.grant(&read.chat)?;
        let request = mark_request(&grant, read.sender.clone(), &read.upto)?;
        self.note(grant, request);
        Ok(())
    }

    /// Asks for what has no answer, but may be refused.
    fn note<S: Needs + Sync>(&mut self, grant: InChat<S>, request: Request) {
        let (edge, id, chat) =
            (Arc::clone(&self.edge), self.request_id.clone(), grant.chat().to_string());
        self.work.send(async move {
            let answer = put(&edge, &grant, request, at_once(&id)).await;
            answer.err().map(|problem| frame::error(Some(&chat), None, &problem, &id))
        });
    }
}

/// Beside what waits for nothing, and takes no place of those who wait.
const fn at_once(request_id: &str) -> Aside<'_> {
    Aside { wait: Duration::ZERO, request_id, seen: None, connection: 0 }
}
