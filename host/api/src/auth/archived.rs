//! What an endpoint of the archive needs, and which names it is about.
//!
//! In the collections of chats a key begins with a chat's token, and it takes a token for that chat; what is
//! in others is of no chat, and takes a token for all. So does a whole chat that is kept there: it has what was
//! routed to some only. The name is read once, here: what an endpoint does is done to what was allowed.

use std::marker::PhantomData;
use std::str::FromStr;

use archive::{CollectionName, InvalidName, Key, Name};
use axum::extract::Query;
use chat::Request;
use hyper::Uri;
use model::ChatToken;
use serde::Deserialize;

use super::claims::Scope;
use super::grant::{Caller, Denied, Everywhere, Grant, Needs, Reach, permit};
use crate::asked::unescape;
use crate::problem::Problem;

/// A collection, or a key in one.
#[derive(Debug)]
pub(crate) struct InArchive<S> {
    place: Result<Place, String>,
    chat: Option<ChatToken>,
    scope: PhantomData<S>,
}

/// What a path below `/v1/archive/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    collection: CollectionName,
    key: Option<Key>,
}

/// What of a query decides whom a listing is about.
#[derive(Default, Deserialize)]
struct Prefixed {
    prefix: Option<String>,
}

impl Place {
    /// What is wrong is told in words.
    fn read(path: &str) -> Result<Self, String> {
        let rest = path.splitn(4, '/').nth(3).unwrap_or_default();
        let (collection, key) = match rest.split_once('/') {
            Some((collection, key)) => (collection, Some(key)),
            None => (rest, None),
        };
        let collection = named::<CollectionName>("collection", collection)?;
        let key = key.map(|key| named::<Key>("key", key)).transpose()?;
        Ok(Self { collection, key })
    }

    /// The key in its collection, if there is one.
    fn name(&self) -> Option<Name> {
        let Self { collection, key } = self.clone();
        Some(Name { collection, key: key? })
    }

    /// The chat whose people may do this, if it is in one.
    fn chat(&self, uri: &Uri) -> Option<ChatToken> {
        let whole = self.name().is_some_and(|name| archive::is_whole_chat(&name));
        if !archive::is_of_chats(&self.collection) || whole {
            return None;
        }
        match &self.key {
            Some(key) => first(key.as_str()),
            None => {
                let query = Query::<Prefixed>::try_from_uri(uri).ok()?;
                first(&query.0.prefix?)
            }
        }
    }
}

/// A name as a path has it.
fn named<T: FromStr<Err = InvalidName>>(field: &str, text: &str) -> Result<T, String> {
    let text = unescape(text).ok_or_else(|| format!("{field}: not UTF-8"))?;
    text.parse().map_err(|wrong| format!("{field}: {wrong}"))
}

/// The token that a key begins with.
fn first(key: &str) -> Option<ChatToken> {
    key.split('/').next()?.parse().ok()
}

impl<S: Needs> Grant for InArchive<S> {
    const SCOPE: Option<Scope> = Some(S::SCOPE);

    fn check(caller: Caller, chat: Option<&str>) -> Result<Self, Denied> {
        let chat = chat.and_then(first);
        permit(&caller, S::SCOPE, chat.map_or(Reach::All, Reach::One))?;
        Ok(Self { place: Err(String::new()), chat, scope: PhantomData })
    }

    fn admit(caller: Caller, uri: &Uri) -> Result<Self, Denied> {
        let place = Place::read(uri.path());
        let chat = place.as_ref().ok().and_then(|place| place.chat(uri));
        permit(&caller, S::SCOPE, chat.map_or(Reach::All, Reach::One))?;
        Ok(Self { place, chat, scope: PhantomData })
    }

    fn covers(&self, _request: &Request) -> bool {
        false
    }

    fn about(&self) -> Option<ChatToken> {
        self.chat
    }
}

