//! What is known of people and never written, in the order in which it happens.

use std::sync::Arc;
use std::time::Duration;

use model::{
    Attrs, Body, Change, Chat, ChatToken, Cursor, Entry, Message, MessageId, Participant, Route,
};
use runtime::Instant;
use tokio::sync::Semaphore;

use super::{Ephemera, Look, PEOPLE_MAX, Place, places};

const IDLE: Duration = Duration::from_secs(20);

/// A chat, what is known of its people, and a clock that is moved.
struct Story {
    people: Ephemera,
    chat: Chat,
    began: Instant,
    now: Instant,
}

impl Story {
    fn of(names: &[&str]) -> Self {
        let (chat, now) = (Chat::new(ChatToken([1; 16])), runtime::now());
        let mut story = Self { people: Ephemera::default(), chat, began: now, now };
        let join = |id: &&str| Change::Join {
            id: (*id).to_owned(),
            role: String::new(),
            attrs: Attrs::new(),
        };
        story.commits(names.iter().map(join).collect());
        story
    }

    fn commits(&mut self, changes: Vec<Change>) -> Option<Instant> {
        let (chat, turn) = (self.chat.token, self.chat.turn);
        let entry = Entry { chat, turn, time_ms: 1, changes, remembered: None };
        self.chat.apply(&entry);
        self.people.follow(&self.chat, &entry, self.now, Some(IDLE))
    }

    fn stands(&mut self, id: &str, status: &str) {
        let (id, status) = (id.to_owned(), status.to_owned());
        self.commits(vec![Change::MemberStatus { id, status }]);
    }

    /// The node says it for their silence, or that they are back.
    fn is_told(&mut self, id: &str, status: &str) {
        let (id, status) = (id.to_owned(), status.to_owned());
        let told = Change::Message(Arc::new(message("system", "user.status")));
        self.commits(vec![Change::MemberStatus { id, status }, told]);
    }

    fn says(&mut self, id: &str) -> Option<Instant> {
        self.commits(vec![Change::Message(Arc::new(message(id, "text")))])
    }

