//! `carillon check`: everything that would keep a node from starting, without starting one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use plugin::{Kind, Plugin};
use replication::{Credentials, Pem, TlsError};

use super::{Problem, chain, of_spaces, online, output};
use crate::config::{AuthMode, Draft, Faults};
use crate::handlers;
use crate::objects;

/// Checks a configuration: every fault with its line, and the plugins it names.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon check config/single.toml\n  carillon check \
                        config/cluster/a.toml --online")]
pub(super) struct Check {
    /// The configuration
    file: PathBuf,
    /// Asks the registry too: whether it answers, and whether there are nodes enough
    #[arg(long)]
    online: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Problem> {
        let told = match self.faults() {
            Ok(Good { handlers, notes }) if self.json => {
                output::line(serde_json::json!({"faults": [], "chain": handlers, "notes": notes}))
            }
            Ok(Good { handlers, notes }) => {
                let handlers = match handlers.is_empty() {
                    true => "without handlers".to_owned(),
                    false => handlers.join(", "),
                };
                let mut lines = vec![format!("{} is good: {handlers}", self.file.display())];
                lines.extend(notes);
                output::line(lines.join("\n"))
            }
            Err(CheckError::Faults(faults)) if self.json => {
                let faults: Vec<_> = faults
                    .faults
                    .iter()
                    .map(|f| serde_json::json!({"line": f.line, "what": f.what, "fix": f.fix}))
                    .collect();
                output::line(serde_json::json!({"faults": faults}))?;
                let what = format!("{} has faults", self.file.display());
                return Err(Problem::usage(what, "Mend them and check again"));
            }
            Err(CheckError::Faults(faults)) => return Err(faults.into()),
            Err(CheckError::Problem(problem)) => return Err(problem),
        };
        told.map(drop)
    }

    /// What there is, or what is wrong.
    fn faults(&self) -> Result<Good, CheckError> {
        let mut draft = Draft::read(&self.file)?;
        draft.alone();
        certificates(&mut draft);
        keys(&mut draft);
        digest(&mut draft);
        tokens(&mut draft);
        spaces(&mut draft);
        let loaded = Self::plugins(&mut draft);
        // Why the plugins could not be looked at matters only if nothing else is wrong.
        let config = draft.finish()?;
        let loaded = loaded?;
        let chain = config.chain.iter().filter_map(|name| loaded.get(name));
        let chain = chain.map(|plugin| format!("{} {}", plugin.name(), plugin.version()));
        let handlers = chain.collect();
        let notes = match self.online {
            true => super::small_runtime()?.block_on(online::look(&self.file, &config))?,
            false => Vec::new(),
        };
        Ok(Good { handlers, notes })
    }

    /// The plugins that could be loaded; what is wrong with the others becomes faults.
    fn plugins(draft: &mut Draft) -> Result<BTreeMap<String, Arc<Plugin>>, Problem> {
        // Nothing is kept: a check must not write into a node's folder.
        let host =
            plugin::Host::new(handlers::host_config(draft.config(), None, super::compiler()));
        let host = host.map_err(|error| {
            Problem::failed(chain(&error), "Give the process more address space (ulimit -v)")
        })?;
        super::small_runtime()?.block_on(async {
            let mut loaded = BTreeMap::new();
            for (name, plugin) in draft.config().plugins.clone() {
                let path = format!("plugins.{name}");
                let looked = if plugin.source.as_os_str().is_empty() {
                    // It comes by a swap: what it needs is known then.
                    Ok(None)
                } else if draft.is_sound(&path) {
                    handlers::load_one(&host, &name, &plugin).await.map(Some)
                } else if draft.is_sound(&format!("{path}.source")) {
                    handlers::component(&name, &plugin).await.map(|_bytes| None)
                } else {
                    Ok(None)
                };
                match looked {
                    Ok(plugin) => {
                        if let Some(plugin) = &plugin {
                            place(draft, plugin);
                            answers(draft, plugin);
                            plans(draft, plugin);
                        }
                        loaded.extend(plugin.map(|plugin| (name, plugin)));
                    }
                    Err(unusable) => draft.fault(&path, unusable.what, unusable.fix),
                }
            }
            Ok(loaded)
        })
    }
}

/// Whether a plugin stands in the chain, if it handles messages, and only then.
fn place(draft: &mut Draft, plugin: &Plugin) {
    let name = plugin.name();
    let named = draft.config().chain.iter().any(|it| it == name);
    let handles = plugin.kinds().contains(&Kind::Message);
    if named == handles || !draft.is_sound("chain.message.order") {
        return;
    }
    if handles {
        let what = format!("plugin {name} handles messages and is in no chain");
        let fix = format!("Add \"{name}\" to order below [chain.message], or remove it");
        draft.fault(&format!("plugins.{name}"), what, fix);
    } else {
        let what = format!("[chain.message] names {name}, which handles no messages");
        let fix = "Leave it out of order: what it handles it is given anyway".to_owned();
        draft.fault("chain.message.order", what, fix);
    }
}

