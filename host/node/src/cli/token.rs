//! `carillon token`: tokens for development, and the keys to sign them with.
//!
//! What people log in to signs the tokens of a service; this is for trying a node that wants them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::auth::{Chats, NewToken, SigningKey, SigningKeyError, add_to_key_set};
use clap::Args;

use super::{Problem, chain, output};
use crate::config::Span;

/// Under these names a new key and the key set are written.
const KEY_FILE: &str = "token.key";
const KEY_SET_FILE: &str = "jwks.json";

/// Makes a token for development, or the key to sign one with.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon token --new-key keys\n  carillon token --key \
                        keys/token.key --sub alice --chats '*' > alice.token\n  carillon chat create \
                        --token-file alice.token\n\nA node takes it when its auth.jwks names \
                        keys/jwks.json, which has the key's public half.")]
pub(super) struct Token {
    /// Makes a new key in this folder: token.key, and its public half in jwks.json
    #[arg(long, value_name = "DIR", conflicts_with_all = ["key", "subject", "public"])]
    new_key: Option<PathBuf>,
    /// The private key: PKCS #8 in PEM, or a JSON web key; Ed25519 or P-256
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Prints the key's public half, as a key set, and no token
    #[arg(long, conflicts_with = "subject")]
    public: bool,
    /// Who asks with it: their name as sender, reader and member
    #[arg(long = "sub", value_name = "NAME", required_unless_present_any = ["new_key", "public"])]
    subject: Option<String>,
    /// What for: send, read, service, admin
    #[arg(long, value_delimiter = ',', default_value = "send,read")]
    scope: Vec<String>,
    /// For which chats; * is all of them, and to create some
    #[arg(long, value_delimiter = ',', value_name = "TOKEN,…|*")]
    chats: Vec<String>,
    /// How long it lives, at most an hour
    #[arg(long, default_value = "1h")]
    ttl: Span,
    /// For whom: auth.audience of the nodes
    #[arg(long, default_value = "carillon")]
    audience: String,
    /// Whose: auth.issuer of the nodes
    #[arg(long, default_value = "")]
    issuer: String,
    /// The key's name in the key set; what follows from the key if not said
    #[arg(long)]
    kid: Option<String>,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Problem> {
        if let Some(folder) = &self.new_key {
            return new_key(folder);
        }
        let key = self.key()?;
        if self.public {
            let set = add_to_key_set(None, &key)
                .map_err(|error| Problem::failed(chain(&error), "Choose another --kid"))?;
            return output::line(set.trim_end()).map(drop);
        }
        let new = NewToken {
            subject: self.subject.unwrap_or_default(),
            scopes: self.scope,
            chats: chats(&self.chats)?,
            life_s: self.ttl.0.as_secs(),
            audience: self.audience,
            issuer: self.issuer,
        };
        let token = key.mint(&new, runtime::wall_ms() / 1000);
        let token = token.map_err(|error| Problem::usage(error, "Say it differently"))?;
        output::line(token).map(drop)
    }

    fn key(&self) -> Result<SigningKey, Problem> {
        let path = self.key.clone().unwrap_or_default();
        let named = |what: String| format!("{}: {what}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let fix = "Name a file that is there, or make one with --new-key DIR";
            Problem::usage(named(error.to_string()), fix)
        })?;
        let key = SigningKey::read(&text).map_err(|error| {
            Problem::usage(named(error.to_string()), "Make one with --new-key DIR")
        })?;
        Ok(match &self.kid {
            Some(kid) => key.named(kid.clone()),
            None => key,
        })
    }
}

/// Makes a key, and adds its public half to the key set beside it.
fn new_key(folder: &Path) -> Result<(), Problem> {
    let failed = |path: &Path, error: std::io::Error| {
        let fix = "Name a folder that can be written and has no key yet";
        Problem::failed(format!("{}: {error}", path.display()), fix)
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let (key_path, set_path) = (folder.join(KEY_FILE), folder.join(KEY_SET_FILE));
    let set = match std::fs::read_to_string(&set_path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&set_path, error)),
    };
    let (key, private) = SigningKey::generate()
        .map_err(|error: SigningKeyError| Problem::failed(chain(&error), "See the system's log"))?;
    let set = add_to_key_set(set.as_deref(), &key).map_err(|error| {
        let what = format!("{}: {}", set_path.display(), chain(&error));
        Problem::failed(what, "Mend it, or name another folder")
    })?;
    // The private half first: a public one whose other half is lost would be trusted for nothing.
    write_new(&key_path, &private).map_err(|error| failed(&key_path, error))?;
    replace(&set_path, &set).map_err(|error| failed(&set_path, error))?;
    output::line(format_args!("{}", key_path.display()))?;
    output::line(format_args!("{}", set_path.display())).map(drop)
}

/// Writes a file that its owner alone can read, and that was not there.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Replaces a file at once: a node that looks at it sees the old one or the new one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn chats(said: &[String]) -> Result<Chats, Problem> {
    if said == ["*"] {
        return Ok(Chats::All);
    }
    let chats = said.iter().map(|text| super::chat::token(text));
    chats.collect::<Result<_, _>>().map(Chats::These)
}
