//! What the documents tell people to run exists.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{files, none, read, root};

/// Lines of code in the fenced blocks of a document.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            found.push(line.trim_start_matches("$ ").to_owned());
        }
    }
    found
}

#[test]
fn make_targets_in_the_readme_exist() {
    let makefile = read(&root().join("Makefile"));
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':').map(|(name, _)| name)).collect();
    let readme = commands(&read(&root().join("README.md")));
    let mut findings = Vec::new();
    for command in &readme {
        if let Some(target) = command.strip_prefix("make ") {
            let target = target.split_whitespace().next().unwrap_or_default();
            if !targets.contains(target) {
                findings.push(command.clone());
            }
        }
    }
    none("make targets in README.md", &findings);
}

#[test]
fn files_that_documents_name_exist() {
    let root = root();
    let ours = ["host/", "tests/", "plugins/", "docs/", "scripts/", "config/", "wit/"];
    let mut findings = Vec::new();
    let mut named = 0;
    for document in files(&root, "md") {
        let text = read(&document);
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = ours.iter().any(|folder| quoted.starts_with(folder))
                && quoted.contains('.')
                && quoted.bytes().all(|b| b.is_ascii_lowercase() || b"/._-0123456789".contains(&b));
            if !is_path {
                continue;
            }
            named += 1;
            let beside = document.parent().unwrap_or(&root).join(quoted);
            if !root.join(quoted).exists() && !beside.exists() {
                let document = document.strip_prefix(&root).unwrap_or(&document).display();
                findings.push(format!("{document}: {quoted}"));
            }
        }
    }
    assert!(named > 10, "the rule looks at nothing");
    none("files named in documents", &findings);
}

#[test]
fn commands_in_the_documents_exist() {
    let carillon = tests::binary("carillon");
    let mut findings = Vec::new();
    for document in ["README.md", "docs/operations.md"] {
        for command in commands(&read(&root().join(document))) {
            let Some((_, after)) = command.split_once("carillon ") else { continue };
            let words: Vec<&str> = after
                .split_whitespace()
                .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
                .take_while(|word| !word.starts_with('-'))
                .take(2)
                .collect();
            // `chat send` is two words of ours, `check file` only one: the longest that has help counts.
            let known = (1..=words.len()).any(|count| {
                let help = Command::new(&carillon).args(&words[..count]).arg("--help").output();
                help.is_ok_and(|help| help.status.success())
            });
            if !known {
                findings.push(format!("{document}: {command}"));
            }
        }
    }
    none("commands in the documents", &findings);
}

/// In tables, a name in backticks with several underscores is a test's.
#[test]
fn tests_that_a_document_of_the_archive_names_exist_and_no_defect_is_left_out() {
    let document = read(&root().join("docs/segments.md"));
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with('|')).collect();
    let named = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2));
    let named: BTreeSet<&str> = named.filter(|name| name.matches('_').count() > 2).collect();
    assert!(named.len() > 30, "there is a table of tests");
    let folders = ["host/segment", "host/archive", "host/replication", "tests/sim/objects"];
    let sources: Vec<String> = folders
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|file| read(&file))
        .collect();
    let is_there = |name: &&&str| {
        let test = format!("fn {name}(");
        sources.iter().any(|source| source.contains(&test))
    };
    let missing = named.iter().filter(|name| !is_there(name));
    let mut findings: Vec<String> = missing.map(|name| format!("there is no {name}")).collect();
    for number in 1..=26 {
        let row = format!("| N{number} |");
        if !rows.iter().any(|line| line.starts_with(&row)) {
            findings.push(format!("N{number} is not in the table"));
        }
    }
    let names = (1..=18).map(|number| format!("G-S{number}"));
    for name in names.chain((1..=11).map(|number| format!("G-I{number}"))) {
        if !rows.iter().any(|line| line.starts_with(&format!("| {name} |"))) {
            findings.push(format!("{name} is not in the table"));
        }
    }
    none("the tests of docs/segments.md", &findings);
}

#[test]
fn the_document_lists_the_schedules_that_are_played() {
    let document = read(&root().join("docs/replication.md"));
    let named = |text: &str, ends: &str| -> BTreeSet<String> {
        text.split_whitespace().filter_map(|word| named(word, ends)).map(str::to_owned).collect()
    };
    let (_, list) = document.split_once("## Named schedules").expect("there is a list");
    let list = list.split("\n## ").next().unwrap_or_default();
    let (list, missing) = list.split_once("Not played").unwrap_or((list, ""));
    let (listed, missing) = (named(list, ""), named(missing, ":,.;"));
    let mut findings = Vec::new();
    let mut played = BTreeSet::new();
    let folders = ["tests/sim", "host/chat/tests", "host/replication/tests", "host/segment/tests"];
    for file in folders.iter().flat_map(|folder| files(&root().join(folder), "rs")) {
        for line in read(&file).lines() {
            let Some(after) = line.trim_start().strip_prefix("/// S") else { continue };
            // The names with which it begins, as in "S9, S10. What …".
            let (names, _) =
                after.split_once(|end: char| end.is_lowercase()).unwrap_or((after, ""));
            for name in named(&format!("S{names}"), ".,") {
                if !listed.contains(&name) {
                    findings.push(format!("{}: {name} is not listed", file.display()));
                }
                played.insert(name);
            }
        }
    }
    findings.extend(listed.difference(&played).map(|name| format!("{name} is not played")));
    findings.extend(missing.intersection(&played).map(|name| format!("{name} is played")));
    none("the schedules of docs/replication.md", &findings);
}

