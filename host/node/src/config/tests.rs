//! The configuration as an operator meets it.

use std::path::Path;

use super::{Config, OnFailure, RegistryKind, Reserve, Size};

fn faults(text: &str) -> Vec<String> {
    Config::parse(text, Path::new(""))
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("", Path::new("")), Ok(Config::default()));
}

#[test]
fn every_fault_is_told_at_once_with_its_line_and_a_fix() {
    let text = "[node]\nid = \"N 1\"\nweigth = 2\n\n[http]\nlisten = 7081\n\n[registry]\n\
                kind = \"etcd\"\nservers = []\n[shiny]\na = 1\n";
    let told = faults(text);
    let expected = [
        "line 2: node.id is not a value it can have. Write a DNS label",
        "line 3: unknown key node.weigth. Did you mean `weight`.",
        "line 6: http.listen is not a value it can have. Write an address and a port",
        "line 9: registry.kind is not a value it can have. Write \"embedded\" or \"zookeeper\"",
        "line 10: unknown key registry.servers. Known here: kind, hosts",
        "line 11: unknown key shiny. Known here: cluster",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    let cases = [
        ("[replication]\ncopies = 2\ncommit = 3\n", "line 3: replication.commit is 3 of 2 copies"),
        (
            "[http]\nlisten = \"0.0.0.0:80\"\n",
            "line 2: http.listen is 0.0.0.0:80, and auth.mode is open",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:81\"\n[auth]\nmode = \"jwt\"\n",
            "line 2: admin.listen is 0.0.0.0:81, and whoever connects",
        ),
        (
            "[auth]\nmode = \"jwt\"\njwks = \"\"\naudience = \"\"\n",
            "line 3: auth.mode is jwt, and auth.jwks is empty",
        ),
        (
            "[auth]\nmode = \"jwt\"\naudience = \"\"\n",
            "line 3: auth.mode is jwt, and auth.audience",
        ),
        (
            "[auth]\nmode = \"jwks\"\n",
            "line 2: auth.mode is not a value it can have. Write \"open\" or",
        ),
        ("[admin]\nlisten = \"127.0.0.1:7081\"\n", "line 2: admin.listen is 127.0.0.1:7081 like"),
        ("[admin]\nlisten = \"10.0.0.1:7181\"\n", "line 2: admin.listen is 10.0.0.1:7181, and who"),
        ("[quic]\nadvertise = \"n1\"\n", "line 2: quic.advertise is \"n1\". Write a host and"),
        ("[http]\nadvertise = \":80\"\n", "line 2: http.advertise is \":80\". Write a host and"),
        (
            "[quic]\ncert = \"a.pem\"\n",
            "line 1: [quic] has some of cert, key and ca, but no key, no ca",
        ),
        ("[cluster]\npartitions = 100\n", "line 2: cluster.partitions is 100"),
        ("[ring]\npositions = 0\n", "line 2: ring.positions is empty"),
        (
            "[chain.message]\norder = [\"ghost\"]\n",
            "line 2: [chain.message] names ghost, which is no",
        ),
        (
            "[plugin_host]\nkeep_generations = 1\n",
            "line 2: plugin_host.keep_generations is 1. Write 2 to 8",
        ),
        (
            "[plugin_host]\ntrusted_keys = [\"key\"]\n",
            "line 2: plugin_host.trusted_keys: \"key\" is no ed25519 key",
        ),
        (
            "[plugin_host]\nrequire_signature = true\n",
            "line 2: plugin_host.require_signature is true, and trusted_keys is empty",
        ),
    ];
    refuses(&cases);
}

/// Each of these has a fault that begins so.
fn refuses(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let told = faults(text);
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}\n{told:#?}");
    }
}

#[test]
fn folders_of_objects_are_named_once_and_hold_data() {
    refuses(&[
        (
            "[storage]\nspaces = [\"/a\"]\n",
            "line 2: storage.spaces is not a list of tables. Write a list",
        ),
        ("[storage]\nspaces = \"/a\"\n", "line 2: storage.spaces is not a list of tables"),
        (
            "[storage]\nspaces = [{}]\n",
            "line 2: storage.spaces.1 has no path. Name a folder, as in",
        ),
        (
            "[[storage.spaces]]\npath = \"/a\"\npth = \"/b\"\n",
            "line 3: unknown key storage.spaces.1.pth. Did you mean `path`",
        ),
        (
            "[storage]\nspaces = [\n{ path = \"a\" },\n{ path = \"a\", class = \"data\" }]\n",
            "line 4: storage.spaces names a twice. Name each folder once",
        ),
        (
            "[storage]\nspaces = [{ path = \"/a\", class = \"log\" }]\n",
            "line 2: storage.spaces.1.class is log, and logs are in node.data",
        ),
        (
            "[storage]\nspaces = [{ path = \"/a\", class = \"logs\" }]\n",
            "line 2: storage.spaces.1.class is not a value it can have. Write \"data\" or \"log\"",
        ),
        ("[storage]\ngrace = \"59m\"\n", "line 2: storage.grace is 59m. Write 1h or more"),
    ]);
    let text = "[storage]\ngrace = \"1h\"\nspaces = [{ path = \"a\" }, { path = \"/b\", class = \"data\" }]\n";
    let config = Config::parse(text, Path::new("/etc/carillon")).unwrap();
    let paths: Vec<_> = config.storage.spaces.iter().map(|space| space.path.clone()).collect();
    assert_eq!(paths, [Path::new("/etc/carillon/a"), Path::new("/b")]);
}

