//! What is said over a WebSocket: one JSON object a frame, `type` says which.

use std::borrow::Cow;

use chat::Response;
use model::{ChatToken, Cursor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::parse;
use crate::problem::Problem;
use crate::shape::{
    HeldShape, MessageShape, NewMessage, PeopleShape, ReadShape, SentShape, Shown, TypingShape,
};

/// The version of all of it. A client that knows only others should leave.
pub(super) const PROTOCOL: u32 = 1;

/// Bytes of what is told, nearly always: a short message and what stands beside it.
const TEXT_BYTES: usize = 512;

/// What a client says.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Auth(AuthFrame<'a>),
    Sub(SubFrame<'a>),
    Unsub(UnsubFrame<'a>),
    Send(SendFrame<'a>),
    Typing(TypingFrame<'a>),
    Read(ReadFrame<'a>),
    Ping,
}

/// Who asks, from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    /// A token, as it stands after `Bearer` elsewhere.
    pub(super) token: String,
}

/// Follow a chat.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    pub(super) chat: String,
    pub(super) after: Option<String>,
    pub(super) r#as: Option<String>,
}

/// Follow it no more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnsubFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    pub(super) chat: String,
}

/// Send a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    pub(super) chat: String,
    pub(super) key: String,
    pub(super) w: Option<u8>,
    pub(super) n: Option<u8>,
    #[serde(borrow)]
    pub(super) message: NewMessage<'a>,
}

/// Say that somebody types.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypingFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    pub(super) chat: String,
    pub(super) sender: Option<String>,
    pub(super) typing: Option<bool>,
}

/// Say how far somebody has read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadFrame<'a> {
    #[expect(dead_code, reason = "it was looked at before")]
    r#type: Cow<'a, str>,
    pub(super) chat: String,
    pub(super) sender: Option<String>,
    pub(super) upto: String,
}

impl<'a> Said<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// What is wrong with it, by field.
    pub(super) fn read(text: &'a str) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Bare<'a> {
            #[serde(borrow, rename = "type")]
            _type: Cow<'a, str>,
        }
        let text = text.as_bytes();
        // Nearly all that is said is messages, and they are not read twice to find that out.
        if text.starts_with(br#"{"type":"send","#) {
            return parse(text).map(Self::Send);
        }
        let head: Head<'_> = parse(text)?;
        match &*head.r#type {
            "auth" => parse(text).map(Self::Auth),
            "sub" => parse(text).map(Self::Sub),
            "unsub" => parse(text).map(Self::Unsub),
            "send" => parse(text).map(Self::Send),
            "typing" => parse(text).map(Self::Typing),
            "read" => parse(text).map(Self::Read),
            "ping" => parse::<Bare<'_>>(text).map(|_bare| Self::Ping),
            _ => Err(Problem::invalid("type: auth, sub, unsub, send, typing, read or ping")),
        }
    }
}

/// What a client is told.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Told<'a> {
    /// First of all.
    Hello { protocol: u32 },
    /// A token was taken.
    Authed,
    /// A chat is followed; its last message now.
    Subbed { chat: Shown<ChatToken>, head: Shown<Cursor> },
    /// It is not followed any more.
    Unsubbed { chat: Shown<ChatToken> },
    /// A message.
    Msg { chat: Shown<ChatToken>, message: MessageShape<'a> },
    /// Where the reader stands, if not at the last message shown: what was passed is not for them.
    Passed { chat: Shown<ChatToken>, cursor: Shown<Cursor> },
    /// What the client has seen after this cursor was withdrawn; what follows takes its place.
    Gap { chat: Shown<ChatToken>, after: Shown<Cursor> },
    /// Who types now.
    Typing {
        chat: Shown<ChatToken>,
        #[serde(flatten)]
        typing: TypingShape<'a>,
    },
    /// How far who has read.
    Read {
        chat: Shown<ChatToken>,
        #[serde(flatten)]
        read: ReadShape<'a>,
    },
    /// Who is there now.
    Presence {
        chat: Shown<ChatToken>,
        #[serde(flatten)]
        people: PeopleShape<'a>,
    },
    /// A message was stored; it may be the first answer again.
    Receipt { chat: Shown<ChatToken>, key: &'a str, replay: bool, sent: SentShape<'a> },
    /// A message is kept back.
    Held { chat: Shown<ChatToken>, key: &'a str, replay: bool, held: HeldShape },
    /// Something was not done. Without a chat it is about the frame.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        chat: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<&'a str>,
        code: &'a str,
        detail: &'a str,
        problem: Box<RawValue>,
    },
    /// The node takes its leave: what is under way is answered within so many milliseconds.
    Drain { by_ms: u64 },
    /// To a ping.
    Pong,
}

