//! A file that goes with a message: stored among the attachments of its chat, before the message is sent.

use std::path::Path;

use archive::Md5;
use client::{Client, Error, Reference};
use model::{ATTACHMENTS, ChatToken};

use super::{put, told};
use crate::cli::{Problem, waiting};
use crate::config::Size;

/// How large a part is; so much is in memory.
const PART: Size = Size(64 << 20);

/// What goes with a message.
#[derive(Debug)]
pub(in crate::cli) struct Attached {
    pub(in crate::cli) reference: Reference,
    /// It was not there before: nobody else can have named it.
    pub(in crate::cli) is_new: bool,
}

/// Stores a file for the message that is sent under `key`. What was stored for it before is not stored again: whoever repeats a
/// message with its key says the same. It may be somebody else's who used the same key: that is theirs.
pub(in crate::cli) async fn attach(
    client: &Client,
    chat: ChatToken,
    key: &str,
    file: &str,
) -> Result<Attached, Problem> {
    let name = format!("{chat}/{}/{}", Md5::of(key.as_bytes()), file_name(file));
    let reading = client.read_object(ATTACHMENTS, &name, None);
    let (version, is_new) = match waiting::answer(client, reading).await {
        Ok(there) => (there.version().to_owned(), false),
        Err(error) => {
            match error.problem().map(|problem| problem.code.as_str()) {
                Some("not-found") => {}
                Some("unknown-collection") => make(client).await?,
                _ => return Err(told(error)),
            }
            let stored = put::store(client, (ATTACHMENTS, &name), Vec::new(), file, PART).await?;
            (stored.version, true)
        }
    };
    let (collection, version) = (ATTACHMENTS.to_owned(), Some(version));
    Ok(Attached { reference: Reference { collection, key: name, version }, is_new })
}

/// Deletes it again: it is new, the message was not stored, and nothing else names it.
pub(in crate::cli) async fn detach(client: &Client, reference: &Reference) -> Result<(), Error> {
    let Reference { collection, key, version } = reference;
    client.delete_object(collection, key, version.as_deref()).await.map(drop)
}

/// Makes the collection. Somebody may have made it otherwise meanwhile, and that will do.
async fn make(client: &Client) -> Result<(), Problem> {
    match waiting::answer(client, client.make_collection(ATTACHMENTS, false)).await {
        Ok(()) => Ok(()),
        Err(error) => match error.problem().map(|problem| problem.code.as_str()) {
            Some("collection-exists") => Ok(()),
            Some("forbidden") => Err(Problem::failed(
                format!("there is no collection {ATTACHMENTS} yet, and this token may not make it"),
                "Have an operator make it once: carillon archive put attachments",
            )),
            _ => Err(told(error)),
        },
    }
}

/// How a file is called, as far as a key can say it.
fn file_name(file: &str) -> String {
    let name = Path::new(file).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| name != "-").unwrap_or_else(|| "file".to_owned());
    name.chars().map(|letter| if letter.is_control() { '_' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_key_ends_like_its_file() {
        for (file, name) in [
            ("bell.jpg", "bell.jpg"),
            ("/tmp/a b/bell.jpg", "bell.jpg"),
            ("../gl\u{f6}ckchen", "gl\u{f6}ckchen"),
            ("a\nb", "a_b"),
            ("-", "file"),
            ("..", "file"),
        ] {
            assert_eq!(file_name(file), name);
        }
    }
}