#[test]
fn rates_and_ages_are_what_a_node_can_keep_to() {
    refuses(&[
        (
            "[replication]\ncatch_up = \"1KiB/s\"\n",
            "line 2: replication.catch_up is 1KiB a second. Write 64KiB/s or more",
        ),
        (
            "[replication]\ncatch_up = \"1MiB\"\n",
            "line 2: replication.catch_up is not a value it can have. Write \"unlimited\", or bytes",
        ),
        ("[collect]\nevery = \"50ms\"\n", "line 2: collect.every is 50ms. Write 100ms or more"),
        (
            "[presence]\nidle = \"500ms\"\n",
            "line 2: presence.idle is 500ms. Write 1s or more, or \"off\"",
        ),
        (
            "[collect]\nidle = 5\n",
            "line 2: collect.idle is not a value it can have. Write \"off\", or how long",
        ),
        (
            "[collect]\nforget = \"never\"\n",
            "line 2: collect.forget is not a value it can have. Write \"off\", or how long",
        ),
    ]);
}

#[test]
fn twilio_needs_an_address_a_file_of_tokens_and_plugins() {
    let cases = [
        (
            "[twilio]\nauth_token_file = \"t\"\n",
            "line 2: twilio.auth_token_file is named, and twilio.public_url is empty",
        ),
        ("[twilio]\npublic_url = \"chat.example.com\"\n", "line 2: twilio.public_url is \"chat"),
        ("[twilio]\npublic_url = \"https://\"\n", "line 2: twilio.public_url is \"https://\""),
        ("[twilio]\npublic_url = \"https://a/?b\"\n", "line 2: twilio.public_url is \"https"),
        ("[twilio]\npublic_url = \"https://me@a\"\n", "line 2: twilio.public_url is \"https"),
        ("[twilio]\ndeadline = \"20s\"\n", "line 2: twilio.deadline is 20s. Write 100ms to 14s"),
        ("[twilio]\ndeadline = \"0s\"\n", "line 2: twilio.deadline is 0s. Write 100ms to 14s"),
        (
            "[twilio]\nfallback_twiml = \"sorry\"\n",
            "line 2: twilio.fallback_twiml is no TwiML: text that is in no element",
        ),
        (
            "[chain.twilio]\nvoice = \"ghost\"\n",
            "line 2: [chain.twilio] names ghost, which is no plugin",
        ),
        (
            "[plugins.p]\n[chain.twilio]\nVoice = \"p\"\n",
            "line 3: [chain.twilio] names a channel \"Voice\"",
        ),
        (
            "[chain.twilio]\nvoice = 7\n",
            "line 2: chain.twilio.voice is not a value it can have. Write a text",
        ),
    ];
    for (text, expected) in cases {
        let told = faults(text);
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}\n{told:#?}");
        assert_eq!(told.len(), 1, "{told:#?}");
    }
    let text = "[twilio]\npublic_url = \"https://chat.example.com/a\"\nauth_token_file = \"t\"\n\
                [plugins.p]\n[chain.twilio]\nvoice = \"p\"\nstatus = \"p\"\n";
    let config = Config::parse(text, Path::new("/etc/carillon")).unwrap();
    assert_eq!(config.twilio.auth_token_file, Path::new("/etc/carillon/t"));
    assert_eq!(config.channels.len(), 2);
    assert!(config.twilio.is_on() && !Config::default().twilio.is_on());
}

#[test]
fn a_plugin_that_comes_by_a_swap_needs_no_source_and_no_place() {
    let text = "[plugins.p.grant]\nroster = true\n[plugins.q]\n[chain.message]\norder = [\"q\"]\n";
    let config = Config::parse(text, Path::new("")).unwrap();
    assert!(config.plugins["p"].grant.roster && config.plugins["q"].source.as_os_str().is_empty());
}

#[test]
fn tokens_let_a_node_listen_beyond_this_machine() {
    let text = "[http]\nlisten = \"0.0.0.0:80\"\n[auth]\nmode = \"jwt\"\njwks = \"keys.json\"\n";
    let config = Config::parse(text, Path::new("/etc/carillon")).unwrap();
    assert_eq!(config.auth.jwks, Path::new("/etc/carillon/keys.json"));
}