impl Told<'_> {
    /// As it goes out.
    pub(super) fn text(&self) -> String {
        let mut text = Vec::with_capacity(TEXT_BYTES);
        // Nothing here cannot be written; were it so, the client would be told an empty object.
        let written = serde_json::to_writer(&mut text, self).ok();
        let text = written.and_then(|()| String::from_utf8(text).ok());
        text.unwrap_or_else(|| "{}".to_owned())
    }
}

/// A problem, as a frame. `chat` and `key` are what the client said.
pub(super) fn error(
    chat: Option<&str>,
    key: Option<&str>,
    problem: &Problem,
    request_id: &str,
) -> String {
    let (code, detail) = (problem.name(), problem.detail());
    let body = String::from_utf8(problem.body(request_id)).ok();
    let problem = body.and_then(|body| RawValue::from_string(body).ok()).unwrap_or_default();
    Told::Error { chat, key, code, detail, problem }.text()
}

/// What became of a message, as a frame.
pub(super) fn receipt(
    chat: ChatToken,
    key: &str,
    answer: Result<Response, Problem>,
    request_id: &str,
) -> String {
    let shown = Shown(chat);
    match answer {
        Ok(Response::Sent(sent)) => {
            let (replay, sent) = (sent.replay, SentShape::new(&sent));
            Told::Receipt { chat: shown, key, replay, sent }.text()
        }
        Ok(Response::Held { id, replay }) => {
            let held = HeldShape { id: Shown(id), held: true };
            Told::Held { chat: shown, key, replay, held }.text()
        }
        Ok(_) => {
            error(Some(&chat.to_string()), Some(key), &crate::endpoints::mismatch(), request_id)
        }
        Err(problem) => error(Some(&chat.to_string()), Some(key), &problem, request_id),
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, error};
    use crate::problem::Problem;

    #[test]
    fn a_frame_is_read_by_its_type_and_refused_by_its_field() {
        let send = r#"{"type":"send","chat":"c","key":"k","message":{"text":"a","json":{"b":1}}}"#;
        assert!(matches!(Said::read(send), Ok(Said::Send(_))));
        assert!(matches!(Said::read(r#"{"type":"sub","chat":"c"}"#), Ok(Said::Sub(_))));
        assert!(matches!(Said::read(r#"{"chat":"c","type":"unsub"}"#), Ok(Said::Unsub(_))));
        assert!(matches!(Said::read(r#"{"type":"ping"}"#), Ok(Said::Ping)));
        let typing = r#"{"type":"typing","chat":"c","typing":false}"#;
        assert!(matches!(Said::read(typing), Ok(Said::Typing(_))));
        assert!(matches!(
            Said::read(r#"{"type":"read","chat":"c","upto":"x"}"#),
            Ok(Said::Read(_))
        ));
        for (frame, field) in [
            ("", "not JSON"),
            ("[]", "object"),
            ("{}", "type"),
            (r#"{"type":"sbu"}"#, "type"),
            (r#"{"type":"sub"}"#, "chat"),
            (r#"{"type":"sub","chat":"c","afetr":"x"}"#, "afetr"),
            (r#"{"type":"ping","chat":"c"}"#, "chat"),
            (r#"{"type":"typing","chat":"c","typing":1}"#, "typing"),
            (r#"{"type":"read","chat":"c"}"#, "upto"),
            (r#"{"type":"send","chat":"c","key":"k","message":{"txet":"a"}}"#, "message.txet"),
            (r#"{"type":"send","chat":"c","key":"k","w":-1,"message":{"text":"a"}}"#, "w"),
        ] {
            let problem = Said::read(frame).unwrap_err();
            assert!(problem.detail().contains(field), "{frame}: {}", problem.detail());
        }
    }

    #[test]
    fn an_error_has_its_code_and_its_whole_problem() {
        let text = error(Some("c"), None, &Problem::invalid("chat: no"), "r1");
        let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&frame["type"], &frame["chat"]), (&"error".into(), &"c".into()));
        assert_eq!(
            (&frame["code"], &frame["detail"]),
            (&"invalid-request".into(), &"chat: no".into())
        );
        assert_eq!(frame["problem"]["request_id"], "r1");
        assert_eq!(frame["problem"]["status"], 400);
    }
}
