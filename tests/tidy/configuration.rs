//! The configuration files show what there is, and nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use node::config::{Config, PluginConfig, ServiceConfig};

use crate::{files, read, root};

fn shown() -> String {
    read(&root().join("config/node.toml"))
}

#[test]
fn node_toml_is_the_default() {
    let config = Config::parse(&shown(), Path::new("")).expect("config/node.toml has no faults");
    assert_eq!(config, Config::default());
}

#[test]
fn a_plugin_in_node_toml_is_the_default_too() {
    let text = shown().replace("#: ", "").replace("order = []", "order = [\"NAME\"]");
    let config = Config::parse(&text, Path::new("")).expect("config/node.toml has no faults");
    let shown = config.plugins.get("NAME").expect("a plugin is shown");
    let source = "NAME.wasm".into();
    let mut expected = PluginConfig { source, ..PluginConfig::default() };
    // These have no default of their own: the manifest decides, and a grant is there or not.
    expected.on_failure = shown.on_failure;
    expected.limits = shown.limits;
    expected.guard.max_trap_rate = shown.guard.max_trap_rate;
    expected.guard.max_shift = shown.guard.max_shift;
    expected.grant.kv = shown.grant.kv;
    expected.grant.history = shown.grant.history;
    assert_eq!(*shown, expected);
}

#[test]
fn a_service_in_node_toml_is_the_default_too() {
    let text = shown().replace("#: ", "").replace("order = []", "order = [\"NAME\"]");
    let config = Config::parse(&text, Path::new("")).expect("config/node.toml has no faults");
    let shown = config.services.get("NAME").expect("a service is shown");
    let (url, secret_file) = (shown.url.clone(), "NAME.secret".into());
    assert_eq!(*shown, ServiceConfig { url, secret_file, ..ServiceConfig::default() });
}

#[test]
fn node_toml_shows_every_key() {
    let text = shown().replace("#: ", "");
    let table: toml::Table = text.parse().expect("config/node.toml is TOML");
    let mut found = BTreeSet::new();
    leaves("", &table, &mut found);
    let known: BTreeSet<String> = Config::keys().into_iter().collect();
    assert_eq!(found, known);
}

fn leaves(path: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            // A plugin's own configuration belongs to the plugin.
            toml::Value::Table(_) if path == "plugins.NAME.config" => {}
            toml::Value::Table(table) => leaves(&path, table, found),
            _ => _ = found.insert(path),
        }
    }
}

#[test]
fn every_configuration_that_is_shipped_has_no_faults() {
    for file in files(&root().join("config"), "toml") {
        if let Err(faults) = Config::load(&file) {
            panic!("{faults}");
        }
    }
}

#[test]
fn the_file_to_start_from_can_run_and_the_reference_names_it() {
    let start = "config/single.toml";
    Config::load_alone(&root().join(start)).expect("a node runs alone with it");
    let shown = shown();
    let head = shown.lines().take_while(|line| line.starts_with('#'));
    assert!(head.collect::<String>().contains(start), "the head of config/node.toml names {start}");
}