#[test]
fn a_registry_of_several_processes_needs_servers_a_path_and_certificates() {
    let zookeeper = |more: &str| {
        let quic = "[quic]\ncert = \"a.pem\"\nkey = \"a.key\"\nca = \"ca.pem\"\n";
        faults(&format!("[registry]\nkind = \"zookeeper\"\n{more}\n{quic}"))
    };
    assert!(zookeeper("hosts = [\"a:2181\", \"[::1]:2181/x\"]\nsession = \"30s\"").is_empty());
    let cases = [
        ("hosts = []", "line 3: registry.hosts names 0 servers. Name 1 to 16."),
        ("hosts = [\"a\"]", "line 3: registry.hosts has \"a\". Write host and port"),
        (
            "hosts = [\"a:1/x\", \"b:1\"]",
            "line 3: registry.hosts has \"a:1/x\". Write host and port",
        ),
        ("hosts = [\"a:0\"]", "line 3: registry.hosts has \"a:0\". Write host and port"),
        ("root = \"carillon\"", "line 3: registry.root is \"carillon\". Write a path like"),
        ("root = \"/a//b\"", "line 3: registry.root is \"/a//b\". Write a path like"),
        ("root = \"/zookeeper/a\"", "line 3: registry.root is \"/zookeeper/a\". Write a path"),
        ("session = \"9ms\"", "line 3: registry.session is 9ms. Write 1s to 1m."),
        ("timeout = \"0s\"", "line 3: registry.timeout is 0s. Write 1ms to 1m."),
    ];
    for (more, expected) in cases {
        let told = zookeeper(more);
        assert_eq!(told.len(), 1, "{more}\n{told:#?}");
        assert!(told[0].starts_with(expected), "{told:?}\n{expected}");
    }
    let told = faults("[registry]\nkind = \"zookeeper\"\n");
    let expected = "line 2: registry.kind is zookeeper, and [quic] has no cert, key and ca.";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    let told = faults("[registry]\nhosts = [\"a:2181\"]\n");
    let expected = "line 2: registry.hosts is of ZooKeeper, and registry.kind is embedded.";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    let told = zookeeper("[http]\nlisten = \"[::]:80\"");
    assert!(told.iter().any(|told| told.contains("http.advertise is empty")), "{told:?}");
}

#[test]
fn a_plugin_has_grants_limits_and_a_configuration_of_its_own() {
    let text = "[plugins.p]\nsource = \"file:p.wasm\"\non_failure = \"skip\"\n\
                [plugins.p.grant]\nkv = { bytes = \"1KiB\" }\npost = true\nlog = true\n\
                [plugins.p.config]\nwords = [\"a\"]\nstrikes = 3\n[chain.message]\norder = [\"p\"]\n";
    let config = Config::parse(text, Path::new("/etc/carillon")).unwrap();
    let plugin = &config.plugins["p"];
    assert_eq!(plugin.source, Path::new("/etc/carillon/p.wasm"));
    assert_eq!(plugin.on_failure, Some(OnFailure::Skip));
    assert_eq!(plugin.grant.kv, Some(Size(1024)));
    assert!(plugin.grant.post && !plugin.grant.roster);
    assert_eq!(
        serde_json::Value::from(plugin.config.clone()),
        serde_json::json!({"words": ["a"], "strikes": 3})
    );
}

#[test]
fn a_limit_above_the_ceiling_is_refused_with_the_line() {
    let text = "[plugins.p]\nsource = \"file:p.wasm\"\nlimits = { memory = \"1GiB\" }\n\
                [chain.message]\norder = [\"p\"]\n";
    let told = faults(text);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("at most 256MiB"), "{told:?}");
}

#[test]
fn text_that_is_not_toml_names_the_line() {
    let told = faults("[node]\nid = n1\n");
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("line 2: this is not TOML"), "{told:?}");
}

#[test]
fn a_node_alone_needs_a_commit_quorum_of_one() {
    let mut config = Config::default();
    assert_eq!(config.faults_alone().len(), 1);
    config.replication.commit = 1;
    assert!(config.faults_alone().is_empty());
    config.replication.commit = 2;
    config.registry.kind = RegistryKind::ZooKeeper;
    assert!(config.faults_alone().is_empty(), "then the others are other processes");
}

#[test]
fn keys_are_known_without_a_file() {
    let keys = Config::keys();
    for key in ["node.id", "plugins.NAME.grant.kv.bytes", "chain.message.order"] {
        assert!(keys.iter().any(|known| known == key), "{key} in {keys:?}");
    }
    assert_eq!(Config::default().storage.reserve, Reserve::Percent(5));
}

