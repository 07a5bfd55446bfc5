//! Following a chat.

use std::time::Duration;

use model::ChatToken;

use crate::{Client, Cursor, Error, Message, ReadOptions};

/// How long one read waits. Shorter than what proxies tolerate.
const WAIT: Duration = Duration::from_secs(20);

/// The messages of a chat, as they come. It goes on where it was, at another node if it must: nothing is
/// left out and nothing comes twice.
#[derive(Debug)]
pub struct Tail {
    client: Client,
    chat: ChatToken,
    options: ReadOptions,
}

impl Tail {
    pub(crate) fn new(
        client: Client,
        chat: ChatToken,
        after: Option<Cursor>,
        reader: Option<String>,
    ) -> Self {
        let options = ReadOptions { after, reader, wait: WAIT, ..ReadOptions::default() };
        Self { client, chat, options }
    }

    /// The next messages; waits until there is one. Cancel-safe: what was not returned comes again.
    ///
    /// # Errors
    /// [`Error`], when no node answered for as long as the client is patient, or the chat is unknown. The
    /// place is kept: calling it again goes on.
    pub async fn next(&mut self) -> Result<Vec<Message>, Error> {
        loop {
            let page = self.client.read(self.chat, &self.options).await?;
            self.options.after = Some(page.cursor);
            if !page.messages.is_empty() {
                return Ok(page.messages);
            }
        }
    }

    /// After which message it stands; nothing is the start.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.options.after.as_ref()
    }
}
