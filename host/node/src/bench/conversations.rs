//! What conversations cost beside single sends: sends over sockets, delivery to many readers, presence of many people, and
//! sends into long chats.
//!
//! Each figure stands beside what it is to be compared with, measured in the same run. The nodes want no tokens for it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Socket, Target};
use runtime::{Instant, Stop};
use serde::Serialize;
use tokio::task::JoinSet;

use super::door::{Ask, Door, text_after};
use super::latency::Latencies;
use super::load::{Load, Place};
use super::readers::{Way, follow};
use super::{place, rate};

/// Sockets that send at once, and messages of each that are on their way.
const SOCKETS: usize = 16;
const ON_THEIR_WAY: usize = 16;
/// Of those that fill one chat: a chat has at most 64 entries on their way.
const FILLERS: usize = 2;
/// Senders to many chats with a reader each.
const SENDERS: usize = 8;
/// Between two messages of one of them, so that what is measured is delivery and not a queue.
const PACE: Duration = Duration::from_millis(20);
/// Chats over which people are spread, at most: nobody falls silent in a chat of more than 200.
const ROOMS: usize = 100;
/// Who joins at once.
const JOINERS: usize = 32;
/// So long readers have before somebody speaks, and one second more for each thousand.
const GATHER: Duration = Duration::from_secs(2);
/// So long nothing is done between readers and people.
const QUIET: Duration = Duration::from_secs(15);
/// Ticks of the processor's clock in a second, as Linux counts them for everybody.
const TICKS: f64 = 100.0;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) targets: Vec<Target>,
    pub(crate) measured: Duration,
    pub(crate) body_bytes: usize,
    /// Readers of one chat, and chats with a reader each.
    pub(crate) readers: usize,
    pub(crate) people: usize,
    /// How long the chats are that are sent to, in messages; rising.
    pub(crate) messages: Vec<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Sends a second by as many clients as there are messages on the sockets.
    http_per_second: f64,
    http_p50_ms: Option<f64>,
    /// Over sockets.
    socket_per_second: f64,
    socket_p50_ms: Option<f64>,
    socket_p99_ms: Option<f64>,
    socket_errors: u64,
    /// From the acknowledgement until a reader has it.
    delivered: Vec<Delivered>,
    presence: Option<Presence>,
    /// Sends of one client to chats of several lengths.
    lengths: Vec<Length>,
}

#[derive(Clone, Debug, Serialize)]
struct Delivered {
    way: &'static str,
    chats: usize,
    readers: usize,
    /// Messages by readers.
    deliveries: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Processor time in one second, where the nodes run in this process.
#[derive(Clone, Debug, Serialize)]
struct Presence {
    people: usize,
    cpu_share_before: Option<f64>,
    cpu_share: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Length {
    messages: u64,
    per_second: f64,
    p50_ms: Option<f64>,
}

/// Meets acknowledgements and deliveries.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    acknowledged: Mutex<HashMap<String, Instant>>,
    took: Mutex<Latencies>,
}

impl Arrivals {
    /// Its sender has the answer.
    fn acknowledged(&self, id: &str, now: Instant) {
        let mut known = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id.to_owned(), now);
    }

    /// A reader has it. Before its sender heard of it: no time at all.
    pub(super) fn arrived(&self, id: &str, now: Instant) {
        let known = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let took = known.get(id).map(|began| now.saturating_duration_since(*began));
        drop(known);
        let mut all = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        all.add(took.unwrap_or_default());
    }
}

/// Measures all of it, one after the other.
///
/// # Errors
/// When the nodes cannot be asked, or say no where they should not.
pub(crate) async fn run(wanted: &Wanted, progress: impl Fn(&str)) -> io::Result<Figures> {
    let mut figures = Figures::default();
    let mut door = Door::new(&wanted.targets, None);
    progress("sends: HTTP, then sockets");
    sends(wanted, &mut door, &mut figures).await?;
    for way in [Way::Poll, Way::Events, Way::Socket] {
        for chats in [1, wanted.readers] {
            progress(&format!("{} readers of {chats} chats, by {}", wanted.readers, way.name()));
            figures.delivered.push(delivery(wanted, &mut door, way, chats).await?);
        }
    }
    if wanted.people > 0 {
        progress(&format!("{} people who are there", wanted.people));
        figures.presence = Some(presence(wanted, &mut door).await?);
    }
    let long = place(&mut door, 0, false).await?;
    let mut there = 0;
    for messages in &wanted.messages {
        progress(&format!("a chat of {messages} messages"));
        fill(wanted, &long, messages.saturating_sub(there)).await?;
        there = (*messages).max(there);
        figures.lengths.push(length(wanted, &long, there).await);
    }
    Ok(figures)
}