/// Whether a plugin that is to answer Twilio can.
fn answers(draft: &mut Draft, plugin: &Plugin) {
    let (name, kinds) = (plugin.name(), plugin.kinds());
    if kinds.contains(&Kind::Twilio) {
        return;
    }
    let of = |(channel, it): (&String, &String)| (it == name).then(|| channel.clone());
    let channels: Vec<String> = draft.config().channels.iter().filter_map(of).collect();
    for channel in channels {
        let what = format!("[chain.twilio] names {name}, which handles no requests of Twilio");
        let fix = format!("Name a plugin that does, or leave {channel} out");
        draft.fault(&format!("chain.twilio.{channel}"), what, fix);
    }
}

/// What is wrong with the file of Twilio's auth tokens, if Twilio is answered.
fn tokens(draft: &mut Draft) {
    let twilio = &draft.config().twilio;
    if !twilio.is_on() || !draft.is_sound("twilio.auth_token_file") {
        return;
    }
    if let Err(error) = api::Twilio::look(&twilio.auth_token_file) {
        let file = twilio.auth_token_file.display();
        let what = format!("twilio.auth_token_file, {file}: {}", chain(&error));
        let fix = "Write the account's auth token there, and nothing else; chmod 600";
        draft.fault("twilio.auth_token_file", what, fix.to_owned());
    }
}

/// What is wrong with the folders for value files.
fn spaces(draft: &mut Draft) {
    if !["node", "storage.spaces"].into_iter().all(|path| draft.is_sound(path)) {
        return;
    }
    for error in objects::faults(draft.config()) {
        let fix = of_spaces(&error).to_owned();
        draft.fault("storage.spaces", format!("storage.spaces: {}", chain(&error)), fix);
    }
}

/// Whether a plugin makes plans for chats, if it is to.
fn plans(draft: &mut Draft, plugin: &Plugin) {
    let name = plugin.name();
    if draft.config().persistence.policy == name && !plugin.kinds().contains(&Kind::Policy) {
        let what = format!("persistence.policy names {name}, which is no persistence policy");
        let fix = "Name a plugin that exports persistence-policy, or write \"\"".to_owned();
        draft.fault("persistence.policy", what, fix);
    }
}

/// What is wrong with the certificates, if the file names all three, and whether they are this node's.
fn certificates(draft: &mut Draft) {
    let config = draft.config();
    let files = [&config.quic.cert, &config.quic.key, &config.quic.ca];
    let named = files.iter().all(|file| !file.as_os_str().is_empty());
    if !named || !draft.is_sound("quic") {
        return;
    }
    let [certificate, key, authority] = files;
    let read = Pem::read(certificate, key, authority).and_then(|pem| Credentials::new(&pem));
    let (node, cluster) = (&config.node.id, &config.cluster.name);
    let sound = draft.is_sound("node.id") && draft.is_sound("cluster.name");
    let fits = read.and_then(|read| if sound { read.fits(node, cluster) } else { Ok(()) });
    if let Err(error) = fits {
        let fix = match &error {
            TlsError::Name { node } => format!("Make one with carillon cert node {node}"),
            TlsError::Expired { .. } => "Make another with carillon cert node --replace".to_owned(),
            TlsError::Cluster { .. } => "Name the ca.pem of this cluster".to_owned(),
            _ => "Name the PEM files of this node and its cluster; carillon cert makes them"
                .to_owned(),
        };
        draft.fault("quic", chain(&error), fix);
    }
}

/// What is wrong with the file that holds the registry's password.
fn digest(draft: &mut Draft) {
    let registry = &draft.config().registry;
    let path = &registry.digest_file;
    if path.as_os_str().is_empty() || !draft.is_sound("registry.digest_file") {
        return;
    }
    if let Err(problem) = registry::Digest::read(path) {
        let fix = "Let this node alone read it";
        draft.fault("registry.digest_file", problem.to_string(), fix.to_owned());
    }
}

/// What is wrong with the keys of tokens, if tokens are wanted.
fn keys(draft: &mut Draft) {
    let auth = &draft.config().auth;
    let named = draft.is_sound("auth") && !auth.jwks.as_os_str().is_empty();
    if auth.mode != AuthMode::Jwt || !named {
        return;
    }
    if let Err(error) = api::Auth::look(&auth.jwks) {
        let what = format!("auth.jwks, {}: {}", auth.jwks.display(), chain(&error));
        let fix =
            "Write a JSON web key set there; carillon token --new-key makes one for development";
        draft.fault("auth.jwks", what, fix.to_owned());
    }
}

/// A file without faults.
struct Good {
    /// The handlers of the chain with their versions.
    handlers: Vec<String>,
    /// What the registry says, if it was asked.
    notes: Vec<String>,
}

enum CheckError {
    Faults(Faults),
    Problem(Problem),
}

impl From<Faults> for CheckError {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<Problem> for CheckError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Self::usage(faults, "Mend them and run carillon check again")
    }
}
