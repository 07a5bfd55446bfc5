//! Verbs as Twilio reads them.
//!
//! Texts are escaped here and nowhere else; they were looked at when the handler answered, so that all of
//! them can be written.

use crate::twilio::{Conference, Gather, Prompt, Recording, Verb};
use crate::xml::{self, escape};

/// The longest answer that Twilio takes, in bytes. What handlers answer is shorter, but escaping makes it longer.
pub const TWIML_BYTES_MAX: usize = 64 << 10;

/// An answer to Twilio: one `Response`, without a declaration.
pub fn twiml(verbs: &[Verb]) -> String {
    let mut text = String::from("<Response>");
    for each in verbs {
        verb(each, &mut text);
    }
    text.push_str("</Response>");
    text
}

/// Looks whether `text`, which an operator wrote, is an answer to Twilio: one well-formed `Response`.
///
/// # Errors
/// What is wrong, in words.
pub fn check_twiml(text: &str) -> Result<(), String> {
    if text.len() > TWIML_BYTES_MAX {
        return Err(format!("it has more than {TWIML_BYTES_MAX} bytes"));
    }
    xml::check(text)?;
    let text = text.trim();
    let named =
        text.strip_prefix("<Response").is_some_and(|rest| rest.starts_with(['>', '/', ' ']));
    // A second element would begin after the end of the first, and only the last can end the text.
    let alone = text.ends_with("</Response>") && text.matches("</Response>").count() == 1
        || text.ends_with("/>") && text.matches('<').count() == 1;
    if named && alone { Ok(()) } else { Err("it is not one Response".to_owned()) }
}

fn verb(verb: &Verb, to: &mut String) {
    match verb {
        Verb::Prompt(each) => prompt(each, to),
        Verb::Gather(Gather { prompts, digits, timeout_s, action }) => {
            let (digits, timeout) = (digits.to_string(), timeout_s.to_string());
            let attributes = [("numDigits", &*digits), ("timeout", &*timeout), ("action", action)];
            element("Gather", &attributes, to, |to| prompts.iter().for_each(|it| prompt(it, to)));
        }
        Verb::Record(Recording { action, max_length_s, timeout_s }) => {
            let (most, timeout) = (max_length_s.to_string(), timeout_s.to_string());
            empty("Record", &[("action", action), ("maxLength", &most), ("timeout", &timeout)], to);
        }
        Verb::Dial(number) => words("Dial", &[], number, to),
        Verb::Conference(it) => element("Dial", &[], to, |to| conference(it, to)),
        Verb::Message(text) => words("Message", &[], text, to),
        Verb::Redirect(address) => words("Redirect", &[], address, to),
        Verb::Reject(reason) => empty("Reject", &[("reason", reason)], to),
        Verb::Hangup => empty("Hangup", &[], to),
        // It was found to be a row of elements.
        Verb::Raw(text) => to.push_str(text),
    }
}

fn prompt(prompt: &Prompt, to: &mut String) {
    match prompt {
        Prompt::Say(text) => words("Say", &[], text, to),
        Prompt::Play(address) => words("Play", &[], address, to),
        Prompt::Pause(seconds) => empty("Pause", &[("length", &seconds.to_string())], to),
    }
}

fn conference(conference: &Conference, to: &mut String) {
    let Conference { name, max_participants, recorded, action } = conference;
    let most = max_participants.map(|most| most.to_string());
    let mut attributes = Vec::new();
    attributes.extend(most.as_deref().map(|most| ("maxParticipants", most)));
    if *recorded {
        attributes.push(("record", "record-from-start"));
    }
    if let Some(action) = action {
        attributes.extend([("statusCallback", &**action), ("statusCallbackEvent", "end")]);
    }
    // That a conference is over does not say where its recording is: that comes when it can be fetched.
    if let Some(action) = action.as_ref().filter(|_| *recorded) {
        attributes.push(("recordingStatusCallback", action));
    }
    words("Conference", &attributes, name, to);
}