async fn sends(wanted: &Wanted, door: &mut Door, figures: &mut Figures) -> io::Result<()> {
    let mut places = Vec::new();
    for chat in 0..SOCKETS {
        places.push(place(door, chat, false).await?);
    }
    let load = load(wanted, places.clone(), SOCKETS * ON_THEIR_WAY);
    let tally = load.run(super::WARM_UP, wanted.measured, Arc::default()).await;
    figures.http_per_second = rate(&tally.sent, tally.elapsed);
    figures.http_p50_ms = tally.sent.p50_ms();
    let begin = runtime::now() + super::WARM_UP;
    let end = begin + wanted.measured;
    let mut sockets = JoinSet::new();
    for place in places {
        let wanted = wanted.clone();
        sockets.spawn(async move {
            let (mut sent, mut errors) = (Latencies::default(), 0);
            let counts = |began: Instant, took: Option<Duration>| match took {
                Some(took) if began >= begin => sent.add(took),
                Some(_) => {}
                None => errors += u64::from(began >= begin),
            };
            pipeline(&wanted, &place, ON_THEIR_WAY, || runtime::now() < end, counts).await?;
            Ok::<_, io::Error>((sent, errors))
        });
    }
    let mut all = Latencies::default();
    while let Some(socket) = sockets.join_next().await {
        let (sent, errors) = socket.map_err(io::Error::other)??;
        all.merge(&sent);
        figures.socket_errors += errors;
    }
    figures.socket_per_second = rate(&all, wanted.measured);
    figures.socket_p50_ms = all.p50_ms();
    figures.socket_p99_ms = all.p99_ms();
    Ok(())
}

