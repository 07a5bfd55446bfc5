//! The schedules in which clients of chats have a part, played with the real chats on real cores.

use chat::{Code, Read, RequestOutcome, Response, Sabotage};
use model::{Cursor, MessageId};

use crate::agenda::ms;
use crate::chats::book::{Heard, What};
use crate::chats::people::reading;
use crate::dialogue::{Dialogue, Told, calm, page, planned, refusal};
use crate::disk::Pace;
use crate::invariants::Verdict;
use crate::node::Wall;
use crate::setup::Setup;
use crate::stage::P;
use crate::world::World;

const HOURS: i64 = 3_600_000;

fn plays(schedule: impl Fn(Sabotage) -> Verdict) {
    assert_eq!(schedule(Sabotage::default()), Ok(()));
}

/// A schedule breaks a rule when one is switched off, and none else.
fn notices(name: &str, sabotage: Sabotage, schedule: impl Fn(Sabotage) -> Verdict) {
    let violation = schedule(sabotage).expect_err(name);
    println!("{name}: {}", violation.rule);
    assert_ne!(violation.rule, "schedule", "{violation:?}");
    plays(schedule);
}

/// Seeds of a schedule in which it is a matter of luck whether a broken rule shows.
const TRIES: u64 = 12;

/// The same of one that breaks the rule in some worlds only: what a node that stood still hears first.
fn notices_in_some(name: &str, sabotage: Sabotage, schedule: impl Fn(Sabotage, u64) -> Verdict) {
    let violation = (1..=TRIES).find_map(|seed| schedule(sabotage, seed).err()).expect(name);
    println!("{name}: {}", violation.rule);
    assert_ne!(violation.rule, "schedule", "{violation:?}");
    (1..=TRIES).for_each(|seed| plays(|sabotage| schedule(sabotage, seed)));
}

/// Nobody acknowledges what the leader appends from now on, nor does its own disk.
fn mute(world: &mut World, leader: usize) {
    world.pace(leader, Pace::Hung);
    for member in (0..world.nodes.len()).filter(|member| *member != leader) {
        world.network.cut(&mut world.agenda, leader, member);
    }
}

/// S7. A chat is ended, and its end is only appended; a send is refused for it, if the refusal does not
/// wait. The end is withdrawn.
fn an_end(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    mute(&mut it.world, leader);
    let end = it.ask(leader, What::End { token: it.token })?;
    it.pass(50)?;
    let send = it.send("1", "say one");
    let late = it.ask_as((1, None), leader, send)?;
    it.pass(300)?;
    let early = it.heard_now(late).and_then(|heard| refusal(&heard));
    planned(early.is_none(), &format!("answered at once: {early:?}"))?;
    let next = it.leader_but(leader)?;
    it.says(next, "2", "say two")?;
    let ended = refusal(&it.heard(end)?);
    let unknown = ended.is_some_and(|(_, outcome)| outcome == Some(RequestOutcome::Unknown));
    planned(unknown, &format!("the end: {ended:?}"))?;
    it.settle()
}

/// S8. A strike is only appended, and withdrawn with its epoch: it counts once, where it was repeated.
fn a_strike(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    it.says(leader, "0", "say nothing")?;
    mute(&mut it.world, leader);
    let first = it.sends(leader, "1", "bad one")?;
    it.pass(50)?;
    let next = it.leader_but(leader)?;
    let again = it.sends(next, "1", "bad one")?;
    let Heard::Refused(refused) = it.heard(again)? else { return planned(false, "not refused") };
    planned(refused.reason.as_deref() == Some("strike 1"), &format!("{refused:?}"))?;
    it.world.join(leader);
    it.world.pace(leader, Pace::Normal);
    it.heard(first)?;
    it.settle()
}

