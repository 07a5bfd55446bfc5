//! The file of an account's auth tokens: one a line, two while they are changed.
//!
//! It is read again every few seconds, so that a new token counts without a restart. A file that is gone or
//! cannot be used changes nothing: the tokens from before stay, and the log says so again and again. A token that must
//! not be believed any more is gone once a good file says so.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use runtime::Stop;

use super::signature::Token;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two words about a broken file: a minute.
const LOOKS_QUIET: u32 = 12;
/// Bytes of the file.
const FILE_BYTES_MAX: usize = 1 << 10;
/// Tokens in it: the one that counts, and the one that comes or goes.
const TOKENS_MAX: usize = 2;
/// Bytes of a token. Twilio's have 32; a short one could be guessed from a request that was seen.
const TOKEN_BYTES: std::ops::RangeInclusive<usize> = 16..=128;

/// A file of auth tokens cannot be used. Tokens that were read before stay.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read. See the cause.
    #[error("it cannot be read")]
    File(#[source] std::io::Error),
    /// It holds something else. Nothing of it is repeated: it may be a secret.
    #[error(
        "it does not hold one or two auth tokens, one a line, each of 16 to 128 visible characters"
    )]
    NoTokens,
}

/// The tokens, as they are now.
#[derive(Debug)]
pub(super) struct Tokens {
    file: PathBuf,
    current: RwLock<Arc<[Token]>>,
}

impl Tokens {
    /// Reads the file for the first time.
    pub(super) fn open(file: &Path) -> Result<Self, TokensError> {
        let tokens = tokens(&read(file)?)?;
        Ok(Self { file: file.to_owned(), current: RwLock::new(tokens) })
    }

    /// The tokens of now.
    pub(super) fn current(&self) -> Arc<[Token]> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file until the node stops.
    pub(super) async fn follow(&self, stop: &Stop) {
        let mut failed = 0_u32;
        while !stop.is_stopped() {
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = runtime::sleep(LOOK_EVERY) => match self.look().await {
                    Ok(()) => failed = 0,
                    Err(error) => {
                        if failed.is_multiple_of(LOOKS_QUIET) {
                            let file = self.file.display();
                            tracing::error!(%file, %error, "the auth tokens cannot be used: those from before stay");
                        }
                        failed = failed.saturating_add(1);
                    }
                },
            }
        }
    }

    /// Looks at the file once.
    async fn look(&self) -> Result<(), TokensError> {
        let file = self.file.clone();
        let Some(read) = runtime::blocking(move || read(&file)).await else { return Ok(()) };
        let tokens = tokens(&read?)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }
}

fn tokens(text: &str) -> Result<Arc<[Token]>, TokensError> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let good = |line: &&str| {
        TOKEN_BYTES.contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !(1..=TOKENS_MAX).contains(&lines.len()) || !lines.iter().all(good) {
        return Err(TokensError::NoTokens);
    }
    Ok(lines.into_iter().map(Token::new).collect())
}

/// The text of the file. It blocks.
fn read(file: &Path) -> Result<String, TokensError> {
    // A pipe would be waited for, without end.
    let opened = std::fs::metadata(file).and_then(|found| match found.is_file() {
        true => std::fs::File::open(file),
        false => Err(std::io::Error::other("it is not a plain file")),
    });
    let bound = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    opened
        .and_then(|opened| opened.take(bound).read_to_end(&mut bytes))
        .map_err(TokensError::File)?;
    let text = String::from_utf8(bytes).map_err(|_not_text| TokensError::NoTokens)?;
    if text.len() > FILE_BYTES_MAX { Err(TokensError::NoTokens) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::{FILE_BYTES_MAX, Tokens, TokensError, tokens};

    const ONE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn one_token_or_two_and_nothing_else() {
        assert_eq!(tokens(ONE).unwrap().len(), 1);
        assert_eq!(tokens(&format!("\n {ONE}\r\n{ONE} \n\n")).unwrap().len(), 2);
        let three = [ONE; 3].join("\n");
        for bad in ["", "\n\n", "short", &three, &"x".repeat(129), "with a space in its middle"] {
            assert!(matches!(tokens(bad), Err(TokensError::NoTokens)), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_new_token_counts_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        assert!(matches!(Tokens::open(&file), Err(TokensError::File(_))));
        std::fs::write(&file, ONE).unwrap();
        let tokens = Tokens::open(&file).unwrap();
        std::fs::write(&file, format!("{ONE}\n{}", "f".repeat(32))).unwrap();
        tokens.look().await.unwrap();
        assert_eq!(tokens.current().len(), 2);
        for broken in ["", "short", &"x".repeat(FILE_BYTES_MAX + 1)] {
            std::fs::write(&file, broken).unwrap();
            let error = tokens.look().await.unwrap_err();
            assert!(broken.is_empty() || !error.to_string().contains(broken));
            assert_eq!(tokens.current().len(), 2);
        }
        std::fs::remove_file(&file).unwrap();
        assert!(tokens.look().await.is_err());
        assert_eq!(tokens.current().len(), 2);
    }
}
