//! What the nodes of one process have in common, of a file that was written for one.
//!
//! A demo gives each of its nodes a name, addresses, certificates and a folder, and all of them a registry in the
//! process. Of a file it takes everything else, for every node. What it cannot follow is a fault and not
//! passed over: somebody wrote it and would wait for its effect.

use std::path::Path;

use super::{Config, Draft, Faults};

/// What a demo decides by itself, and how.
const OWN: [(&str, &str); 13] = [
    ("cluster", "a demo is a cluster of its own"),
    ("node", "a demo names its nodes, and --dir says where they keep everything"),
    ("http", "--http-port says where the nodes of a demo listen"),
    ("admin", "--http-port says where the nodes of a demo listen"),
    ("quic", "the nodes of a demo find each other, with certificates made in memory"),
    ("registry", "a demo has a registry of its own"),
    ("ring", "the nodes of a demo draw their places"),
    ("auth", "everybody says who they are in a demo, which listens on loopback only"),
    ("log", "--log says what a demo logs"),
    ("replication.copies", "--nodes says how many hold what: all, and three at most"),
    ("replication.commit", "--nodes says how many hold what: all, and three at most"),
    ("storage.spaces", "--dir says where the nodes of a demo keep everything"),
    ("replication.spread", "all nodes of a demo are on one machine"),
];

impl Config {
    /// Reads a file for all nodes of a demo, upon `base`: what the file says wins, plugin by plugin and key by
    /// key. Relative paths in it are relative to its folder; those in `base` are not.
    ///
    /// # Errors
    /// [`Faults`], all of them at once; also every key that a demo does not follow.
    pub fn load_common(file: &Path, base: Self) -> Result<Self, Faults> {
        let mut draft = Draft::read_upon(file, base)?;
        for (path, why) in OWN {
            if draft.says(path) {
                let what = match path.contains('.') {
                    true => format!("{path} cannot be given to a demo: {why}"),
                    false => format!("[{path}] cannot be given to a demo: {why}"),
                };
                draft.fault(path, what, "Leave it out".to_owned());
            }
        }
        draft.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, PluginConfig};

    /// The base of a demo with one plugin, and a file with this text.
    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).unwrap();
        let mut base = Config::default();
        for name in ["status", "moderation"] {
            let source = format!("/shipped/{name}.wasm").into();
            base.plugins
                .insert(name.to_owned(), PluginConfig { source, ..PluginConfig::default() });
            base.chain.push(name.to_owned());
        }
        Config::load_common(&file, base).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_file_is_taken_beside_what_the_demo_has_and_wins_where_both_say_something() {
        let config = load(
            "[plugins.hello.config]\nword = \"darn\"\n[plugins.moderation.grant]\nroster = true\n\
             [plugins.own]\nsource = \"file:own.wasm\"\n[collect]\ngrace = \"1s\"\n\
             [replication]\ntimeout = \"2s\"\n",
        )
        .unwrap();
        let source = |name: &str| config.plugins[name].source.clone();
        assert_eq!(source("status"), Path::new("/shipped/status.wasm"));
        assert_eq!(source("moderation"), Path::new(""), "the file's section is all there is of it");
        assert!(source("own").is_absolute() && source("own").ends_with("own.wasm"));
        assert_eq!(config.plugins["hello"].config["word"], "darn");
        assert_eq!(config.chain, ["status", "moderation"]);
        let ordered = load("[chain.message]\norder = [\"hello\", \"status\"]\n[plugins.hello]\n");
        assert_eq!(ordered.unwrap().chain, ["hello", "status"], "plugins of the demo are known");
    }

    #[test]
    fn what_a_demo_does_not_follow_is_told_with_its_line_all_at_once() {
        let sections = "[cluster]\nname = \"x\"\n[node]\n[http]\n[admin]\n[quic]\n[registry]\n[ring]\n\
                        [auth]\n[log]\n[replication]\ncopies = 3\ncommit = 2\nspread = \"node\"\n\
                        [storage]\nspaces = []\n";
        let told = load(sections).unwrap_err();
        assert!(told.contains("has 13 faults"), "{told}");
        for (line, what) in
            [(1, "[cluster] cannot"), (9, "[auth] cannot"), (12, "replication.copies")]
        {
            let line = format!("line {line}: {what}");
            assert!(told.contains(&line), "{line}: {told}");
        }
        let other = load("[chain.message]\norder = [\"nobody\"]\n").unwrap_err();
        assert!(other.contains("nobody, which is no plugin"), "{other}");
    }
}