/// S9, S10. What was stored, and what was refused without a trace, is answered the same by the next
/// primary.
fn a_repeat(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    let first = it.says(leader, "1", "say one")?;
    let refused = it.sends(leader, "2", "no never")?;
    let refused = it.heard(refused)?;
    it.world.crash(leader)?;
    let next = it.leader_but(leader)?;
    let again = it.says(next, "1", "say one")?;
    planned(again.replay && again.cursor == first.cursor, &format!("{again:?}"))?;
    let again = it.sends(next, "2", "no never")?;
    let again = it.heard(again)?;
    let same =
        matches!((&refused, &again), (Heard::Refused(one), Heard::Refused(two)) if one == two);
    planned(same, &format!("{refused:?} and then {again:?}"))?;
    it.settle()
}

/// S11. Somebody reads on after a message of their own that the primary alone held, and that is gone.
fn a_local_cursor(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    it.says(leader, "1", "say one")?;
    it.world.isolate(leader);
    let local = What::Send {
        token: it.token,
        key: "2".to_owned(),
        text: "say two".to_owned(),
        acks: Some(1),
    };
    let local = it.ask(leader, local)?;
    let Heard::Answered(Response::Sent(local)) = it.heard(local)? else {
        return planned(false, "no local answer");
    };
    let next = it.leader_but(leader)?;
    it.says(next, "3", "say three")?;
    it.says(next, "4", "say four")?;
    let page = reads_after(&mut it, next, local.cursor, local.message.id)?;
    planned(page == 2, &format!("{page} messages"))?;
    it.world.join(leader);
    it.settle()
}

fn reads_after(it: &mut Dialogue, node: usize, after: Cursor, id: MessageId) -> Told<usize> {
    let read = Read { after: Some(after), ..reading(it.token) };
    let number = it.ask(node, What::Read { read, follows: None, local: Some(id) })?;
    Ok(page(it.heard(number)?)?.messages.len())
}

/// S18. A reader waits at a primary that is deposed: they miss nothing. A chat that was made since is not
/// said to be unknown there.
fn a_long_poll(sabotage: Sabotage, seed: u64) -> Verdict {
    let mut it = Dialogue::of(Setup { partitions: 1, seed, ..calm(3, sabotage) })?;
    let leader = it.leader()?;
    let first = it.says(leader, "1", "say one")?;
    let read = Read { after: Some(first.cursor), wait_ms: 9_000, ..reading(it.token) };
    let waiting = What::Read { read, follows: Some(first.cursor.seq), local: None };
    let waiting = it.ask_as((1, None), leader, waiting)?;
    // It is cut off, and stands still until another one leads.
    it.world.session(leader, false);
    it.world.network.set_idle(ms(60_000));
    it.pass(200)?;
    it.world.pause(leader);
    let next = it.leader_but(leader)?;
    let made = it.ask_as((2, None), next, What::Create)?;
    let Heard::Answered(Response::Created(made)) = it.heard(made)? else {
        return planned(false, "not created");
    };
    it.says(next, "2", "say two")?;
    let unknown = What::Show { token: made.token, confirmed: false };
    let unknown = it.ask_as((3, None), leader, unknown)?;
    it.world.resume(leader);
    it.heard(unknown)?;
    let heard = it.heard(waiting)?;
    let page = page(heard)?;
    let fits = page.messages.first().is_none_or(|it| it.cursor.seq == first.cursor.seq + 1);
    planned(fits, &format!("{page:?}"))?;
    it.settle()
}

/// S19. A reader has read at the new primary and asks the old one, which does not know yet: it must not
/// tell less.
fn a_reader_who_moves(sabotage: Sabotage, seed: u64) -> Verdict {
    let mut it = Dialogue::of(Setup { seed, ..calm(3, sabotage) })?;
    let leader = it.leader()?;
    it.says(leader, "1", "say one")?;
    it.world.session(leader, false);
    it.world.network.set_idle(ms(60_000));
    it.pass(200)?;
    it.world.pause(leader);
    let next = it.leader_but(leader)?;
    let second = it.says(next, "2", "say two")?;
    let what = it.reads(None);
    let reads = it.ask_as((1, Some(second.cursor)), leader, what)?;
    let shows = What::Show { token: it.token, confirmed: false };
    let shows = it.ask_as((2, Some(second.cursor)), leader, shows)?;
    it.world.resume(leader);
    for number in [reads, shows] {
        it.heard(number)?;
    }
    it.settle()
}

