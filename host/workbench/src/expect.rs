//! Whether what came of a step is what was expected.

use std::fmt::Debug;

use crate::{Expect, Seen};

impl Expect {
    /// What is otherwise than expected, a line each.
    pub fn faults(&self, seen: &Seen) -> Vec<String> {
        let mut faults = self.compare(seen, ("expected", "was"));
        if let Some(most) = self.fuel_max.filter(|most| seen.fuel > *most) {
            faults.push(format!("fuel: expected at most {most}, was {}", seen.fuel));
        }
        faults
    }

    /// What is otherwise than it was, a line each.
    pub(crate) fn differences(&self, seen: &Seen) -> Vec<String> {
        self.compare(seen, ("was", "is"))
    }

    fn compare(&self, seen: &Seen, (then, now): (&str, &str)) -> Vec<String> {
        let mut lines = Vec::new();
        let mut check = |what: &str, same: Option<bool>, wanted: &dyn Debug, found: &dyn Debug| {
            if same == Some(false) {
                lines.push(format!("{what}: {then} {wanted:?}, {now} {found:?}"));
            }
        };
        let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        for (what, wanted, found) in [
            ("verdict", &self.verdict, &seen.verdict),
            ("answer", &self.answer, &Some(seen.answer.clone())),
            ("code", &self.code, &seen.code),
            ("reason", &self.reason, &seen.reason),
            ("text", &self.text, &seen.text),
            ("twiml", &self.twiml, &seen.twiml),
        ] {
            let same = wanted.as_ref().map(|wanted| found.as_ref() == Some(wanted));
            check(what, same, &shown(wanted), &shown(found));
        }
        let same = self.json.as_ref().map(|json| seen.json.as_ref() == Some(json));
        check("json", same, &self.json, &seen.json);
        let same = self.notes.as_ref().map(|notes| *notes == seen.notes);
        check("notes", same, &self.notes.clone().unwrap_or_default(), &seen.notes);
        let same = self.events.as_ref().map(|events| *events == seen.events);
        check("events", same, &self.events.clone().unwrap_or_default(), &seen.events);
        let same = self.effects.as_ref().map(|effects| *effects == seen.effects);
        check("effects", same, &self.effects.clone().unwrap_or_default(), &seen.effects);
        for (key, wanted) in self.plan.iter().flatten() {
            let found = seen.plan.as_ref().and_then(|plan| plan.get(key));
            let same = Some(found == Some(wanted));
            let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            check(&format!("plan.{key}"), same, &wanted.to_string(), &found);
        }
        lines
    }

    /// Everything there is to expect, as it was seen.
    pub fn of(seen: &Seen) -> Self {
        Self {
            verdict: seen.verdict.clone(),
            answer: Some(seen.answer.clone()),
            code: seen.code.clone(),
            reason: seen.reason.clone(),
            text: seen.text.clone(),
            json: seen.json.clone(),
            notes: Some(seen.notes.clone()).filter(|notes| !notes.is_empty()),
            events: Some(seen.events.clone()).filter(|events| !events.is_empty()),
            effects: Some(seen.effects.clone()),
            twiml: seen.twiml.clone(),
            plan: seen.plan.clone(),
            fuel_max: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Expect, Seen};

    fn seen() -> Seen {
        Seen {
            verdict: Some("pass".to_owned()),
            answer: "stored".to_owned(),
            effects: vec!["keep a = 1".to_owned()],
            fuel: 7,
            ..Seen::default()
        }
    }

    #[test]
    fn what_is_not_expected_is_not_looked_at_and_what_was_seen_is_as_expected() {
        assert_eq!(Expect::default().faults(&seen()), Vec::<String>::new());
        assert_eq!(Expect::of(&seen()).faults(&seen()), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_a_line() {
        let expect = Expect {
            verdict: Some("reject".to_owned()),
            code: Some("no".to_owned()),
            effects: Some(vec![]),
            fuel_max: Some(6),
            ..Expect::default()
        };
        let faults = expect.faults(&seen());
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert_eq!(faults[0], "verdict: expected \"reject\", was \"pass\"");
        assert_eq!(faults[1], "code: expected \"no\", was \"nothing\"");
        assert!(faults[3].contains("at most 6, was 7"));
    }

    #[test]
    fn events_twiml_and_the_keys_of_a_plan_are_compared() {
        let plan = |text: &str| Some(serde_json::from_str(text).unwrap());
        let seen = Seen {
            events: vec!["chat.started".to_owned()],
            twiml: Some("<Response></Response>".to_owned()),
            plan: plan(r#"{"durability": "all", "keep_ms": 7}"#),
            ..seen()
        };
        assert_eq!(Expect::of(&seen).faults(&seen), Vec::<String>::new());
        let expect = Expect {
            events: Some(vec![]),
            twiml: Some("<Response/>".to_owned()),
            plan: plan(r#"{"keep_ms": 8, "archive_now": true}"#),
            ..Expect::default()
        };
        let faults = expect.faults(&seen);
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert_eq!(faults[3], "plan.keep_ms: expected \"8\", was \"7\"");
    }
}
