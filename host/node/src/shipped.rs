//! The plugins that come with the binary: where they are, and what the demo grants them.
//!
//! They are files, not part of the binary, as they would be for an operator; `make build` leaves them in
//! `plugins/` below the target folder.

use std::path::{Path, PathBuf};

use crate::config::{Config, GrantConfig, PluginConfig, Size};

/// Notes that one plugin may keep in one chat.
const NOTES: Size = Size(64 << 10);

/// Messages that one plugin may read in one call.
const HISTORY: u32 = 20;

/// Who plans what becomes of chats that are over.
const ARCHIVE: &str = "archive";

/// The shipped components are not there. Build them with `make build`, or start from the folder that has
/// them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shipped plugins are in none of {}", list(.looked))]
pub struct NotFound {
    /// Where they were looked for.
    pub looked: Vec<PathBuf>,
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The folder of the shipped components: `plugins/` beside the folder of this executable, or
/// `target/plugins` here.
///
/// # Errors
/// [`NotFound`].
pub fn folder() -> Result<PathBuf, NotFound> {
    let mut looked = Vec::new();
    let executable = std::env::current_exe().ok();
    // A test's executable lies one folder deeper than the binary.
    let above = executable.iter().flat_map(|path| path.ancestors().skip(2).take(2));
    looked.extend(above.map(|folder| folder.join("plugins")));
    looked.push(PathBuf::from("target/plugins"));
    looked
        .iter()
        .find(|folder| folder.join("status.wasm").exists())
        .cloned()
        .ok_or(NotFound { looked })
}

/// Adds the shipped handlers from `folder` to `config`, with what each needs.
pub fn add(config: &mut Config, folder: &Path) {
    let status = PluginConfig {
        source: folder.join("status.wasm"),
        grant: GrantConfig { roster: true, chat_control: true, ..GrantConfig::default() },
        ..PluginConfig::default()
    };
    let words = serde_json::json!({"words": ["badword"]});
    let moderation = PluginConfig {
        source: folder.join("moderation.wasm"),
        grant: GrantConfig {
            kv: Some(NOTES),
            roster: true,
            post: true,
            chat_control: true,
            ..GrantConfig::default()
        },
        config: words.as_object().cloned().unwrap_or_default(),
        ..PluginConfig::default()
    };
    for (name, plugin) in [("status", status), ("moderation", moderation)] {
        config.plugins.insert(name.to_owned(), plugin);
        config.chain.push(name.to_owned());
    }
    let archive = PluginConfig { source: folder.join("archive.wasm"), ..PluginConfig::default() };
    config.plugins.insert(ARCHIVE.to_owned(), archive);
    ARCHIVE.clone_into(&mut config.persistence.policy);
    add_telephones(config, folder);
}

/// Those who answer Twilio, once there is a file of auth tokens.
fn add_telephones(config: &mut Config, folder: &Path) {
    let voice = PluginConfig {
        source: folder.join("voice.wasm"),
        grant: GrantConfig { chat_control: true, ..GrantConfig::default() },
        ..PluginConfig::default()
    };
    let sms = PluginConfig {
        source: folder.join("sms.wasm"),
        grant: GrantConfig {
            kv: Some(NOTES),
            post: true,
            history: Some(HISTORY),
            ..GrantConfig::default()
        },
        ..PluginConfig::default()
    };
    for (name, plugin) in [("voice", voice), ("sms", sms)] {
        config.plugins.insert(name.to_owned(), plugin);
    }
    for (channel, name) in [("voice", "voice"), ("sms", "sms"), ("status", "voice")] {
        config.channels.insert(channel.to_owned(), name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::add;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn the_demo_grants_what_the_shipped_configuration_grants() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let shipped = Config::load(&root.join("config/single.toml")).unwrap();
        let mut demo = Config::default();
        add(&mut demo, &root.join("config/../target/plugins"));
        assert_eq!(demo.plugins, shipped.plugins);
        assert_eq!(demo.chain, shipped.chain);
        assert_eq!(demo.channels, shipped.channels);
        assert_eq!(demo.persistence, shipped.persistence);
    }
}