/// S20. A node's wall clock is a day ahead, or stands still: keys are known, times never fall.
fn a_clock(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    let first = it.says(leader, "1", "say one")?;
    it.world.nodes[leader].wall = Wall { shift_ms: 25 * HOURS, frozen: None };
    let again = it.says(leader, "1", "say one")?;
    planned(again.replay && again.cursor == first.cursor, &format!("{again:?}"))?;
    let ahead = it.says(leader, "2", "say two")?;
    it.world.crash(leader)?;
    let next = it.leader_but(leader)?;
    let after = it.says(next, "3", "say three")?;
    let times = [&first, &ahead, &after].map(|sent| sent.message.time_ms);
    planned(times.is_sorted(), &format!("{times:?}"))?;
    let again = it.says(next, "2", "say two")?;
    planned(again.replay, &format!("{again:?}"))?;
    let now = it.world.agenda.now();
    let frozen = it.world.nodes[next].wall.ms(now);
    it.world.nodes[next].wall.frozen = Some(frozen);
    it.pass(2_000)?;
    let still = it.says(next, "4", "say four")?;
    planned(still.message.time_ms >= after.message.time_ms, &format!("{still:?}"))?;
    it.settle()
}

#[test]
fn s7_an_end_that_is_withdrawn_refuses_nobody() {
    notices("no_barrier", Sabotage { no_barrier: true, ..Sabotage::default() }, an_end);
}

#[test]
fn s8_a_withdrawn_strike_counts_once() {
    plays(a_strike);
}

#[test]
fn s9_s10_a_repeat_is_answered_by_the_next_primary_as_by_the_first() {
    notices("forget_keys", Sabotage { forget_keys: true, ..Sabotage::default() }, a_repeat);
}

#[test]
fn s11_who_reads_on_after_a_withdrawn_message_misses_nothing() {
    let sabotage = Sabotage { plain_cursors: true, ..Sabotage::default() };
    notices("plain_cursors", sabotage, a_local_cursor);
}

#[test]
fn s18_a_deposed_primary_tells_no_reader_what_is_not_so() {
    notices_in_some(
        "no_confirm",
        Sabotage { no_confirm: true, ..Sabotage::default() },
        a_long_poll,
    );
}

#[test]
fn s19_a_reader_who_changes_nodes_is_not_told_less() {
    let sabotage = Sabotage { ignore_seen: true, ..Sabotage::default() };
    notices_in_some("ignore_seen", sabotage, a_reader_who_moves);
}

#[test]
fn s20_a_clock_changes_nothing_but_what_is_shown() {
    notices("keys_by_clock", Sabotage { keys_by_clock: true, ..Sabotage::default() }, a_clock);
}

/// A node with entries that were withdrawn takes over, and its disk hangs before they are cut there: the
/// others commit its opening entry, and it leads. What it serves is the log, not what its disk still holds.
fn a_late_cut(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let first = it.leader()?;
    it.says(first, "1", "say one")?;
    it.world.isolate(first);
    for key in ["2", "3"] {
        let what = What::Send {
            token: it.token,
            key: key.to_owned(),
            text: format!("say {key}"),
            acks: Some(1),
        };
        let local = it.ask(first, what)?;
        it.heard(local)?;
    }
    let second = it.leader_but(first)?;
    let third = 3 - first - second;
    for key in ["4", "5", "6"] {
        it.says(second, key, &format!("say {key}"))?;
    }
    it.until("equal logs", |world| world.end(second, P) == world.end(third, P))?;
    let epoch = it.world.registry.current(P).epoch;
    it.world.isolate(second);
    it.world.session(third, false);
    let pair = [(first, third), (third, first)];
    for (from, to) in pair {
        it.world.network.heal(&mut it.world.agenda, from, to);
    }
    it.until("the cut", |world| world.end(first, P).epoch >= epoch)?;
    it.world.pace(first, Pace::Hung);
    planned(it.world.nodes[first].durable(P).end().epoch < epoch, "it is on its disk")?;
    it.world.join(second);
    it.pass(1_000)?;
    let reads = it.reads(None);
    let reads = it.ask(first, reads)?;
    it.pass(200)?;
    it.world.pace(first, Pace::Normal);
    it.heard(reads)?;
    it.settle()
}