fn words(name: &str, attributes: &[(&str, &str)], text: &str, to: &mut String) {
    element(name, attributes, to, |to| escape(text, to));
}

fn element(
    name: &str,
    attributes: &[(&str, &str)],
    to: &mut String,
    inside: impl FnOnce(&mut String),
) {
    open(name, attributes, to);
    to.push('>');
    inside(to);
    to.push_str("</");
    to.push_str(name);
    to.push('>');
}

fn empty(name: &str, attributes: &[(&str, &str)], to: &mut String) {
    open(name, attributes, to);
    to.push_str("/>");
}

fn open(name: &str, attributes: &[(&str, &str)], to: &mut String) {
    to.push('<');
    to.push_str(name);
    for (name, value) in attributes {
        to.push(' ');
        to.push_str(name);
        to.push_str("=\"");
        escape(value, to);
        to.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::{TWIML_BYTES_MAX, check_twiml, twiml};
    use crate::xml;
    use crate::{Conference, Gather, Prompt, Recording, Verb};

    #[test]
    fn every_verb_is_an_element_and_no_text_becomes_one() {
        let evil = || "</Say><Dial>+1</Dial>\"'&".to_owned();
        let prompts = vec![Prompt::Say(evil()), Prompt::Play(evil()), Prompt::Pause(3)];
        let conference = |recorded: bool, action| {
            let max_participants = recorded.then_some(2);
            Verb::Conference(Conference { name: evil(), max_participants, recorded, action })
        };
        let verbs = [
            Verb::Prompt(Prompt::Say(evil())),
            Verb::Gather(Gather { prompts, digits: 1, timeout_s: 5, action: evil() }),
            Verb::Record(Recording { action: evil(), max_length_s: 9, timeout_s: 2 }),
            Verb::Dial(evil()),
            conference(true, Some(evil())),
            conference(false, None),
            Verb::Message(evil()),
            Verb::Redirect(evil()),
            Verb::Reject(evil()),
            Verb::Hangup,
            Verb::Raw("<Enqueue>support</Enqueue>".to_owned()),
        ];
        let text = twiml(&verbs);
        assert_eq!(xml::check(&text), Ok(()), "{text}");
        assert_eq!(text.matches("<Dial>").count(), 3, "{text}");
        assert!(text.contains("<Enqueue>support</Enqueue></Response>"), "{text}");
        assert_eq!(twiml(&[]), "<Response></Response>");
    }

    #[test]
    fn what_an_operator_writes_is_one_response_or_refused() {
        for good in
            ["<Response/>", " <Response></Response>\n", "<Response><Say>no</Say></Response>"]
        {
            assert_eq!(check_twiml(good), Ok(()), "{good}");
        }
        let long = format!("<Response><Say>{}</Say></Response>", "x".repeat(TWIML_BYTES_MAX));
        for bad in [
            "",
            "sorry",
            "<Say>sorry</Say>",
            "<Response><Say></Response>",
            "<Response/><Response/>",
            "<Response></Response><Say/>",
            "<Response></Response><Response></Response>",
            "<Responses/>",
            &long,
        ] {
            assert!(check_twiml(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_conference_is_dialled_with_what_was_asked_for() {
        let conference = |recorded| {
            let (name, action) = ("a".to_owned(), Some("over".to_owned()));
            let it = Conference { name, max_participants: Some(2), recorded, action };
            twiml(&[Verb::Conference(it)])
        };
        assert_eq!(
            conference(true),
            "<Response><Dial><Conference maxParticipants=\"2\" record=\"record-from-start\" \
             statusCallback=\"over\" statusCallbackEvent=\"end\" recordingStatusCallback=\"over\">\
             a</Conference></Dial></Response>"
        );
        let unrecorded = conference(false);
        assert!(unrecorded.contains(" statusCallback=\"over\""), "{unrecorded}");
        assert!(!unrecorded.contains("ecord"), "there is no recording to tell of: {unrecorded}");
    }
}