/// Sends to one chat over one socket, so many at once, as long as it `goes_on`; each answer is told, with how long it took
/// if it was a receipt.
async fn pipeline(
    wanted: &Wanted,
    place: &Place,
    at_once: usize,
    goes_on: impl Fn() -> bool,
    mut told: impl FnMut(Instant, Option<Duration>),
) -> io::Result<()> {
    let target = wanted.targets.get(place.leader.unwrap_or_default());
    let target = target.ok_or(io::ErrorKind::NotFound)?;
    let mut socket = Socket::open(target).await?;
    let run = format!("{:08x}", rand::random::<u32>());
    let text = "x".repeat(wanted.body_bytes);
    let mut under_way: HashMap<String, Instant> = HashMap::new();
    let mut number = 0_u64;
    loop {
        while under_way.len() < at_once && goes_on() {
            let key = format!("{run}-{number}");
            number += 1;
            socket.put(&format!(
                r#"{{"type":"send","chat":"{}","key":"{key}","message":{{"sender":"person-{}","text":"{text}"}}}}"#,
                place.token,
                number % 4,
            ));
            under_way.insert(key, runtime::now());
        }
        if under_way.is_empty() {
            return Ok(());
        }
        // Answers that came together are answered together.
        if !socket.has_more() {
            socket.flush().await?;
        }
        let answer = socket.hear().await?;
        let Some(key) = text_after(answer.as_bytes(), r#""key":""#) else { continue };
        let Some(began) = under_way.remove(key) else { continue };
        let stored = answer.starts_with(r#"{"type":"receipt""#);
        told(began, stored.then(|| runtime::now().saturating_duration_since(began)));
    }
}

async fn delivery(
    wanted: &Wanted,
    door: &mut Door,
    way: Way,
    chats: usize,
) -> io::Result<Delivered> {
    let mut places = Vec::new();
    for chat in 0..chats.max(1) {
        places.push(place(door, chat, false).await?);
    }
    let (arrivals, stop) = (Arc::new(Arrivals::default()), Stop::default());
    let mut readers = JoinSet::new();
    for (reader, place) in (0..wanted.readers).zip(places.iter().cycle()) {
        let (arrivals, stop, place) = (Arc::clone(&arrivals), stop.clone(), place.clone());
        // Readers are at any node, as clients are.
        let targets = wanted.targets.clone();
        readers.spawn(async move {
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = follow(&targets, reader, &place, way, &arrivals) => {}
            }
        });
    }
    let thousands = u32::try_from(wanted.readers / 1000).unwrap_or(u32::MAX);
    runtime::sleep(GATHER + Duration::from_secs(1) * thousands).await;
    let end = runtime::now() + wanted.measured;
    let mut senders = JoinSet::new();
    let speakers = if chats == 1 { 1 } else { SENDERS };
    for sender in 0..speakers {
        let (arrivals, places) = (Arc::clone(&arrivals), places.clone());
        let wanted = wanted.clone();
        senders.spawn(async move { speak(&wanted, sender, &places, &arrivals, end).await });
    }
    while let Some(sender) = senders.join_next().await {
        sender.map_err(io::Error::other)??;
    }
    // What is on its way arrives.
    runtime::sleep(GATHER / 2).await;
    stop.stop();
    readers.join_all().await;
    let took = arrivals.took.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(Delivered {
        way: way.name(),
        chats,
        readers: wanted.readers,
        deliveries: took.count(),
        p50_ms: took.p50_ms(),
        p99_ms: took.p99_ms(),
    })
}

/// Says something now and then, to one of the chats.
async fn speak(
    wanted: &Wanted,
    sender: usize,
    places: &[Place],
    arrivals: &Arrivals,
    end: Instant,
) -> io::Result<()> {
    let mut door = Door::new(&wanted.targets, None);
    let run = format!("{:08x}", rand::random::<u32>());
    let body = format!(r#"{{"sender":"s{sender}","text":"{}"}}"#, "x".repeat(wanted.body_bytes));
    for number in 0_u64.. {
        if runtime::now() >= end {
            break;
        }
        let pick = usize::try_from(rand::random::<u32>()).unwrap_or_default();
        let Some(place) = places.get(pick % places.len().max(1)) else { break };
        let path = format!("/v1/chats/{}/messages", place.token);
        let headers = format!("idempotency-key: {run}-{number}\r\n");
        let ask =
            Ask { method: "POST", path: &path, headers: &headers, body: Some(body.as_bytes()) };
        let (status, answer) = door.ask(place.leader.unwrap_or_default(), ask).await?;
        let now = runtime::now();
        match (status, text_after(answer, r#""id":""#)) {
            (201, Some(id)) => arrivals.acknowledged(id, now),
            _ => return Err(io::Error::other(format!("{path}: {status}"))),
        }
        runtime::sleep(PACE).await;
    }
    Ok(())
}

/// People who are in chats and whose sockets wait for messages: what it costs that they are there.
async fn presence(wanted: &Wanted, door: &mut Door) -> io::Result<Presence> {
    let rooms = ROOMS.min(wanted.people).max(1);
    let in_each = wanted.people.div_ceil(rooms);
    let mut places = Vec::new();
    for chat in 0..rooms {
        places.push(place(door, chat, false).await?);
    }
    let places = Arc::new(places);
    // What readers of before left behind is not counted; whoever is there now is not silent for long enough to be.
    runtime::sleep(QUIET).await;
    join_all(wanted, &places, in_each).await?;
    let before = share(wanted.measured).await;
    let stop = Stop::default();
    let mut sockets = JoinSet::new();
    for person in 0..in_each {
        let (places, stop, targets) = (Arc::clone(&places), stop.clone(), wanted.targets.clone());
        sockets.spawn(async move {
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                _ended = attend(&targets, person, &places) => {}
            }
        });
    }
    runtime::sleep(GATHER * 5).await;
    let cpu_share = share(wanted.measured).await;
    stop.stop();
    sockets.join_all().await;
    Ok(Presence { people: rooms * in_each, cpu_share_before: before, cpu_share })
}

/// So many people in each chat.
async fn join_all(wanted: &Wanted, places: &Arc<Vec<Place>>, in_each: usize) -> io::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut joiners = JoinSet::new();
    for _joiner in 0..JOINERS {
        let (next, places, targets) =
            (Arc::clone(&next), Arc::clone(places), wanted.targets.clone());
        joiners.spawn(async move {
            let mut door = Door::new(&targets, None);
            loop {
                let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed));
                let number = number.unwrap_or(usize::MAX);
                let Some(place) = places.get(number / in_each) else { return Ok(()) };
                let path = format!("/v1/chats/{}/members/p{}", place.token, number % in_each);
                let ask = Ask { method: "PUT", path: &path, headers: "", body: Some(b"{}") };
                let (status, _) = door.ask(place.leader.unwrap_or_default(), ask).await?;
                if status != 200 {
                    return Err(io::Error::other(format!("{path}: {status}")));
                }
            }
        });
    }
    while let Some(joiner) = joiners.join_next().await {
        joiner.map_err(io::Error::other)??;
    }
    Ok(())
}

