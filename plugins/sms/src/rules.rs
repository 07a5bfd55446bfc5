//! `[plugins.sms.config]`.

use serde_json::Value;

/// What is said to texts for a chat that has ended, unless the configuration says otherwise.
pub const OVER: &str = "This chat has ended.";

/// Longest text of an answer: Twilio sends no longer one.
const TEXT_BYTES_MAX: usize = 1600;

/// Everything that is wrong with a configuration, with where it is.
pub fn check(config: &str) -> Vec<(String, String)> {
    let problem = |path: &str, detail: &str| (path.to_owned(), detail.to_owned());
    let Ok(Value::Object(config)) = serde_json::from_str(config) else {
        return vec![problem("", "not an object")];
    };
    let known = ["reply", "over"];
    let unknown = config.keys().filter(|key| !known.contains(&key.as_str()));
    let mut problems: Vec<_> = unknown.map(|key| problem(key, "unknown: reply or over")).collect();
    for (key, least) in [("reply", 0), ("over", 1)] {
        let good = |text: &Value| {
            text.as_str().is_some_and(|text| (least..=TEXT_BYTES_MAX).contains(&text.len()))
        };
        if config.get(key).is_some_and(|text| !good(text)) {
            problems.push(problem(key, "not a text of at most 1600 bytes"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_configuration_may_say_two_texts() {
        for good in ["{}", r#"{"reply": "", "over": "Bye."}"#] {
            assert_eq!(check(good), [], "{good}");
        }
        let long = format!(r#"{{"reply": "{}"}}"#, "x".repeat(1601));
        for (bad, path) in
            [("7", ""), (r#"{"over": ""}"#, "over"), (&*long, "reply"), (r#"{"rply": 1}"#, "rply")]
        {
            let paths: Vec<String> = check(bad).into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, [path]);
        }
    }
}
