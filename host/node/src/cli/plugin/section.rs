//! What a node's configuration says of a plugin that was just begun: what it may do, and how it is set up.
//!
//! It is made of what is there already: the manifest's `asks` become grants, and the settings of the first fixture
//! that plays something become the configuration. There is no `source`, so a node that is given it begins
//! without the plugin, and has everything ready for the versions that are swapped in.

use plugin::{Grant, Kind, Manifest};
use serde_json::{Map, Value};
use workbench::{Project, Trouble, fixtures};

use crate::config::Size;

/// The file in the plugin's folder.
pub(super) const FILE: &str = "node.toml";

/// The channels of Twilio.
const CHANNELS: [&str; 3] = ["voice", "sms", "status"];

/// The text of [`FILE`].
pub(super) fn text(project: &Project) -> Result<String, Trouble> {
    let fixtures = fixtures(&project.folder)?.into_iter().map(|(_, fixture)| fixture);
    let played = fixtures.into_iter().find(|fixture| !fixture.steps.is_empty());
    Ok(written(&project.manifest, &played.map(|fixture| fixture.settings).unwrap_or_default()))
}

fn written(manifest: &Manifest, settings: &Map<String, Value>) -> String {
    let name = &manifest.name;
    let mut lines = vec![
        format!("# What a node lets {name} do and how it is set up, whatever version is live."),
        "# There is no source: versions come by carillon plugin swap. Try it on a demo:".to_owned(),
        "# carillon demo --config node.toml".to_owned(),
    ];
    if !manifest.asks.outcall.is_empty() {
        let whom = manifest.asks.outcall.join(", ");
        lines.push(format!("# Its calls wait until [services] says where these are: {whom}."));
    }
    lines.extend([String::new(), format!("[plugins.{name}]")]);
    let mut section = |title: String, content: Vec<String>| {
        if !content.is_empty() {
            lines.extend([String::new(), format!("[{title}]")]);
            lines.extend(content);
        }
    };
    section(format!("plugins.{name}.grant"), grants(&manifest.asks));
    let values = settings.iter().filter_map(|(key, value)| Some((key, toml(value)?)));
    let values = values.map(|(name, value)| format!("{} = {value}", key(name)));
    section(format!("plugins.{name}.config"), values.collect());
    if manifest.kinds.contains(&Kind::Policy) {
        section("persistence".to_owned(), vec![format!("policy = \"{name}\"")]);
    }
    if manifest.kinds.contains(&Kind::Twilio) {
        // Nobody is answered before [twilio] says how Twilio signs.
        let channels = CHANNELS.map(|channel| format!("{channel} = \"{name}\""));
        section("chain.twilio".to_owned(), channels.to_vec());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The lines that grant what is asked for.
fn grants(asks: &Grant) -> Vec<String> {
    let Grant { log: _, roster, post, chat_control, timers, outcall, kv, history, recall, metrics } =
        asks;
    let flags = [
        ("roster", roster),
        ("post", post),
        ("chat-control", chat_control),
        ("timers", timers),
        ("recall", recall),
        ("metrics", metrics),
    ];
    let flags = flags.into_iter().filter(|(_, asked)| **asked);
    let mut lines: Vec<String> = flags.map(|(name, _)| format!("{name} = true")).collect();
    if !outcall.is_empty() {
        lines.push(format!("outcall = {}", Value::from(outcall.clone())));
    }
    lines.extend(kv.map(|kv| format!("kv = {{ bytes = \"{}\" }}", Size(kv.bytes))));
    lines.extend(history.map(|history| format!("history = {{ messages = {} }}", history.messages)));
    lines
}

/// A value as TOML writes it, which has no word for nothing.
fn toml(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().filter_map(toml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(table) => {
            let items = table.iter().filter_map(|(key, value)| Some((key, toml(value)?)));
            let items = items.map(|(name, value)| format!("{} = {value}", key(name)));
            format!("{{ {} }}", items.collect::<Vec<_>>().join(", "))
        }
    })
}

/// A key, which needs quotes only if it is no plain word.
fn key(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A text: as JSON writes it, but for one character.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use plugin::Kind;
    use serde_json::{Map, Value, json};
    use workbench::{Language, Project, fixtures};

    use super::{text, written};
    use crate::config::Config;
    use crate::handlers::grant;

    #[test]
    fn what_a_new_plugin_asks_for_and_its_fixture_sets_is_what_a_node_gives_it() {
        let parent = tempfile::tempdir().unwrap();
        let mut count = 0;
        for language in Language::ALL {
            for kind in Kind::ALL {
                let name = format!("my-{language}-{}", kind.interface());
                let Ok(folder) = workbench::begin(parent.path(), &name, language, kind) else {
                    continue;
                };
                count += 1;
                let project = Project::open(&folder).unwrap();
                let text = text(&project).unwrap();
                let config = Config::parse(&text, &folder).unwrap_or_else(|faults| {
                    panic!("{text}\n{faults:?}");
                });
                let plugin = &config.plugins[&name];
                assert_eq!(plugin.source.as_os_str(), "", "no version is named");
                let asked = plugin::Grant { log: true, ..project.manifest.asks.clone() };
                assert_eq!(grant(plugin), asked, "{text}");
                let first = &fixtures(&folder).unwrap()[0].1;
                assert!(!first.settings.is_empty() && plugin.config == first.settings, "{text}");
                assert_eq!(config.persistence.policy == name, kind == Kind::Policy, "{text}");
                let channels = config.channels.values().filter(|plugin| **plugin == name).count();
                assert_eq!(channels, if kind == Kind::Twilio { 3 } else { 0 }, "{text}");
            }
        }
        assert_eq!(count, 16);
    }

    #[test]
    fn every_grant_and_every_value_is_written_as_a_node_reads_it() {
        let manifest = "name = \"p\"\nversion = \"1\"\n[asks]\nroster = true\npost = true\n\
                        chat-control = true\ntimers = true\noutcall = [\"crm\", \"b\"]\n\
                        kv = { bytes = \"5KiB\" }\nhistory = { messages = 7 }\nrecall = true\nmetrics = true\n";
        let manifest = plugin::Manifest::parse(manifest).unwrap();
        let settings = json!({
            "text": "a \"quoted\" \\ line\nand \u{7f} \u{1} ü", "a key": [1, 2.5, true, "x", [], {"in": "y"}],
            "table": {"deep": {"er": -1}}, "empty": {},
        });
        let settings: Map<String, Value> = settings.as_object().unwrap().clone();
        let text = written(&manifest, &settings);
        let config = Config::parse(&text, std::path::Path::new("")).unwrap();
        assert_eq!(config.plugins["p"].config, settings, "{text}");
        let all = plugin::Grant { log: true, ..manifest.asks };
        assert_eq!(grant(&config.plugins["p"]), all, "{text}");
    }
}
