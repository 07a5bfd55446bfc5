//! What goes back to a number: what others said since it wrote last.

use std::fmt;
use std::str::FromStr;

/// Texts that go back at once: more would be sent in no certain order.
const REPLIES_MAX: usize = 10;
/// Characters of a text: Twilio sends no longer one.
const REPLY_CHARS_MAX: usize = 1600;
/// Stands where something was cut off.
const CUT: char = '…';

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which epoch it was said.
    pub epoch: u64,
    /// The how manieth of the chat it is.
    pub seq: u64,
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To everyone.
    Everyone,
    /// To nobody.
    Nobody,
    /// To these.
    Only(Vec<String>),
}

/// A message of the chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Where it stands.
    pub at: Place,
    /// Who said it.
    pub sender: String,
    /// The number that wrote it, if one did.
    pub from: Option<String>,
    /// To whom it goes.
    pub route: Route,
    /// What it says, if it is a text.
    pub text: Option<String>,
}

/// The texts for `number`, which has seen everything up to `seen`, of what was said `earlier`. The latest, if there are too
/// many.
pub fn replies(number: &str, seen: Place, earlier: &[Earlier]) -> Vec<String> {
    let reply = |message: &Earlier| {
        let visible = match &message.route {
            Route::Everyone => true,
            Route::Nobody => false,
            Route::Only(names) => names.iter().any(|name| name == number),
        };
        let own = message.from.as_deref() == Some(number) || message.sender == number;
        let text = message.text.as_ref().filter(|text| !text.is_empty())?;
        let said = match (&message.from, message.sender.as_str()) {
            (Some(from), _) => format!("{from}: {text}"),
            (None, "system") => text.clone(),
            (None, sender) => format!("{sender}: {text}"),
        };
        (message.at > seen && visible && !own).then(|| cut(said))
    };
    let mut replies: Vec<String> = earlier.iter().filter_map(reply).collect();
    replies.drain(..replies.len().saturating_sub(REPLIES_MAX));
    replies
}

fn cut(text: String) -> String {
    if text.chars().count() <= REPLY_CHARS_MAX {
        return text;
    }
    text.chars().take(REPLY_CHARS_MAX - 1).chain([CUT]).collect()
}

/// As it is kept.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, seq) = text.split_once(':').ok_or(())?;
        let number = |text: &str| text.parse().map_err(|_no_number| ());
        Ok(Self { epoch: number(epoch)?, seq: number(seq)? })
    }
}

#[cfg(test)]
mod tests {
    use super::{Earlier, Place, Route, replies};

    fn at(seq: u64) -> Place {
        Place { epoch: 1, seq }
    }

    fn said(seq: u64, sender: &str, text: &str) -> Earlier {
        let (sender, text) = (sender.to_owned(), Some(text.to_owned()));
        Earlier { at: at(seq), sender, from: None, route: Route::Everyone, text }
    }

    #[test]
    fn what_others_said_since_goes_back_and_nothing_else() {
        let number = "+491";
        let from = |seq, from: &str| Earlier {
            from: Some(from.to_owned()),
            ..said(seq, "system", "text")
        };
        let only = |seq, name: &str| Earlier {
            route: Route::Only(vec![name.to_owned()]),
            ..said(seq, "eve", "secret")
        };
        let earlier = [
            said(1, "alice", "before"),
            from(2, number),
            said(3, "alice", "hello"),
            from(4, "+492"),
            only(5, "bob"),
            only(6, number),
            Earlier { route: Route::Nobody, ..said(7, "alice", "nothing") },
            Earlier { text: None, ..said(8, "alice", "") },
            said(9, "system", "the chat is over"),
        ];
        assert_eq!(
            replies(number, at(2), &earlier),
            ["alice: hello", "+492: text", "eve: secret", "the chat is over"]
        );
        assert_eq!(replies(number, at(9), &earlier), [""; 0]);
        assert_eq!(replies(number, Place { epoch: 2, seq: 0 }, &earlier), [""; 0]);
    }

    #[test]
    fn the_latest_of_many_go_back_and_long_ones_are_cut() {
        let many: Vec<Earlier> = (1..=15).map(|seq| said(seq, "a", &seq.to_string())).collect();
        let texts = replies("+491", at(0), &many);
        assert_eq!((texts.len(), texts[0].as_str()), (10, "a: 6"));
        let long = replies("+491", at(0), &[said(1, "a", &"ü".repeat(2000))]);
        assert_eq!(long[0].chars().count(), 1600);
        assert!(long[0].ends_with('…'));
    }

    #[test]
    fn a_place_is_kept_as_text() {
        for place in [Place { epoch: 0, seq: 0 }, Place { epoch: u64::MAX, seq: u64::MAX }] {
            assert_eq!(place.to_string().parse(), Ok(place));
        }
        for bad in ["", "1", "1:", ":1", "1:2:3", "-1:2"] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }
}
