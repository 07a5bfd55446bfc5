//! A request that one node runs for a client of another: one short stream each.
//!
//! The asker sends one frame and ends its side; the answer comes in parts, or says that the request was
//! not run. What the asker may conclude is the point of [`ForwardError`]: before the first byte left,
//! nothing can have happened; after it, only an answer tells. Lengths, the wait and the number of calls
//! at once are bounded on the answering side too, which trusts a peer's certificate and not its care.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashring::NodeId;
use quinn::{Connection, RecvStream, SendStream};
use wire::limits::{ANSWER_BYTES_MAX, ANSWER_PART_BYTES, FRAME_BYTES_MAX};
use wire::{Kind, NotRun, RequestHead, codec};

use crate::incoming::{Incoming, IncomingError};
use crate::peer::{Net, close_malformed};
use crate::peers::code;
use crate::stream::Stream;
use crate::{ForwardError, metric};

/// Calls of other nodes that run here at once; more are answered with [`NotRun::Busy`].
pub(crate) const CALLS_MAX: usize = 4096;
/// The longest any call is waited for: a long poll and some slack.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The priority of answers that can wait: entries have 0, and so has every other answer.
const PATIENT: i32 = -1;
/// How long the frame of a request may take once its stream is there.
const REQUEST_MAX: Duration = Duration::from_secs(5);

/// Asks the node at the other end of `connection`.
pub(crate) async fn ask(
    connection: Option<Connection>,
    to: &NodeId,
    head: RequestHead,
    body: &[u8],
) -> Result<Bytes, ForwardError> {
    let not_run = || ForwardError::NotRun { to: to.clone(), why: None };
    let wait = Duration::from_millis(u64::from(head.wait_ms)).min(WAIT_MAX);
    let deadline = runtime::now() + wait;
    let mut request = BytesMut::new();
    codec::encode_head(Kind::Request, &head, body, &mut request).map_err(|_long| not_run())?;
    let connection = connection.ok_or_else(not_run)?;
    // Until a stream is there nothing was said, so running out of time here is harmless.
    let opened = runtime::timeout(wait, connection.open_bi()).await;
    let (mut out, stream) = opened.ok().and_then(Result::ok).ok_or_else(not_run)?;
    let left = deadline.saturating_duration_since(runtime::now());
    let answered = runtime::timeout(left, async {
        if out.write_all(&request).await.is_err() || out.finish().is_err() {
            return Err(ForwardError::Lost { to: to.clone() });
        }
        read_answer(Incoming::new(stream, FRAME_BYTES_MAX), to).await
    });
    answered.await.unwrap_or_else(|_elapsed| Err(ForwardError::Late { to: to.clone() }))
}

async fn read_answer(mut from: Incoming, to: &NodeId) -> Result<Bytes, ForwardError> {
    let lost = || ForwardError::Lost { to: to.clone() };
    let mut parts = BytesMut::new();
    loop {
        let frame = from.next().await.ok().flatten().ok_or_else(lost)?;
        if parts.len() + frame.body.len() > ANSWER_BYTES_MAX {
            return Err(lost());
        }
        match frame.kind {
            // Nearly every answer is one part, and is not copied.
            Kind::AnswerEnd if parts.is_empty() => return Ok(frame.body),
            Kind::AnswerEnd => {
                parts.extend_from_slice(&frame.body);
                return Ok(parts.freeze());
            }
            Kind::AnswerPart => parts.extend_from_slice(&frame.body),
            Kind::NotRun => {
                let why = codec::decode(Kind::NotRun, &frame).map_err(|_malformed| lost())?;
                return Err(ForwardError::NotRun { to: to.clone(), why: Some(why) });
            }
            Kind::Hello | Kind::Refusal | Kind::Message | Kind::Request | Kind::Bulk => {
                return Err(lost());
            }
        }
    }
}

/// Reads one request, runs it, answers.
pub(crate) async fn answer(
    net: &Net,
    connection: &Connection,
    from: NodeId,
    mut out: SendStream,
    stream: RecvStream,
) {
    let mut incoming = Incoming::new(stream, FRAME_BYTES_MAX);
    let frame = match runtime::timeout(REQUEST_MAX, incoming.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Err(IncomingError::Malformed(error))) => {
            close_malformed(net, connection, &error);
            return;
        }
        // Ended or too slow: the asker has given up, or will.
        _ => return,
    };
    let (head, body) = match codec::decode_head::<RequestHead>(Kind::Request, &frame) {
        Ok(request) => request,
        Err(error) => {
            close_malformed(net, connection, &error);
            return;
        }
    };
    if net.host.streams(&body) {
        let stream = Stream::new(out, incoming);
        // A stream has a bound of its own on the other floor, and no time.
        tokio::select! { biased;
            () = net.tasks.stop().stopped() => {}
            () = net.host.stream(from, body, stream) => {}
        }
        return;
    }
    if net.host.is_patient(&body) {
        // The stream has ended if not: then nobody waits.
        drop(out.set_priority(PATIENT));
    }
    let Some(done) = run(net, from, head, body).await else {
        // Nobody waits any more. A reset says so at once, should the clocks have run apart.
        drop(out.reset(code::SILENT));
        return;
    };
    let mut frames = BytesMut::new();
    let encoded = match &done {
        Ok(answer) => encode_answer(answer, &mut frames),
        Err(why) => codec::encode(Kind::NotRun, why, &mut frames),
    };
    if let Err(error) = encoded {
        tracing::error!(%error, "an answer that no frame can hold");
        drop(out.reset(code::MALFORMED));
        return;
    }
    // If the asker is gone, so is whoever would read the error.
    if out.write_all(&frames).await.is_ok() {
        drop(out.finish());
    }
}

/// `None` when nobody waits any more: time ran out, or this node stops and its connections with it.
async fn run(
    net: &Net,
    from: NodeId,
    head: RequestHead,
    body: Bytes,
) -> Option<Result<Bytes, NotRun>> {
    if net.tasks.stop().is_stopped() {
        return Some(Err(NotRun::Stopping));
    }
    let Ok(_permit) = net.calls.try_acquire() else {
        metric::busy(&net.ours.node);
        return Some(Err(NotRun::Busy));
    };
    let wait = Duration::from_millis(u64::from(head.wait_ms)).min(WAIT_MAX);
    tokio::select! { biased;
        () = net.tasks.stop().stopped() => None,
        done = runtime::timeout(wait, net.host.answer(from, head, body)) => done.ok(),
    }
}

fn encode_answer(answer: &[u8], frames: &mut BytesMut) -> Result<(), wire::Error> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(wire::Error::TooLong { bytes: answer.len(), max: ANSWER_BYTES_MAX });
    }
    let mut rest = answer;
    while let Some((part, after)) = rest.split_at_checked(ANSWER_PART_BYTES) {
        if after.is_empty() {
            break;
        }
        codec::encode_raw(Kind::AnswerPart, part, frames)?;
        rest = after;
    }
    codec::encode_raw(Kind::AnswerEnd, rest, frames)
}