    fn hears(&mut self, id: &str) -> bool {
        let stranger = Participant { id: id.to_owned(), ..Participant::default() };
        let member = self.chat.roster.get(id).unwrap_or(&stranger);
        self.people.hear(&self.chat, member, self.now, Some(IDLE))
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn look(&mut self) -> Look {
        self.people.look(&self.chat.roster, self.now, self.began, Some(IDLE), 8)
    }

    /// Who is gone by now, and becomes so.
    fn gone(&mut self) -> Vec<String> {
        let Look { gone, .. } = self.look();
        gone.iter().for_each(|id| self.is_told(id, "unavailable"));
        gone
    }

    fn back(&mut self) -> Vec<String> {
        let Look { back, .. } = self.look();
        back.iter().for_each(|id| self.is_told(id, "connected"));
        back
    }
}

fn message(sender: &str, kind: &str) -> Message {
    Message {
        id: MessageId([1; 16]),
        sender: sender.to_owned(),
        kind: kind.to_owned(),
        route: Route::Everyone,
        body: Body::Text(String::new()),
        archive: None,
        attrs: Attrs::new(),
        time_ms: 1,
        sent_ms: None,
        stamps: Vec::new(),
    }
}

fn place() -> Option<Place> {
    Arc::new(Semaphore::new(1)).try_acquire_owned().ok()
}

const fn cursor(seq: u64) -> Cursor {
    Cursor { epoch: 3, seq }
}

#[test]
fn who_is_silent_for_more_than_so_long_is_gone_once() {
    let mut story = Story::of(&["alice", "bob"]);
    assert!(!story.after(10_000).hears("bob"));
    assert_eq!(story.after(10_000).gone(), [""; 0], "for exactly so long is not for longer");
    assert_eq!(story.after(1).gone(), ["alice"]);
    assert_eq!(story.after(9_999).gone(), [""; 0]);
    assert_eq!(story.after(1).gone(), ["bob"]);
    assert_eq!(story.people.look_at(), None, "nobody is left who could be silent");
    assert_eq!(story.after(100_000).look(), Look::default());
}

#[test]
fn who_said_goodbye_is_gone_like_anybody_else() {
    let mut story = Story::of(&["alice"]);
    story.stands("alice", "disconnected");
    assert_eq!(story.after(20_001).gone(), ["alice"]);
}

#[test]
fn who_waits_is_not_silent_however_long() {
    let mut story = Story::of(&["alice"]);
    story.hears("alice");
    story.people.attend("alice");
    story.people.attend("alice");
    assert_eq!(story.after(60_000).gone(), [""; 0]);
    let now = story.now;
    story.people.turn_away("alice", now);
    assert_eq!(story.after(60_000).gone(), [""; 0], "they wait twice");
    let now = story.now;
    story.people.turn_away("alice", now);
    assert_eq!(story.after(20_000).gone(), [""; 0], "silence begins when they go");
    assert_eq!(story.after(1).gone(), ["alice"]);
}

#[test]
fn of_many_who_wait_each_is_heard_as_long_as_they_do_and_nothing_is_left_of_them() {
    let mut story = Story::of(&["alice", "bob"]);
    let strangers: Vec<String> = (0..5_000).map(|n| format!("p{n}")).collect();
    for id in strangers.iter().map(String::as_str).chain(["alice", "bob"]) {
        story.people.attend(id);
    }
    let now = story.after(60_000).now;
    story.people.turn_away("bob", now);
    strangers.iter().for_each(|id| story.people.turn_away(id, now));
    assert_eq!(story.after(20_001).gone(), ["bob"], "alice waits on");
    let now = story.now;
    story.people.turn_away("alice", now);
    assert!(story.people.attending.is_empty() && story.people.attending.capacity() < 64);
    story.people.turn_away("alice", now);
    assert_eq!(story.after(20_001).gone(), ["alice"]);
}

#[test]
fn who_is_heard_again_is_back_once() {
    let mut story = Story::of(&["alice"]);
    assert_eq!(story.after(20_001).gone(), ["alice"]);
    assert!(story.after(5).hears("alice"), "the chat is to be looked at");
    assert!(!story.hears("alice"), "and not for each time they are heard");
    assert_eq!(story.back(), ["alice"]);
    assert_eq!(story.look(), Look::default());
    assert_eq!(story.after(20_001).gone(), ["alice"], "a message makes them back as well");
    let now = story.now;
    assert_eq!(story.says("alice"), Some(now));
    assert_eq!(story.back(), ["alice"]);
}

#[test]
fn who_says_that_they_are_unavailable_and_reads_on_means_it() {
    let mut story = Story::of(&["alice"]);
    story.after(5_000).hears("alice");
    story.stands("alice", "unavailable");
    assert!(!story.after(5_000).hears("alice"));
    assert_eq!(story.look(), Look::default());
}

#[test]
fn a_successor_knows_who_is_unavailable_because_that_was_said() {
    let mut story = Story::of(&["alice", "bob", "carol"]);
    story.stands("alice", "unavailable");
    story.is_told("bob", "unavailable");
    story.stands("carol", "unavailable");
    story.stands("carol", "connected");
    story.is_told("carol", "unavailable");
    (story.people, story.began) = (Ephemera::default(), story.now);
    assert!(!story.after(5_000).hears("alice"));
    assert!(story.hears("bob") && story.hears("carol"));
    assert_eq!(story.back(), ["bob", "carol"]);
    // Who is away for long, and comes back, is there again.
    assert!(story.after(20_001).hears("alice"));
}

#[test]
fn a_successor_gives_everybody_the_whole_time_and_knows_nothing() {
    let mut story = Story::of(&["alice"]);
    story.after(15_000);
    (story.people, story.began) = (Ephemera::default(), story.now);
    assert_eq!(story.after(20_000).gone(), [""; 0]);
    assert_eq!(story.people.moved(Some(0)), super::Moved::default());
    assert_eq!(story.after(1).gone(), ["alice"]);
}

#[test]
fn a_look_is_due_once_for_all_and_never_too_late() {
    let mut story = Story::of(&["alice", "bob"]);
    let first = story.people.look_at().unwrap();
    assert_eq!(first, story.now + IDLE + Duration::from_millis(1));
    assert_eq!(story.after(7_000).says("alice"), None, "one is due before");
    story.hears("bob");
    story.after(13_001);
    assert_eq!(story.look(), Look::default());
    assert_eq!(story.people.look_at(), Some(first + Duration::from_millis(7_000)));
}

#[test]
fn that_somebody_polls_is_told_now_and_then() {
    let mut story = Story::of(&["alice"]);
    let polls = |story: &mut Story| story.people.polls("alice", story.now);
    assert!(polls(&mut story), "the chat is to be looked at");
    assert!(!polls(story.after(9_999)));
    assert_eq!(story.look().polled, ["alice"]);
    assert_eq!(story.look().polled, [""; 0]);
    assert!(polls(story.after(1)));
    assert!(!story.people.polls("nobody", story.now), "who is not there is not told of");
    story.commits(vec![Change::Leave { id: "alice".to_owned() }]);
    assert_eq!(story.look(), Look::default());
}

#[test]
fn a_chat_of_many_is_left_alone() {
    let names: Vec<String> = (0..=PEOPLE_MAX).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::of(&names);
    assert_eq!((story.people.look_at(), story.people.heard.len()), (None, PEOPLE_MAX));
    assert_eq!(story.after(60_000).look(), Look::default());
    let mut fewer = Story::of(&names[1..]);
    let look = fewer.after(60_000).look();
    assert_eq!(
        (look.gone.len(), fewer.people.look_at()),
        (8, Some(fewer.now)),
        "and the rest next"
    );
}

#[test]
fn typing_is_told_when_it_begins_and_when_it_ends() {
    let mut story = Story::of(&["alice"]);
    let (start, now) = (story.people.count(), story.now);
    assert_eq!(story.people.types("alice", now, place), Some(true));
    let told = story.people.moved(Some(start));
    assert_eq!(told.typing, Some(vec!["alice".to_owned()]));
    assert_eq!((told.marks, told.people), (None, None));
    let now = story.after(4_000).now;
    assert_eq!(story.people.types("alice", now, || panic!("no room is taken")), Some(false));
    let until = now + Duration::from_secs(6);
    assert_eq!(story.people.settle(until - Duration::from_millis(1)), (false, Some(until)));
    assert_eq!(story.people.settle(until), (true, None));
    assert_eq!(story.people.moved(Some(told.count)).typing, Some(Vec::new()));
    // Whoever has said it types no more.
    assert_eq!(story.people.types("alice", now, place), Some(true));
    story.says("alice");
    assert_eq!(story.people.moved(Some(told.count)).typing, Some(Vec::new()));
    assert!(!story.people.rests("alice"));
}

#[test]
fn only_so_many_type_and_only_while_the_node_has_room() {
    let mut story = Story::of(&[]);
    let now = story.now;
    assert_eq!(story.people.types("nobody", now, || None), None);
    for number in 0..16 {
        assert_eq!(story.people.types(&number.to_string(), now, place), Some(true));
    }
    assert_eq!(story.people.types("more", now, place), None);
    assert_eq!((places(""), places("x"), places(&"x".repeat(128))), (1, 2, 3));
}

#[test]
fn a_mark_only_goes_forward_and_goes_with_who_set_it() {
    let mut story = Story::of(&["alice", "bob"]);
    let (start, now) = (story.people.count(), story.now);
    assert_eq!(story.people.mark(("alice", cursor(4)), &story.chat.roster, now, place), Some(true));
    for seq in [4, 3] {
        assert_eq!(
            story.people.mark(("alice", cursor(seq)), &story.chat.roster, now, place),
            Some(false)
        );
    }
    assert_eq!(
        story.people.mark(("alice", cursor(5)), &story.chat.roster, now, || None),
        Some(true),
        "it has room"
    );
    story.people.mark(("bob", cursor(1)), &story.chat.roster, now, place);
    let marks = |story: &Story, known| {
        let marks = story.people.moved(known).marks.unwrap_or_default().into_iter();
        marks.map(|(who, at)| (who, at.seq)).collect::<Vec<_>>()
    };
    assert_eq!(marks(&story, Some(start)), [("alice".to_owned(), 5), ("bob".to_owned(), 1)]);
    story.commits(vec![Change::Leave { id: "alice".to_owned() }]);
    assert_eq!(marks(&story, None), [("bob".to_owned(), 1)]);
    let (now, hour) = (story.after(3_600_000).now, Duration::from_secs(3_600));
    story.people.unmark(now, hour + hour);
    assert_eq!(marks(&story, None).len(), 1);
    story.people.unmark(now, hour);
    assert_eq!(marks(&story, None), []);
}

#[test]
fn nobody_from_outside_pushes_the_mark_of_a_member_out() {
    let names: Vec<String> = (0..=PEOPLE_MAX).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = Story::of(&names);
    let now = story.now;
    let mark = |story: &mut Story, who: &str| {
        story.people.mark((who, cursor(1)), &story.chat.roster, now, place)
    };
    let marks = |story: &Story| story.people.moved(None).marks.unwrap_or_default();
    assert_eq!(mark(&mut story, "stranger"), Some(true));
    for name in &names[..PEOPLE_MAX] {
        assert_eq!(mark(&mut story, name), Some(true));
    }
    assert!(!marks(&story).contains_key("stranger"), "the one from outside goes first");
    assert_eq!(mark(&mut story, "stranger"), None);
    assert_eq!(marks(&story).len(), PEOPLE_MAX);
    assert_eq!(mark(&mut story, names[PEOPLE_MAX]), Some(true));
    assert!(!marks(&story).contains_key(names[0]), "then who said so longest ago");
}

#[test]
fn every_part_is_told_by_itself() {
    let mut story = Story::of(&["alice"]);
    let (start, now) = (story.people.count(), story.now);
    assert_eq!(story.people.moved(Some(start - 1)).people, Some(start));
    assert_eq!(story.people.moved(Some(start)).people, None);
    story.people.mark(("alice", cursor(1)), &story.chat.roster, now, place);
    story.stands("alice", "unavailable");
    let told = story.people.moved(Some(start));
    assert_eq!((told.typing, told.marks.is_some(), told.people), (None, true, Some(told.count)));
    assert_eq!(
        story.people.moved(Some(told.count)),
        super::Moved { count: told.count, ..Default::default() }
    );
    story.people.types("alice", now, place);
    story.commits(vec![Change::End { reason: String::new() }]);
    let ended = story.people.moved(Some(told.count));
    assert_eq!((ended.typing, ended.people), (Some(Vec::new()), Some(ended.count)));
}
