//! Signs as Twilio does: with Twilio's own library for Python, or, where that cannot be installed, with what its
//! documentation says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::python::Python;

/// The library, in the version that was tried.
const LIBRARY: &str = "twilio==9.13.0";

/// What the library is asked with: fields that are there more than once as a web framework would hand them over.
const FIELDS: &str = "
class Fields(dict):
    def getlist(self, name):
        return self[name]

def fields(pairs):
    all = Fields()
    for name, value in pairs:
        all.setdefault(name, []).append(value)
    return all
";

/// Somebody who signs requests.
#[derive(Debug)]
pub struct Signer(Option<Python>);

impl Signer {
    /// Twilio's library, if there is Python and it can be installed; that it cannot is said.
    pub async fn start() -> Self {
        let files = vec![("fields.py".to_owned(), FIELDS.to_owned())];
        match Python::with(LIBRARY, files).await {
            Ok(mut python) => {
                let imports = "from twilio.request_validator import RequestValidator; from fields import fields";
                python.run(imports).await;
                Self(Some(python))
            }
            Err(why) => {
                let what =
                    format!("requests are not signed by Twilio's own library ({LIBRARY}). {why}");
                crate::skip::without("python", &what);
                Self(None)
            }
        }
    }

    /// Without the library: for measurements, which have no time for it. A test shows that both sign alike.
    pub fn by_itself() -> Self {
        Self(None)
    }

    /// The signature for an address and the fields that are posted there.
    pub async fn sign(&mut self, token: &str, address: &str, form: &[(&str, &str)]) -> String {
        let Some(python) = &mut self.0 else { return signature(token, address, form) };
        // Texts in JSON are texts in Python.
        let text = |value: &serde_json::Value| value.to_string();
        let (token, address) = (text(&token.into()), text(&address.into()));
        let form = text(&serde_json::json!(form));
        let statement = format!(
            "print(RequestValidator({token}).compute_signature({address}, fields({form})))"
        );
        let printed = python.run(&statement).await;
        printed.into_iter().next().unwrap_or_else(|| panic!("nothing was signed"))
    }

    /// Fields as they are posted.
    pub fn encoded(form: &[(&str, &str)]) -> String {
        let escaped = |text: &str| -> String {
            let bytes = text.bytes().map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            });
            bytes.collect()
        };
        let pairs =
            form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// The address, then every field by name, its values once each, in order.
fn signature(token: &str, address: &str, form: &[(&str, &str)]) -> String {
    let mut fields = form.to_vec();
    fields.sort_unstable();
    fields.dedup();
    let mac = Hmac::<Sha1>::new_from_slice(token.as_bytes());
    let mut mac = mac.unwrap_or_else(|error| panic!("{error}"));
    mac.update(address.as_bytes());
    for (name, value) in fields {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::Signer;

    #[tokio::test]
    async fn twilios_library_signs_what_its_documentation_says() {
        let (mut library, mut own) = (Signer::start().await, Signer(None));
        let address = "https://chat.example.com/v1/twilio/voice?chat_token=1&x=%20";
        let forms: [&[(&str, &str)]; 4] = [
            &[],
            &[("b", "2"), ("a", "1"), ("b", "1"), ("b", "2")],
            &[("Body", "grüße & \"co\""), ("From", "+49 170")],
            &[("B", "1"), ("a", "2"), ("Z", "3")],
        ];
        for form in forms {
            let expected = own.sign("secret", address, form).await;
            assert_eq!(library.sign("secret", address, form).await, expected, "{form:?}");
        }
    }
}
