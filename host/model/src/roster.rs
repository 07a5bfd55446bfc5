//! Who is in a chat.
//!
//! Most chats have few people and nothing going on, and there are many of them: so this takes what its members take, and no
//! room for more. A member is shared with every copy of the roster until they change in one of them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Participant;

/// Who is in a chat, in the order of their ids. It is written as a map from id to participant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster(Vec<Arc<Participant>>);

impl Roster {
    /// Somebody is in it, in the place of whoever had their id.
    pub fn insert(&mut self, member: Participant) {
        match self.place(&member.id) {
            Ok(at) => _ = self.0.get_mut(at).map(|there| *there = Arc::new(member)),
            Err(at) => self.0.insert(at, Arc::new(member)),
        }
    }

    /// Somebody is in it no more.
    pub fn remove(&mut self, id: &str) -> Option<Arc<Participant>> {
        self.place(id).ok().map(|at| self.0.remove(at))
    }

    /// Somebody, to change them.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Participant> {
        let at = self.place(id).ok()?;
        self.0.get_mut(at).map(Arc::make_mut)
    }

    /// Somebody.
    pub fn get(&self, id: &str) -> Option<&Participant> {
        let at = self.place(id).ok()?;
        self.0.get(at).map(|member| &**member)
    }

    /// Whether somebody is in it.
    pub fn contains_key(&self, id: &str) -> bool {
        self.place(id).is_ok()
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Participant> {
        self.0.iter().map(|member| &**member)
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where somebody is, or would be.
    fn place(&self, id: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|member| member.id.as_str().cmp(id))
    }
}

impl FromIterator<Participant> for Roster {
    fn from_iter<I: IntoIterator<Item = Participant>>(members: I) -> Self {
        let mut roster = Self::default();
        members.into_iter().for_each(|member| roster.insert(member));
        roster
    }
}

impl Serialize for Roster {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.values().map(|member| (&member.id, member)))
    }
}

impl<'de> Deserialize<'de> for Roster {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = std::collections::BTreeMap::<String, Participant>::deserialize(deserializer)?;
        Ok(members.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Roster;
    use crate::Participant;

    fn participant(id: &str, ordinal: u32) -> Participant {
        Participant { id: id.to_owned(), ordinal, ..Participant::default() }
    }

    fn ids(roster: &Roster) -> Vec<&str> {
        roster.values().map(|member| member.id.as_str()).collect()
    }

    #[test]
    fn everybody_is_there_once_and_in_order() {
        let mut roster: Roster =
            ["b", "c", "a", "b"].map(|id| participant(id, 1)).into_iter().collect();
        assert_eq!((ids(&roster), roster.len()), (vec!["a", "b", "c"], 3));
        roster.insert(participant("b", 2));
        assert_eq!(roster.get("b").map(|member| member.ordinal), Some(2));
        assert_eq!(roster.remove("a").map(|member| member.ordinal), Some(1));
        assert_eq!(
            (roster.remove("a"), roster.get("a"), roster.contains_key("c")),
            (None, None, true)
        );
        assert_eq!(ids(&roster), ["b", "c"]);
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut roster: Roster = [participant("a", 1)].into_iter().collect();
        let copy = roster.clone();
        roster.get_mut("a").unwrap().ordinal = 7;
        let ordinal = |roster: &Roster| roster.get("a").map(|member| member.ordinal);
        assert_eq!((ordinal(&roster), ordinal(&copy)), (Some(7), Some(1)));
    }

    #[test]
    fn it_is_written_as_a_map_and_read_from_one() {
        let roster: Roster = ["b", "a"].map(|id| participant(id, 1)).into_iter().collect();
        let map: BTreeMap<String, Participant> =
            ["a", "b"].map(|id| (id.to_owned(), participant(id, 1))).into();
        let bytes = postcard::to_stdvec(&map).unwrap();
        assert_eq!(postcard::to_stdvec(&roster).unwrap(), bytes);
        assert_eq!(postcard::from_bytes::<Roster>(&bytes).unwrap(), roster);
    }
}
