//! What becomes of a text message.

/// Most pictures and the like of one text: what Twilio sends.
const MEDIA_MAX: usize = 10;
/// Bytes of where one is.
const MEDIA_BYTES_MAX: usize = 1024;
/// Bytes of a number, or of what stands for one.
const FROM_BYTES_MAX: usize = 128;

/// What Twilio asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What comes after the channel in the path.
    pub path: &'a str,
    /// The text message.
    pub sid: &'a str,
    /// Who wrote it.
    pub from: &'a str,
    /// Everything that was sent.
    pub params: &'a [(String, String)],
}

/// A message for the chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// What was written.
    pub text: String,
    /// Who wrote it, and where its pictures are.
    pub attrs: Vec<(String, String)>,
}

/// Nobody can answer that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnswered {
    /// There is nothing at this path.
    Path,
    /// It does not say who wrote.
    NoSender,
}

/// The message that a text becomes; `None` if it is only told how one that was sent goes.
///
/// # Errors
/// [`NotAnswered`].
pub fn decide(asked: Asked<'_>) -> Result<Option<Post>, NotAnswered> {
    match asked.path {
        "" => {}
        "status" => return Ok(None),
        _ => return Err(NotAnswered::Path),
    }
    if asked.from.is_empty() || asked.from.len() > FROM_BYTES_MAX {
        return Err(NotAnswered::NoSender);
    }
    let param = |name: &str| {
        asked.params.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    };
    let text = param("Body").unwrap_or_default().to_owned();
    let mut attrs = vec![("from".to_owned(), asked.from.to_owned())];
    if !asked.sid.is_empty() {
        attrs.push(("sms_sid".to_owned(), asked.sid.to_owned()));
    }
    for number in 0..MEDIA_MAX {
        let media = param(&format!("MediaUrl{number}"));
        if let Some(media) = media.filter(|media| media.len() <= MEDIA_BYTES_MAX) {
            attrs.push((format!("media_{number}"), media.to_owned()));
        }
    }
    Ok(Some(Post { text, attrs }))
}

#[cfg(test)]
mod tests {
    use super::{Asked, NotAnswered, Post, decide};

    fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn asked(params: &[(String, String)]) -> Asked<'_> {
        Asked { path: "", sid: "SM1", from: "+49 1", params }
    }

    #[test]
    fn a_text_becomes_a_message_from_its_number() {
        let text = params(&[("Body", "hello"), ("MediaUrl0", "https://m/0"), ("NumMedia", "1")]);
        let attrs = params(&[("from", "+49 1"), ("sms_sid", "SM1"), ("media_0", "https://m/0")]);
        let post = Post { text: "hello".to_owned(), attrs };
        assert_eq!(decide(asked(&text)), Ok(Some(post)));
        let empty = decide(asked(&[])).unwrap().unwrap();
        assert_eq!((empty.text.as_str(), empty.attrs.len()), ("", 2));
    }

    #[test]
    fn what_is_no_text_becomes_none() {
        assert_eq!(decide(Asked { path: "status", ..asked(&[]) }), Ok(None));
        assert_eq!(decide(Asked { path: "menu", ..asked(&[]) }), Err(NotAnswered::Path));
        assert_eq!(decide(Asked { from: "", ..asked(&[]) }), Err(NotAnswered::NoSender));
    }
}
