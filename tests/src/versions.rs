//! Components that differ in nothing but what they say of themselves, and what operators do with them.

use serde_json::{Value, json};

use crate::guests::Guest;
use crate::{Answer, Http};

/// `guest` with a manifest that has this version.
pub fn version(guest: &Guest, version: &str) -> Vec<u8> {
    let manifest = format!("name = \"guest\"\nversion = \"{version}\"\n");
    plugin::pack(&guest.build(), &manifest).unwrap_or_else(|error| panic!("{error}"))
}

impl Http {
    /// Pushes a component to this node, which is asked as its operators do.
    pub async fn push(&self, name: &str, component: &[u8]) -> Answer {
        let path = format!("/admin/v1/plugins/{name}/artefacts");
        let pushed = self.ask_bytes("PUT", &path, &[], component).await;
        pushed.unwrap_or_else(|error| panic!("PUT {path}: {error}"))
    }

    /// Pushes a component, and makes it live on every node.
    pub async fn swap_in(&self, name: &str, component: &[u8]) -> Value {
        let pushed = crate::eventually("a version that is taken", async || {
            unless_busy(self.push(name, component).await)
        })
        .await;
        assert!((200..=201).contains(&pushed.status), "{}", pushed.body);
        let body = json!({"digest": pushed.text("digest"), "wait": true});
        let path = format!("/admin/v1/plugins/{name}/swap");
        let swapped =
            crate::eventually("a swap", async || unless_busy(self.post(&path, &body).await));
        let swapped = swapped.await.expect(200);
        assert_eq!(swapped["live"], swapped["nodes"], "{swapped}");
        swapped
    }

    /// Name, version and generation of every live plugin.
    pub async fn live(&self) -> Vec<(String, String, u64)> {
        let told = self.get("/admin/v1/plugins").await.expect(200);
        let plugins = told["plugins"].as_array().cloned().unwrap_or_default();
        let text =
            |plugin: &Value, field: &str| plugin[field].as_str().unwrap_or_default().to_owned();
        let generation = |plugin: &Value| plugin["generation"].as_u64().unwrap_or_default();
        plugins
            .iter()
            .map(|plugin| (text(plugin, "name"), text(plugin, "version"), generation(plugin)))
            .collect()
    }
}

/// A node that is busy, or that waits for the registry, says so, and that asking again is right.
fn unless_busy(answer: Answer) -> Result<Answer, String> {
    match answer.status {
        503 if answer.body["retryable"] == true => Err(answer.body.to_string()),
        _ => Ok(answer),
    }
}
