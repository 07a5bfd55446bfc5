//! A turn that nobody asked for: timers and holds that are over, and events that are to be told.
//!
//! Pure, as [`crate::turn`] is: it says whom to tell what ([`Duty::expire`], [`Duty::next_event`]), is told
//! what they asked for ([`Duty::hear`]), and gives the changes of one entry. What a timer's handler asks for
//! is in the entry in which the timer ends, so both happen once or not at all.

use model::{Change, Chat, Dropped, MessageId};
use plugin::{Call, Effect, Event};

use crate::deadlines::Deadline;
use crate::effects::Misfit;
use crate::play::{Play, Scene};
use crate::telling;
use crate::turn::participant;

/// The rounds of other turns are below: the calls of all of them have other dice.
const FIRST_ROUND: u8 = 16;

/// The kind of a message that says how somebody stands.
const USER_STATUS: &str = "user.status";

/// Such a turn while it is decided.
#[derive(Debug)]
pub(crate) struct Duty<'a> {
    play: Play<'a>,
    /// The chat is over: what ends, ends without a word.
    over: bool,
    round: u8,
    /// How many events led to what is asked for here.
    depth: u8,
}

impl<'a> Duty<'a> {
    pub(crate) fn new(scene: Scene<'a>) -> Self {
        let over = scene.is_over();
        Self { play: Play::new(scene), over, round: FIRST_ROUND, depth: 0 }
    }

    /// Ends what is over, if it still runs. Gives the plugin to tell, and what.
    pub(crate) fn expire(&mut self, deadline: Deadline) -> Option<(String, Event)> {
        self.round = self.round.wrapping_add(1);
        match deadline {
            Deadline::Timer { plugin, name, turn } => self.fire(plugin, name, turn),
            Deadline::Hold { id, plugin } => self.lift(id, plugin),
        }
    }

    fn fire(&mut self, plugin: String, name: String, turn: u64) -> Option<(String, Event)> {
        let waiting = self.play.chat().waiting.as_ref()?;
        let key = (plugin, name);
        waiting.timers.get(&key).filter(|timer| timer.turn == turn)?;
        let (plugin, name) = key;
        if !self.play.scene.config.sabotage.timers_stay {
            self.play.push(Change::TimerEnd { plugin: plugin.clone(), name: name.clone() });
        }
        let attrs = vec![("name".to_owned(), name)];
        let event = Event { name: "timer.fired", subject: None, attrs };
        (!self.over).then_some((plugin, event))
    }

    fn lift(&mut self, id: MessageId, plugin: String) -> Option<(String, Event)> {
        let held = self.play.chat().waiting.as_ref()?.held.get(&id)?;
        let hold = held.holds.iter().find(|hold| hold.plugin == plugin)?;
        let (accept, reason) = (hold.accept && !self.over, hold.reason.clone());
        let subject = participant(self.play.chat(), &held.message.sender);
        self.play.apply(|effects| {
            if accept {
                effects.release(&plugin, id);
            } else {
                let code = "hold-expired".to_owned();
                effects.drop_held(id, Dropped { plugin: plugin.clone(), code, reason });
            }
        });
        let outcome = if accept { "accepted" } else { "dropped" };
        let attrs = [("message", id.to_string()), ("outcome", outcome.to_owned())];
        let attrs = attrs.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let event = Event { name: "hold.expired", subject: Some(subject), attrs };
        (!self.over).then_some((plugin, event))
    }

    /// Takes the oldest event that nobody was told of.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let notice = self.play.chat().waiting.as_ref()?.notices.front()?.clone();
        let event = telling::event(self.play.chat(), &notice.what);
        self.round = self.round.wrapping_add(1);
        self.depth = self.depth.max(notice.depth.saturating_add(1));
        self.play.push(Change::Told { count: 1 });
        Some(event)
    }

    /// A member reads: what is told of it, and written nowhere. What a listener asks for then is.
    pub(crate) fn polled(&mut self, id: &str) -> Option<Event> {
        let subject = self.play.chat().roster.get(id).cloned()?;
        self.round = self.round.wrapping_add(1);
        self.depth = self.depth.max(1);
        (!self.over).then(|| Event { name: "member.polled", subject: Some(subject), attrs: vec![] })
    }

    /// Somebody stands otherwise than before, and is said to by the node itself: they fell silent, or were heard
    /// again.
    pub(crate) fn stands(&mut self, id: &str, status: &str) {
        let Some(member) = self.play.chat().roster.get(id) else { return };
        if self.over || member.status == status {
            return;
        }
        let known = ["first_name", "participant"].into_iter();
        let known = known.filter_map(|name| Some((name, member.attrs.get(name)?.clone().into())));
        let said = [("user", id.into()), ("status", status.into())];
        let said: serde_json::Map<String, serde_json::Value> =
            said.into_iter().chain(known).map(|(name, value)| (name.to_owned(), value)).collect();
        let (id, status) = (id.to_owned(), status.to_owned());
        self.play.push(Change::MemberStatus { id, status });
        self.play.say(USER_STATUS, &serde_json::Value::Object(said));
    }

    /// A call out is answered, or given up: `None` if it was before.
    pub(crate) fn done(&mut self, number: u64) -> Option<(String, String)> {
        let outcall = self.play.chat().waiting.as_ref()?.outcalls.get(&number)?;
        let told = (outcall.plugin.clone(), outcall.correlation.clone());
        self.play.push(Change::OutcallDone { number });
        Some(told)
    }

    /// What `plugin` is told of the chat.
    pub(crate) fn call(&self, plugin: &str) -> Call {
        self.play.call(plugin, None, self.round)
    }

    /// Where and when it is played.
    pub(crate) fn scene(&self) -> &Scene<'a> {
        &self.play.scene
    }

    /// What a handler asked for: all of it, or, if it does not fit, nothing.
    pub(crate) fn hear(&mut self, plugin: &str, effects: Vec<Effect>) -> Result<(), Misfit> {
        self.play.take(plugin, effects)
    }

    /// The chat before, the changes, and how many events led to them.
    pub(crate) fn done_all(self) -> (&'a Chat, Vec<Change>, u8) {
        (self.play.scene.chat, self.play.changes, self.depth)
    }
}