impl<S> Everywhere<S> {
    /// The collection that a path names.
    pub(crate) fn collection(&self, uri: &Uri) -> Result<CollectionName, Problem> {
        let place = Place::read(uri.path()).map_err(Problem::invalid)?;
        Ok(place.collection)
    }
}

impl<S> InArchive<S> {
    /// The collection.
    pub(crate) fn collection(&self) -> Result<CollectionName, Problem> {
        self.place().map(|place| place.collection.clone())
    }

    /// The key in its collection.
    pub(crate) fn name(&self) -> Result<Name, Problem> {
        self.place()?.name().ok_or_else(|| Problem::invalid("key: the name is empty"))
    }

    /// The same, if something may be stored there: only nodes make whole chats.
    pub(crate) fn free_name(&self) -> Result<Name, Problem> {
        let name = self.name()?;
        if archive::is_whole_chat(&name) {
            return Err(Problem::invalid("key: the chat itself is stored there when it is over"));
        }
        Ok(name)
    }

    fn place(&self) -> Result<&Place, Problem> {
        self.place.as_ref().map_err(|wrong| Problem::invalid(wrong.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::grant::{Reads, Sends};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn chat(uri: &str) -> Option<String> {
        let uri: Uri = uri.parse().unwrap();
        let place = Place::read(uri.path()).ok()?;
        place.chat(&uri).map(|chat| chat.to_string())
    }

    #[test]
    fn what_a_whole_chat_is_kept_as_is_not_for_those_in_it() {
        let path = format!("/v1/archive/chats/{TOKEN}");
        assert_eq!(chat(&path), None);
        let grant = InArchive::<Sends>::admit(Caller::Open, &path.parse().unwrap()).unwrap();
        assert!(grant.name().is_ok() && grant.free_name().is_err(), "only nodes store it");
    }

    #[test]
    fn what_is_of_a_chat_is_known_by_its_key_and_by_nothing_else() {
        let of_one = |path: &str| assert_eq!(chat(path).as_deref(), Some(TOKEN), "{path}");
        of_one(&format!("/v1/archive/attachments/{TOKEN}/photo"));
        of_one(&format!("/v1/archive/chats/{TOKEN}/x"));
        of_one(&format!("/v1/archive/attachments/{TOKEN}"));
        of_one(&format!("/v1/archive/attach%6dents/{TOKEN}%2Fphoto"));
        of_one(&format!("/v1/archive/recordings?prefix={TOKEN}/"));
        for other in [
            format!("/v1/archive/1001/{TOKEN}/photo"),
            format!("/v1/archive/1001?prefix={TOKEN}"),
            format!("/v1/archive/attachments?marker={TOKEN}"),
            "/v1/archive/attachments".to_owned(),
            format!("/v1/archive/attachments/x/{TOKEN}"),
            format!("/v1/archive/attachments?prefix={}", &TOKEN[..31]),
        ] {
            assert_eq!(chat(&other), None, "{other}");
        }
    }

    #[test]
    fn a_path_is_read_once_and_what_is_wrong_is_told_to_those_who_may_know() {
        let asked = |path: &str| {
            InArchive::<Reads>::admit(Caller::Open, &path.parse().unwrap()).unwrap().name()
        };
        let name = asked("/v1/archive/1001/aaa/bbb%2Fccc%20%C3%AB").unwrap();
        assert_eq!((name.collection.as_str(), name.key.as_str()), ("1001", "aaa/bbb/ccc \u{eb}"));
        for (path, field) in [
            ("/v1/archive/1001/a/../b", "key"),
            ("/v1/archive/1001/%2e%2E/b", "key"),
            ("/v1/archive/1001/%ff", "key"),
            ("/v1/archive/1001", "key"),
            ("/v1/archive/.x/a", "collection"),
            ("/v1/archive/a%2Fb/c", "collection"),
        ] {
            let refused = asked(path).unwrap_err();
            assert!(refused.detail().starts_with(field), "{path}: {}", refused.detail());
        }
    }
}
