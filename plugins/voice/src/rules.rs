//! `[plugins.voice.config]`.

use serde_json::Value;

/// What a caller hears at the end, unless the configuration says otherwise.
pub const THANKS: &str = "Thank you.";

/// Longest thanks: nobody listens to more.
const THANKS_BYTES_MAX: usize = 1024;

/// Everything that is wrong with a configuration, with where it is.
pub fn check(config: &str) -> Vec<(String, String)> {
    let problem = |path: &str, detail: &str| (path.to_owned(), detail.to_owned());
    let Ok(Value::Object(config)) = serde_json::from_str(config) else {
        return vec![problem("", "not an object")];
    };
    let unknown = config.keys().filter(|key| *key != "thanks");
    let mut problems: Vec<_> = unknown.map(|key| problem(key, "unknown: thanks")).collect();
    let good = |thanks: &Value| {
        thanks.as_str().is_some_and(|thanks| (1..=THANKS_BYTES_MAX).contains(&thanks.len()))
    };
    if config.get("thanks").is_some_and(|thanks| !good(thanks)) {
        problems.push(problem("thanks", "not a text of 1 to 1024 bytes"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_configuration_may_say_what_callers_hear() {
        for good in ["{}", r#"{"thanks": "Bye."}"#] {
            assert_eq!(check(good), [], "{good}");
        }
        for (bad, path) in
            [("[]", ""), (r#"{"thanks": ""}"#, "thanks"), (r#"{"tanks": "a"}"#, "tanks")]
        {
            let paths: Vec<String> = check(bad).into_iter().map(|(path, _)| path).collect();
            assert_eq!(paths, [path]);
        }
    }
}