/// One person follows all chats over one socket, for ever.
async fn attend(targets: &[Target], person: usize, places: &[Place]) -> io::Result<()> {
    let target = targets.get(person % targets.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
    let mut socket = Socket::open(target).await?;
    for Place { token, .. } in places {
        socket.put(&format!(r#"{{"type":"sub","chat":"{token}","as":"p{person}"}}"#));
    }
    socket.flush().await?;
    loop {
        socket.hear().await?;
    }
}

/// Processor time of this process in one second, over a while; `None` where the system does not say it.
async fn share(over: Duration) -> Option<f64> {
    let (before, began) = (ticks()?, runtime::now());
    runtime::sleep(over).await;
    let took = runtime::now().saturating_duration_since(began).as_secs_f64();
    Some((ticks()? - before) / TICKS / took.max(f64::EPSILON))
}

fn ticks() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything: state, then numbers; those of user and system are the 12th and 13th.
    let (_, after) = stat.rsplit_once(')')?;
    let mut numbers = after.split_whitespace().skip(11);
    let user: f64 = numbers.next()?.parse().ok()?;
    let system: f64 = numbers.next()?.parse().ok()?;
    Some(user + system)
}

/// So many more messages in one chat.
async fn fill(wanted: &Wanted, place: &Place, messages: u64) -> io::Result<()> {
    let left = Arc::new(AtomicU64::new(messages));
    let mut fillers = JoinSet::new();
    for _filler in 0..FILLERS {
        let (left, wanted, place) = (Arc::clone(&left), wanted.clone(), place.clone());
        fillers.spawn(async move {
            let take = || {
                let less = |left: u64| left.checked_sub(1);
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
            };
            let again = |_began, took: Option<Duration>| {
                if took.is_none() {
                    left.fetch_add(1, Ordering::Relaxed);
                }
            };
            pipeline(&wanted, &place, ON_THEIR_WAY, take, again).await
        });
    }
    while let Some(filler) = fillers.join_next().await {
        filler.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn length(wanted: &Wanted, place: &Place, messages: u64) -> Length {
    let load = load(wanted, vec![place.clone()], 1);
    let tally = load.run(super::WARM_UP / 2, wanted.measured, Arc::default()).await;
    let per_second = rate(&tally.sent, tally.elapsed);
    Length { messages, per_second, p50_ms: tally.sent.p50_ms() }
}

fn load(wanted: &Wanted, places: Vec<Place>, clients: usize) -> Load {
    Load {
        targets: wanted.targets.clone(),
        bearer: None,
        places,
        clients,
        body_bytes: wanted.body_bytes,
        acks: None,
        run: format!("{:08x}", rand::random::<u32>()),
    }
}

impl Figures {
    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let ms = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3} ms"))
        };
        let mut text = String::new();
        let mut row = |name: String, value: String| _ = writeln!(text, "{name:<56}{value:>14}");
        row("HTTP sends a second".to_owned(), format!("{:.0}", self.http_per_second));
        row("HTTP send p50".to_owned(), ms(self.http_p50_ms));
        row("socket sends a second".to_owned(), format!("{:.0}", self.socket_per_second));
        row("socket send p50".to_owned(), ms(self.socket_p50_ms));
        row("socket send p99".to_owned(), ms(self.socket_p99_ms));
        row("socket sends not acknowledged".to_owned(), self.socket_errors.to_string());
        if self.http_per_second > 0.0 {
            let ratio = self.socket_per_second / self.http_per_second;
            row("sockets / HTTP".to_owned(), format!("{ratio:.2}"));
        }
        for Delivered { way, chats, readers, p50_ms, p99_ms, .. } in &self.delivered {
            let name = format!("acknowledged to read: {readers} readers of {chats} by {way}");
            row(format!("{name}, p50"), ms(*p50_ms));
            row(format!("{name}, p99"), ms(*p99_ms));
        }
        if let Some(Presence { people, cpu_share_before, cpu_share }) = &self.presence {
            let share = |value: Option<f64>| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{:.1} %", 100.0 * value))
            };
            row("one core, nobody there".to_owned(), share(*cpu_share_before));
            row(format!("one core, {people} people there"), share(*cpu_share));
        }
        for Length { messages, per_second, p50_ms } in &self.lengths {
            row(
                format!("one client, chat of {messages}: sends a second"),
                format!("{per_second:.0}"),
            );
            row(format!("one client, chat of {messages}: p50"), ms(*p50_ms));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Arrivals, ticks};

    #[test]
    fn every_reader_is_measured_from_the_acknowledgement_on() {
        let arrivals = Arrivals::default();
        let now = runtime::now();
        arrivals.arrived("early", now);
        arrivals.acknowledged("late", now);
        arrivals.arrived("late", now + Duration::from_millis(10));
        arrivals.arrived("late", now + Duration::from_millis(20));
        let took = arrivals.took.lock().unwrap().clone();
        assert_eq!(took.count(), 3);
        assert!(took.p99_ms().unwrap() > 19.0 && took.per_mille_ms(1).unwrap() < 1.0);
    }

    #[test]
    fn the_processors_time_is_read() {
        assert!(ticks().is_some_and(|ticks| ticks >= 0.0));
    }
}