#[test]
fn values_that_cannot_be_read_hide_no_fault_of_others() {
    let text = "[cluster]\npartitions = \"many\"\n[node]\nweigth = 2\ndrain = \"10 s\"\n\
                [http]\nlisten = \"0.0.0.0:80\"\n[replication]\ncopies = 2\ncommit = 3\n\
                [storage]\nvalue_file = \"64MB\"\n[limits]\nconnections = 0\n\
                [chain.message]\norder = [\"ghost\", \"ghost\"]\n";
    let expected = [
        "line 2: cluster.partitions is not a value it can have. Write a whole number from 0 to",
        "line 4: unknown key node.weigth. Did you mean `weight`.",
        "line 5: node.drain is not a value it can have. Write a whole number and ms, s, m, h or d",
        "line 7: http.listen is 0.0.0.0:80, and auth.mode is open.",
        "line 10: replication.commit is 3 of 2 copies. Write 1 to 2.",
        "line 12: storage.value_file is not a value it can have. Write a whole number and B, KiB",
        "line 14: limits.connections is 0: nobody could connect.",
        "line 16: [chain.message] names ghost twice.",
        "line 16: [chain.message] names ghost, which is no plugin.",
    ];
    let told = faults(text);
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

#[test]
fn what_only_follows_from_another_fault_is_not_told() {
    for text in [
        "[replication]\ncopies = \"two\"\ncommit = 5\n",
        "[replicaton]\ncopies = 5\n[replication]\ncopies = 5\ncommit = 5\n",
        "[replication]\ncopys = 5\ncommit = 5\n",
        "[auth]\nmode = \"token\"\n[http]\nlisten = \"0.0.0.0:80\"\n",
        "[http]\nlisten = 7082\n[admin]\nlisten = \"127.0.0.1:7081\"\n",
        "[quic]\ncert = \"a.pem\"\nkey = 5\nca = \"ca.pem\"\n",
        "[plugins.p]\nsource = \"p.wasm\"\n[chain.message]\norder = [\"p\"]\n",
        "[plugins.p]\nsource = \"file:p.wasm\"\n[chain.message]\noder = [\"p\"]\n",
        "[plugin.p]\nsource = \"file:p.wasm\"\n[chain.message]\norder = [\"p\"]\n",
        "[plugin_host.ceiling]\nfuel = -1\n[plugins.p]\nsource = \"file:p.wasm\"\n\
         limits = { fuel = 300000000 }\n[chain.message]\norder = [\"p\"]\n",
    ] {
        let told = faults(text);
        assert_eq!(told.len(), 1, "{text}{told:#?}");
    }
}

#[test]
fn faults_of_services_are_told_with_what_to_write() {
    let text = "[services.crm]\nurl = \"registry:/services/crm\"\n[services.\"bad name\"]\n\
                url = \"ftp://x\"\nsecret_file = \"s\"\norder = \"none\"\nparallel = 0\n\
                batch = { events = 101, bytes = \"1B\" }\nkinds = []\n\
                retry = { first = \"10s\", cap = \"1s\", give_up = \"0s\" }\n\
                [services.m]\nurl = \"http://m\"\ndialect = \"matrix\"\nsecret_file = \"s\"\n\
                [services.n]\nurl = \"registry:crm\"\nsecret_file = \"s\"\n\
                keep = { age = \"1d\", bytes = \"1MiB\" }\n";
    let told = faults(text);
    for expected in [
        "line 1: services.crm.secret_file is missing: a webhook is signed.",
        "line 2: services.crm.url is \"registry:/services/crm\", and an embedded registry has no other services.",
        "line 3: a service cannot be called \"bad name\". Write 1 to 63 letters, digits, '-' and '_'.",
        "line 4: services.bad name.url is \"ftp://x\".",
        "line 6: services.bad name.order is not a value it can have. Write \"chat\" or \"service\".",
        "line 7: services.bad name.parallel is 0. Write 1 to 256.",
        "line 8: services.bad name.batch.events is 101. Write 1 to 100.",
        "line 8: services.bad name.batch.bytes is 1B. Write 1KiB to 4MiB.",
        "line 9: services.bad name.kinds is empty: nothing would concern it.",
        "line 10: services.bad name.retry.cap is 1s, and first is 10s. Write 10s or more.",
        "line 10: services.bad name.retry.give_up is 0s, and cap is 1s. Write 1s or more.",
        "line 11: services.m speaks matrix, which has no use for that file. Name the file in token_file.",
        "line 16: services.n.url is \"registry:crm\". Write where its instances are,",
        "line 18: services.n.keep.age is 1d, and retry.give_up is 3d. Write 3d or more: until then it is tried.",
        "line 18: services.n.keep.bytes is 1MiB. Write 64MiB or more.",
    ] {
        assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}\n{told:#?}");
    }
    assert_eq!(told.len(), 15, "{told:#?}");
}
