//! Which partition a key belongs to, and a collection.

use hashring::{PartitionId, Partitions};
use model::ChatToken;
use segment::archive::CollectionName;

use crate::request::{Name, is_of_chats};
use crate::{Code, Refusal};

/// The partition of a key. In collections of chats it is that of the chat, so that both share one log.
pub(crate) fn of_name(partitions: Partitions, name: &Name) -> Result<PartitionId, Refusal> {
    let Name { collection, key } = name;
    if !is_of_chats(collection) {
        let text = format!("{collection}/{key}");
        return Ok(partitions.of_key(text.as_bytes()));
    }
    let token = key.as_str().split('/').next().unwrap_or_default();
    let token: ChatToken = token.parse().map_err(|_not_one| {
        let detail = format!("in {collection} a key begins with a chat's token");
        Refusal::new(Code::InvalidRequest, detail)
    })?;
    Ok(partitions.of_key(&token.key()))
}

/// The partition in which a collection is made.
pub(crate) fn of_collection(partitions: Partitions, name: &CollectionName) -> PartitionId {
    partitions.of_key(format!("{name}/").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_chat_lie_where_the_chat_does() {
        let partitions = Partitions::try_from(256).unwrap();
        let token = ChatToken([7; 16]);
        let name = |collection: &str, key: String| Name {
            collection: collection.parse().unwrap(),
            key: key.parse().unwrap(),
        };
        let wanted = partitions.of_key(&token.key());
        for (collection, key) in
            [("chats", token.to_string()), ("attachments", format!("{token}/photo.jpg"))]
        {
            assert_eq!(of_name(partitions, &name(collection, key)), Ok(wanted));
        }
        let plain = of_name(partitions, &name("1001", "aaa/bbb/ccc".to_owned()));
        assert_eq!(plain, Ok(partitions.of_key(b"1001/aaa/bbb/ccc")));
        let refused = of_name(partitions, &name("recordings", "x".to_owned()));
        assert_eq!(refused.map_err(|refusal| refusal.code), Err(Code::InvalidRequest));
    }
}
