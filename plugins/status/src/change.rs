//! What a request changes, as the chat stands.
//!
//! It is the transition that counts and not the message: what is already so is an illegal transition
//! for a chat, and nothing to do for a member.

use crate::request::{Refusal, Request, illegal};

/// How far the chat has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Created and not started.
    Pending,
    /// Started and not ended.
    Started,
    /// Over.
    Ended,
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here.
    Connected,
    /// Gone on purpose.
    Disconnected,
    /// Not heard of for a while.
    Unavailable,
}

impl Status {
    /// The status of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Connected, Self::Disconnected, Self::Unavailable]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A member as the roster has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// How they stand, in words.
    pub status: String,
    /// What is known of them.
    pub attrs: Vec<(String, String)>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Start the chat.
    Start,
    /// End it.
    End {
        /// Why.
        reason: String,
    },
    /// Set a member's status.
    Status {
        /// Who.
        user: String,
        /// To what.
        status: Status,
    },
    /// Set a pair on a member.
    Attr {
        /// Who.
        user: String,
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
}

/// What `request` changes in a chat that stands at `now`; `member` is the one it is about, if the roster
/// has them.
///
/// # Errors
/// [`Refusal`] when the chat cannot go there from `now`.
pub fn changes(
    request: Request,
    now: Now,
    member: Option<&Member>,
) -> Result<Vec<Change>, Refusal> {
    match (request, now) {
        (Request::Start, Now::Pending) => Ok(vec![Change::Start]),
        (Request::Start, Now::Started | Now::Ended) => {
            Err(illegal("only a pending chat can be started"))
        }
        (Request::End { by }, Now::Started) => {
            Ok(vec![Change::End { reason: format!("ended by {by}") }])
        }
        (Request::End { .. }, Now::Pending | Now::Ended) => {
            Err(illegal("only a started chat can be ended"))
        }
        (Request::Member { user, status, attrs }, _) => {
            Ok(member_changes(&user, status, attrs, member))
        }
        // Somebody new is connected by joining.
        (Request::Join { user }, _) => Ok(member.map_or_else(Vec::new, |member| {
            member_changes(&user, Status::Connected, Vec::new(), Some(member))
        })),
    }
}

fn member_changes(
    user: &str,
    status: Status,
    attrs: Vec<(String, String)>,
    member: Option<&Member>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if member.is_none_or(|member| member.status != status.name()) {
        changes.push(Change::Status { user: user.to_owned(), status });
    }
    let new = attrs.into_iter().filter(|pair| member.is_none_or(|m| !m.attrs.contains(pair)));
    let user = || user.to_owned();
    changes.extend(new.map(|(name, value)| Change::Attr { user: user(), name, value }));
    changes
}

#[cfg(test)]
mod tests {
    use super::{Change, Member, Now, Status, changes};
    use crate::Request;

    fn end() -> Request {
        Request::End { by: "alice".to_owned() }
    }

    fn user(status: Status, attrs: &[(&str, &str)]) -> Request {
        Request::Member { user: "alice".to_owned(), status, attrs: pairs(attrs) }
    }

    fn pairs(attrs: &[(&str, &str)]) -> Vec<(String, String)> {
        attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn connected() -> Change {
        Change::Status { user: "alice".to_owned(), status: Status::Connected }
    }

    #[test]
    fn a_chat_goes_from_pending_to_started_to_ended_and_nowhere_else() {
        assert_eq!(changes(Request::Start, Now::Pending, None), Ok(vec![Change::Start]));
        let ended = Change::End { reason: "ended by alice".to_owned() };
        assert_eq!(changes(end(), Now::Started, None), Ok(vec![ended]));
        for (request, now) in [
            (Request::Start, Now::Started),
            (Request::Start, Now::Ended),
            (end(), Now::Pending),
            (end(), Now::Ended),
        ] {
            let refusal = changes(request.clone(), now, None).unwrap_err();
            assert_eq!(refusal.code, "illegal-transition", "{request:?} {now:?}");
        }
    }

    #[test]
    fn a_member_is_only_changed_where_something_is_new() {
        let known = Member {
            status: "connected".to_owned(),
            attrs: pairs(&[("first_name", "Alice"), ("participant", "1")]),
        };
        let same = user(Status::Connected, &[("first_name", "Alice")]);
        assert_eq!(changes(same, Now::Started, Some(&known)), Ok(vec![]));
        let other = user(Status::Unavailable, &[("first_name", "Al"), ("participant", "1")]);
        let other = changes(other, Now::Started, Some(&known)).unwrap();
        assert_eq!(
            other,
            [
                Change::Status { user: "alice".to_owned(), status: Status::Unavailable },
                Change::Attr {
                    user: "alice".to_owned(),
                    name: "first_name".to_owned(),
                    value: "Al".to_owned(),
                },
            ]
        );
        let stranger = changes(user(Status::Connected, &[]), Now::Pending, None);
        assert_eq!(stranger, Ok(vec![connected()]));
    }

    #[test]
    fn joining_again_connects_who_was_away() {
        let join = || Request::Join { user: "alice".to_owned() };
        assert_eq!(changes(join(), Now::Pending, None), Ok(vec![]));
        let away = Member { status: "unavailable".to_owned(), ..Member::default() };
        assert_eq!(changes(join(), Now::Pending, Some(&away)), Ok(vec![connected()]));
        let here = Member { status: "connected".to_owned(), ..Member::default() };
        assert_eq!(changes(join(), Now::Pending, Some(&here)), Ok(vec![]));
    }
}