#[test]
fn the_tests_that_the_documents_name_exist() {
    let mut known = BTreeSet::new();
    for file in
        ["host", "tests", "plugins"].iter().flat_map(|folder| files(&root().join(folder), "rs"))
    {
        for line in read(&file).lines() {
            let after =
                line.trim_start().strip_prefix("async ").unwrap_or_else(|| line.trim_start());
            if let Some((name, _)) = after.strip_prefix("fn ").and_then(|rest| rest.split_once('('))
            {
                known.insert(name.to_owned());
            }
        }
    }
    let document = read(&root().join("docs/conversations.md"));
    let named = document.split('`').skip(1).step_by(2);
    // A name is a sentence.
    let named = named.filter(|word| {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        word.matches('_').count() >= 3 && word.bytes().all(letters)
    });
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 100, "the tables are there: {}", named.len());
    let mut findings: Vec<String> =
        named.into_iter().filter(|name| !known.contains(*name)).map(str::to_owned).collect();
    findings.extend(untried(&document));
    none("tests that docs/conversations.md names", &findings);
}

/// Defects that are known there.
const DEFECTS: u8 = 21;

/// Rows of the tables that name no test, though something is here; and defects without a row.
fn untried(document: &str) -> Vec<String> {
    let cells = |line: &str| line.split(" | ").filter(|cell| !cell.trim().is_empty()).count();
    let rows = document.lines().filter(|line| line.starts_with("| ") && cells(line) > 1);
    let rows = rows.filter(|line| !line.ends_with("| tests |") && !line.starts_with("| defect"));
    let rows: Vec<&str> = rows.filter(|line| !line.starts_with("| **")).collect();
    let is_tried = |row: &&&str| {
        let named = row.split('`').skip(1).step_by(2);
        row.contains("**not here**") || named.clone().any(|word| word.matches('_').count() >= 2)
    };
    let without = rows.iter().filter(|row| !is_tried(row)).map(|row| format!("no test: {row}"));
    let has = |number: u8| rows.iter().any(|row| row.starts_with(&format!("| C{number} ")));
    let left_out = (1..=DEFECTS).filter(|number| !has(*number));
    without.chain(left_out.map(|number| format!("C{number} is not in the table"))).collect()
}

/// Folders with schedules of transactions.
const TRANSACTIONS: [&str; 5] =
    ["tests/it", "tests/sim", "host/chat/tests", "host/outbox/tests", "host/transaction/tests"];

#[test]
fn the_document_of_transactions_lists_what_is_played() {
    let document = read(&root().join("docs/transactions.md"));
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
        let names =
            words.filter(|word| word.strip_prefix("T-").is_some_and(|it| named(it, "").is_some()));
        names.map(str::to_owned).collect()
    };
    let (_, list) = document.split_once("## Named schedules").expect("there is a list");
    let list = list.split("\n## ").next().unwrap_or_default();
    let (list, missing) = list.split_once("Not played yet:").unwrap_or((list, ""));
    let missing = missing.lines().next().unwrap_or_default();
    let mut played = BTreeSet::new();
    for file in TRANSACTIONS.iter().flat_map(|folder| files(&root().join(folder), "rs")) {
        let text = read(&file);
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("/// T-S"));
        // The names with which it begins.
        let heads = lines.map(|line| line.split_once(['.', ':']).map_or(line, |(head, _)| head));
        played.extend(heads.flat_map(|head| named(&format!("T-S{head}"))));
    }
    let (listed, missing) = (named(list), named(missing));
    let mut findings = Vec::new();
    findings.extend(listed.difference(&played).map(|name| format!("{name} is not played")));
    findings.extend(played.difference(&listed).map(|name| format!("{name} is not listed")));
    findings.extend(missing.intersection(&played).map(|name| format!("{name} is played")));
    none("the schedules of docs/transactions.md", &findings);
}

#[test]
fn the_tests_that_the_document_of_transactions_names_exist() {
    let document = read(&root().join("docs/transactions.md"));
    let (_, table) =
        document.split_once("## What schedulers like this get wrong").expect("a table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let wanted: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    assert!(wanted.len() > 10, "the rule looks at nothing");
    let sources = ["tests", "host"].iter().flat_map(|folder| files(&root().join(folder), "rs"));
    let all: Vec<String> = sources.map(|file| read(&file)).collect();
    let there = |name: &str| all.iter().any(|text| text.contains(&format!("fn {name}()")));
    let findings: Vec<String> =
        wanted.into_iter().filter(|name| !there(name)).map(str::to_owned).collect();
    none("the tests of docs/transactions.md", &findings);
}

/// The name of a schedule, `S` and its number, if `word` is one with nothing behind it but one of `ends`.
fn named<'w>(word: &'w str, ends: &str) -> Option<&'w str> {
    let name = word.trim_end_matches(|end| ends.contains(end));
    let number = name.strip_prefix('S')?;
    (!number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())).then_some(name)
}