/// A primary cannot read its log for a while. When it can, it serves: nobody else takes over from it.
fn an_unreadable_log(sabotage: Sabotage) -> Verdict {
    let mut it = Dialogue::new(sabotage)?;
    let leader = it.leader()?;
    it.says(leader, "1", "say one")?;
    it.world.setup.unread_per_mille = 1_000;
    it.world.crash(leader)?;
    let next = it.leader_but(leader)?;
    let early = it.sends(next, "2", "say two")?;
    let early = refusal(&it.heard(early)?);
    planned(early.is_some_and(|(code, _)| code == Code::NotReady), &format!("{early:?}"))?;
    it.world.setup.unread_per_mille = 0;
    it.pass(5_000)?;
    let leads = it.leader()?;
    planned(leads == next, "another one leads")?;
    it.says(next, "2", "say two")?;
    it.settle()
}

#[test]
fn a_log_that_could_not_be_read_is_read_again() {
    plays(an_unreadable_log);
}

#[test]
fn a_new_primary_does_not_serve_what_its_disk_still_holds() {
    plays(a_late_cut);
}

/// A primary cut off from the others keeps snapshots meanwhile. What it alone has is withdrawn, and later it
/// leads again: it must not tell what a snapshot of that would say. With the others it knows every key.
fn a_snapshot(sabotage: Sabotage) -> Verdict {
    let calm = calm(3, sabotage);
    let mut chats = calm.chats.clone();
    if let Some(chats) = &mut chats {
        chats.config.snapshot_entries = 4;
    }
    let mut it = Dialogue::of(Setup { chats, ..calm })?;
    let first = it.leader()?;
    for key in 0..8 {
        it.says(first, &key.to_string(), &format!("say {key}"))?;
    }
    let before = it.world.counts.snapshots;
    it.until("snapshots", |world| world.counts.snapshots >= before + 3)?;
    it.world.isolate(first);
    for key in 8..16 {
        let (token, key, text) = (it.token, key.to_string(), format!("say {key}"));
        let local = it.ask(first, What::Send { token, key, text, acks: Some(1) })?;
        it.heard(local)?;
    }
    it.pass(1_500)?;
    let second = it.leader_but(first)?;
    it.says(second, "9", "say 9")?;
    it.world.join(first);
    it.until("equal logs", |world| world.is_equal(P))?;
    for leader in [second, 3 - first - second] {
        it.world.crash(leader)?;
        it.leader_but(leader)?;
        it.world.restart(leader);
        it.until("equal logs", |world| world.is_equal(P))?;
    }
    let leader = it.leader()?;
    for key in [0, 7, 9] {
        let again = it.says(leader, &key.to_string(), &format!("say {key}"))?;
        planned(again.replay, &format!("{again:?}"))?;
    }
    it.says(leader, "8", "say 8")?;
    planned(it.world.counts.snapshots_read > 0, "none was read")?;
    it.settle()
}

#[test]
fn a_snapshot_tells_nothing_that_was_withdrawn() {
    notices(
        "believe_snapshots",
        Sabotage { believe_snapshots: true, ..Sabotage::default() },
        a_snapshot,
    );
}
