//! Who calls is greeted and may ask for a person.

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

use carillon::plugin::settings;
use exports::carillon::plugin::lifecycle::{self, Problem};
use exports::carillon::plugin::twilio_handler::{
    self, Context, Failure, Gather, Prompt, Request, Verb,
};

struct Plugin;

export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn check_config(_config: String) -> Vec<Problem> {
        let missing = ["greeting", "person"].into_iter().filter(|key| setting(key).is_empty());
        let problem = |key: &str| Problem { path: key.into(), detail: "missing or empty".into() };
        missing.map(problem).collect()
    }
}

fn setting(key: &str) -> String {
    settings::text(key).unwrap_or_default()
}

impl twilio_handler::Guest for Plugin {
    /// What is to be done, in order. Whatever it says is escaped by the host.
    fn on_request(_: Context, request: Request) -> Result<Vec<Verb>, Failure> {
        Ok(match (request.channel.as_str(), request.path.as_str()) {
            ("voice", "") => vec![
                Verb::Gather(Gather {
                    prompts: vec![
                        Prompt::Say(setting("greeting")),
                        Prompt::Say("press 1 for a person".into()),
                    ],
                    digits: 1,
                    timeout_s: 5,
                    action: "choice".into(),
                }),
                say("goodbye"),
                Verb::Hangup,
            ],
            ("voice", "choice") if pressed(&request) == "1" => vec![Verb::Dial(setting("person"))],
            ("voice", _) => vec![say("goodbye"), Verb::Hangup],
            ("sms", _) => vec![Verb::Message(setting("greeting"))],
            _ => vec![],
        })
    }
}

fn pressed(request: &Request) -> &str {
    let digits = request.params.iter().find(|(name, _)| name == "Digits");
    digits.map_or("", |(_, digits)| digits)
}

fn say(text: &str) -> Verb {
    Verb::Prompt(Prompt::Say(text.into()))
}
