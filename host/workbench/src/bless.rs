//! Writes into a fixture what was seen, as what is expected from now on. Everything else in the file, its
//! comments too, stays as its author wrote it.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use crate::{Expect, Outcome};

/// The fixture `text` with what came of it.
///
/// # Errors
/// When it is no TOML any more.
pub fn bless(text: &str, outcome: &Outcome) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|fault| format!("{fault}"))?;
    if let Some(problems) = &outcome.problems {
        document.insert("problems", Item::Value(list(problems)));
        return Ok(document.to_string());
    }
    let steps = document.get_mut("step").and_then(Item::as_array_of_tables_mut);
    for (step, played) in steps.into_iter().flat_map(|steps| steps.iter_mut()).zip(&outcome.steps) {
        let fuel_max = step.get("expect").and_then(|expect| expect.get("fuel_max")).cloned();
        let mut expect = table(&Expect::of(&played.seen));
        if let Some(fuel_max) = fuel_max {
            expect.insert("fuel_max", fuel_max);
        }
        // The place of the table that was there, so that its comments stay.
        match step.get_mut("expect").and_then(Item::as_table_mut) {
            Some(there) => {
                there.clear();
                there.extend(expect);
            }
            None => _ = step.insert("expect", Item::Table(expect)),
        }
    }
    Ok(document.to_string())
}

fn table(expect: &Expect) -> Table {
    let mut table = Table::new();
    let mut text = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            table.insert(key, Item::Value(value.into()));
        }
    };
    text("verdict", &expect.verdict);
    text("answer", &expect.answer);
    text("code", &expect.code);
    text("reason", &expect.reason);
    text("text", &expect.text);
    if let Some(json) = expect.json.as_ref().and_then(from_json) {
        table.insert("json", Item::Value(json));
    }
    if let Some(notes) = &expect.notes {
        let notes: InlineTable =
            notes.iter().map(|(name, value)| (name, Value::from(value))).collect();
        table.insert("notes", Item::Value(notes.into()));
    }
    if let Some(events) = &expect.events {
        table.insert("events", Item::Value(list(events)));
    }
    if let Some(effects) = &expect.effects {
        table.insert("effects", Item::Value(list(effects)));
    }
    if let Some(twiml) = &expect.twiml {
        table.insert("twiml", Item::Value(twiml.into()));
    }
    if let Some(plan) = expect.plan.clone().and_then(|plan| from_json(&plan.into())) {
        table.insert("plan", Item::Value(plan));
    }
    table
}

fn list(texts: &[String]) -> Value {
    Value::from(texts.iter().collect::<Array>())
}

/// JSON as TOML, which has no null: what holds one is not written.
fn from_json(json: &serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match json {
        Json::Null => return None,
        Json::Bool(yes) => (*yes).into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.into(),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Option<Array>>()?),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| Some((name, from_json(value)?)));
            Value::from(fields.collect::<Option<InlineTable>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::bless;
    use crate::suite::{Outcome, StepOutcome};
    use crate::{Fixture, Seen};

    fn outcome(seen: Vec<Seen>) -> Outcome {
        let step =
            |seen| StepOutcome { what: String::new(), seen, faults: vec![], expected: false };
        Outcome { path: "".into(), steps: seen.into_iter().map(step).collect(), problems: None }
    }

    #[test]
    fn what_was_seen_is_expected_and_the_rest_stays() {
        let text = "# A chat.\n[settings]\nword = \"darn\" # this one\n\n[[step]]\nfrom = \"a\"\njson = 1\n\n\
                    # Twice.\n[[step]]\nfrom = \"a\"\ntext = \"b\"\n[step.expect]\nverdict = \"accept\"\n\
                    fuel_max = 9\n[[step]]\njoin = \"a\"\n";
        let json = Seen {
            verdict: Some("pass".into()),
            answer: "stored".into(),
            json: Some(serde_json::json!({"a": [1, 2.5, "x", true]})),
            ..Seen::default()
        };
        let rejected = Seen {
            verdict: Some("reject".into()),
            answer: "rejected".into(),
            code: Some("no".into()),
            notes: [("n".to_owned(), "1".to_owned())].into(),
            effects: vec!["keep a = 1".into()],
            ..Seen::default()
        };
        let plan = serde_json::json!({"durability": "all", "drop_kinds": ["a"], "keep_ms": 7});
        let rest = Seen {
            events: vec!["member.joined a".into()],
            twiml: Some("<Response></Response>".into()),
            plan: plan.as_object().cloned(),
            ..Seen::default()
        };
        let seen = vec![json, rejected, rest];
        let blessed = bless(text, &outcome(seen.clone())).unwrap();
        assert!(
            blessed.starts_with("# A chat.\n[settings]\nword = \"darn\" # this one\n"),
            "{blessed}"
        );
        assert!(blessed.contains("# Twice."), "{blessed}");
        let fixture = Fixture::parse(&blessed).unwrap();
        for (step, seen) in fixture.steps.iter().zip(&seen) {
            let expect = step.expect.as_ref().unwrap();
            assert_eq!(expect.faults(seen), Vec::<String>::new());
            assert_eq!(expect.effects.as_ref(), Some(&seen.effects));
        }
        assert_eq!(fixture.steps[1].expect.as_ref().unwrap().fuel_max, Some(9));
        assert_eq!(bless(&blessed, &outcome(seen)).unwrap(), blessed, "twice is as once");
    }
}
