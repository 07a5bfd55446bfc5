//! The little XML there is in TwiML: what a text may hold, how it is escaped, and whether what a handler wrote
//! itself is well-formed.
//!
//! A fragment is a row of elements. Comments, document types, processing instructions and CDATA are no part
//! of TwiML and are refused: each is a way to say something else than what is seen.

use std::ops::ControlFlow;

/// Deepest nesting of a fragment: TwiML itself needs three.
const DEPTH_MAX: usize = 8;
/// Most elements of a fragment.
const ELEMENTS_MAX: usize = 64;
/// Most attributes of one element: Twilio's own have fewer.
const ATTRIBUTES_MAX: usize = 32;

/// Whether XML can carry it at all: nearly every control character is no character there.
pub(crate) fn is_text(text: &str) -> bool {
    text.chars().all(is_char)
}

/// `text` so that it stands for itself, in an element as in an attribute.
pub(crate) fn escape(text: &str, into: &mut String) {
    for char in text.chars() {
        match char {
            '&' => into.push_str("&amp;"),
            '<' => into.push_str("&lt;"),
            '>' => into.push_str("&gt;"),
            '"' => into.push_str("&quot;"),
            '\'' => into.push_str("&apos;"),
            _ => into.push(char),
        }
    }
}

/// Looks whether `text` is a row of well-formed elements.
///
/// # Errors
/// What is wrong, in words, and at which byte.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let mut reader = Reader { text, at: 0, open: Vec::new(), elements: 0 };
    loop {
        match reader.step() {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(what) => return Err(format!("{what} at byte {}", reader.at)),
        }
    }
}

fn is_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A fragment while it is read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The names of the elements that are open.
    open: Vec<&'a str>,
    elements: usize,
}

type Read<T> = Result<T, &'static str>;

impl<'a> Reader<'a> {
    /// Reads what is between two tags, and the second of them.
    fn step(&mut self) -> Read<ControlFlow<()>> {
        let words = self.until(|char| char == '<');
        if self.open.is_empty() && !words.chars().all(is_space) {
            return Err("text that is in no element");
        }
        references(words)?;
        if self.rest().is_empty() {
            return match (self.open.is_empty(), self.elements) {
                (false, _) => Err("an element that is not closed"),
                (true, 0) => Err("no element"),
                (true, _) => Ok(ControlFlow::Break(())),
            };
        }
        if self.take("</") {
            let name = self.name()?;
            self.space();
            if !self.take(">") || self.open.pop() != Some(name) {
                return Err("a closing tag that closes nothing");
            }
        } else if self.take("<!") || self.take("<?") {
            return Err("a comment, CDATA, a document type or a processing instruction");
        } else if self.take("<") {
            self.element()?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn element(&mut self) -> Read<()> {
        let name = self.name()?;
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err("more than 64 elements");
        }
        let mut seen: Vec<&str> = Vec::new();
        loop {
            let spaced = self.space();
            if self.take("/>") {
                return Ok(());
            }
            if self.take(">") {
                self.open.push(name);
                return if self.open.len() > DEPTH_MAX { Err("more than 8 deep") } else { Ok(()) };
            }
            let attribute = self.name()?;
            if !spaced || seen.contains(&attribute) || seen.len() >= ATTRIBUTES_MAX {
                return Err("attributes that touch, are there twice, or are more than 32");
            }
            seen.push(attribute);
            self.space();
            if !self.take("=") {
                return Err("an attribute without a value");
            }
            self.space();
            self.value()?;
        }
    }

    /// A value in quotes.
    fn value(&mut self) -> Read<()> {
        let quote = match (self.take("\""), self.rest().starts_with('\'')) {
            (true, _) => '"',
            (false, true) => {
                self.at += 1;
                '\''
            }
            (false, false) => return Err("a value without quotes"),
        };
        let value = self.until(|char| char == quote || char == '<');
        references(value)?;
        if !self.rest().starts_with(quote) {
            return Err("a value that does not end");
        }
        self.at += 1;
        Ok(())
    }

    fn name(&mut self) -> Read<&'a str> {
        let name = self.until(|char| !(char.is_ascii_alphanumeric() || "-_.:".contains(char)));
        match name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            true => Ok(name),
            false => Err("no name"),
        }
    }

    /// Whether there was any.
    fn space(&mut self) -> bool {
        !self.until(|char| !is_space(char)).is_empty()
    }

    fn take(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = rest.find(end).and_then(|end| rest.get(..end)).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r')
}

/// Whether every `&` begins a reference that needs no document type, and every character is one.
fn references(text: &str) -> Read<()> {
    if !is_text(text) {
        return Err("a control character");
    }
    for after in text.split('&').skip(1) {
        let name = after.split_once(';').map(|(name, _)| name).ok_or("a lone &")?;
        let number = match name.strip_prefix('#') {
            None if ["amp", "lt", "gt", "quot", "apos"].contains(&name) => continue,
            None => return Err("an entity that XML does not know"),
            Some(digits) => match digits.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            },
        };
        let char = number.ok().and_then(char::from_u32).filter(|char| is_char(*char));
        char.ok_or("a reference to no character")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{check, escape, is_text};

    #[test]
    fn well_formed_elements_pass() {
        for good in [
            "<Say>hello</Say>",
            " <Say voice=\"alice\" loop='2'>a &amp; b &#233; &#xe9;</Say>\n<Hangup />",
            "<Dial><Number sendDigits = \"1\">+49</Number></Dial>",
            "<x:y/>",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_not_is_told_with_its_place() {
        for (bad, word) in [
            ("", "no element"),
            ("hello", "in no element"),
            ("<Say>", "not closed"),
            ("<Say></Play>", "closes nothing"),
            ("</Say>", "closes nothing"),
            ("<Say/></Response><Dial/>", "closes nothing"),
            ("<Say>a & b</Say>", "lone &"),
            ("<Say>&nbsp;</Say>", "does not know"),
            ("<Say>&#0;</Say>", "no character"),
            ("<Say>&#x;</Say>", "no character"),
            ("<Say>\u{1}</Say>", "control"),
            ("<Say a=1/>", "quotes"),
            ("<Say a=\"1\" a=\"2\"/>", "twice"),
            ("<Say a=\"1\"b=\"2\"/>", "touch"),
            ("<Say a=\"<\"/>", "does not end"),
            ("<Say a/>", "without a value"),
            ("<!-- x --><Say/>", "comment"),
            ("<?php?>", "comment"),
            ("<!DOCTYPE x [<!ENTITY a \"b\">]><x/>", "comment"),
            ("<Say><![CDATA[x]]></Say>", "comment"),
            ("<1/>", "no name"),
            ("<", "no name"),
            (&"<a>".repeat(9), "deep"),
            (&"<a/>".repeat(65), "elements"),
        ] {
            let fault = check(bad).unwrap_err();
            assert!(fault.contains(word) && fault.contains("at byte"), "{bad}: {fault}");
        }
    }

    #[test]
    fn what_is_escaped_is_text_and_nothing_else() {
        let mut escaped = String::from("<Say a=\"");
        escape("</Say>&\"'", &mut escaped);
        escaped.push_str("\">");
        escape("</Say><Hangup/> grüße", &mut escaped);
        escaped.push_str("</Say>");
        assert_eq!(check(&escaped), Ok(()));
        assert_eq!(escaped.matches('<').count(), 2);
        assert!(is_text("a\tgrüße\n") && !is_text("\u{0}") && !is_text("\u{ffff}"));
    }
}
