//! `carillon plugin grants`: what plugins want, and what this node's configuration gives them.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, table};
use crate::cli::admin::Admin;
use crate::cli::{Problem, output};

/// Prints what each live plugin asks for and what it is granted, with the line that grants it.
///
/// Not granted means not linked: a component that imports a power it is not granted is refused when it is
/// pushed. What only its manifest asks for may be missing.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin grants moderation --diff")]
pub(super) struct Grants {
    /// One plugin only
    name: Option<String>,
    /// Only what is asked for and not granted, or granted and not asked for
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    common: Common,
}

/// One power of one plugin.
struct Power {
    plugin: String,
    power: String,
    asked: bool,
    granted: bool,
    line: String,
}

impl Grants {
    pub(super) async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.common.admin)?;
        let told: Value = admin.get("/admin/v1/plugins").await?;
        let plugins = told.get("plugins").and_then(Value::as_array).cloned().unwrap_or_default();
        let named =
            |plugin: &&Value| self.name.as_ref().is_none_or(|name| plugin["name"] == **name);
        let plugins: Vec<&Value> = plugins.iter().filter(named).collect();
        if let Some(name) = self.name.as_ref().filter(|_| plugins.is_empty()) {
            let what = format!("no plugin {name} is live at {}", admin.url());
            return Err(Problem::failed(what, "See carillon plugin ls"));
        }
        let powers = plugins.into_iter().flat_map(powers);
        let powers: Vec<Power> =
            powers.filter(|power| !self.diff || power.asked != power.granted).collect();
        if self.common.json {
            let powers = powers.iter().map(|power| {
                let Power { plugin, power, asked, granted, line } = power;
                json!({"plugin": plugin, "power": power, "asked": asked, "granted": granted, "line": line})
            });
            return output::line(json!({"grants": powers.collect::<Vec<_>>()})).map(drop);
        }
        if powers.is_empty() {
            let nothing = match self.diff {
                true => "every plugin is granted what it asks for, and nothing else",
                false => "no plugin asks for anything",
            };
            return output::line(nothing).map(drop);
        }
        let mut rows =
            vec![["PLUGIN", "POWER", "ASKED", "GRANTED", "TO DO"].map(str::to_owned).to_vec()];
        rows.extend(powers.into_iter().map(|it| {
            let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
            let todo = match (it.asked, it.granted) {
                (true, false) => format!("add {} below [plugins.{}.grant]", it.line, it.plugin),
                (false, true) => "it does not need it: take it away".to_owned(),
                _ => String::new(),
            };
            vec![it.plugin, it.power, word(it.asked), word(it.granted), todo]
        }));
        output::line(table(&rows)).map(drop)
    }
}

fn powers(plugin: &Value) -> Vec<Power> {
    let name = plugin["name"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asks = plugin["asks"].as_array().into_iter().flatten();
    let mut powers: Vec<Power> = asks
        .map(|ask| Power {
            plugin: name.to_owned(),
            power: text(&ask["power"]),
            asked: true,
            granted: ask["granted"] == true,
            line: text(&ask["line"]),
        })
        .collect();
    for granted in plugin["grants"].as_array().into_iter().flatten() {
        let power = text(granted);
        if !powers.iter().any(|asked| asked.power == power) {
            let (plugin, line) = (name.to_owned(), String::new());
            powers.push(Power { plugin, power, asked: false, granted: true, line });
        }
    }
    powers
}
