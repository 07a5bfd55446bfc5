//! `carillon plugin push`: a component is given to the cluster, and prepared everywhere.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::Common;
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// Gives a component to a node, which keeps it and has every node prepare it; prints its digest.
///
/// Nothing becomes live. What the component lacks, as a grant, is said here.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin push moderation target/plugins/moderation.wasm\n\nSigned, \
                        under this name:\n  printf 'carillon plugin 1 moderation %s' $(sha256sum moderation.wasm | cut -c1-64) > \
                        statement\n  openssl pkeyutl -sign -rawin -inkey key.pem -in statement -out moderation.wasm.sig"
)]
pub(super) struct Push {
    /// The plugin
    name: String,
    /// The component
    file: PathBuf,
    /// The ed25519 signature of its name and digest, 64 bytes; FILE.sig if it is there
    #[arg(long)]
    signature: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Push {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let digest = push(&admin, &self.name, &self.file, self.signature.as_deref()).await?;
        let told = match self.common.json {
            true => json!({"plugin": self.name, "digest": digest}).to_string(),
            false => digest,
        };
        output::line(told).map(drop)
    }
}

/// Pushes a file, and returns its digest.
pub(super) async fn push(
    admin: &Admin,
    name: &str,
    file: &Path,
    signature: Option<&Path>,
) -> Result<String, Problem> {
    let component = read(file)?;
    let header = match signature_of(file, signature)? {
        Some(bytes) => format!("carillon-signature: {}\r\n", BASE64_STANDARD.encode(bytes)),
        None => String::new(),
    };
    let pushed: Value =
        admin.put(&format!("/admin/v1/plugins/{name}/artefacts"), &header, &component).await?;
    Ok(pushed.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn signature_of(file: &Path, given: Option<&Path>) -> Result<Option<Vec<u8>>, Problem> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".sig");
    let beside = PathBuf::from(beside);
    let path = match given {
        Some(path) => path,
        None if beside.exists() => &beside,
        None => return Ok(None),
    };
    let bytes = read(path)?;
    if bytes.len() != SIGNATURE_BYTES {
        let what = format!("{} has {} bytes, and a signature has 64", path.display(), bytes.len());
        return Err(Problem::usage(what, "Make it with openssl pkeyutl -sign -rawin"));
    }
    Ok(Some(bytes))
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| {
        let what = format!("{} cannot be read: {error}", path.display());
        Problem::usage(what, "Name a file that exists")
    })
}
