//! A record that somebody deleted, or put back to an earlier one, while its partition is open.

use std::time::Duration;

use replication::core::{Event, Outcome};

use crate::stage::{P, Stage};

const SECOND: Duration = Duration::from_secs(1);
const NAMES: [&str; 3] = ["a", "b", "c"];

impl Stage {
    /// The record is gone, and everybody sees that.
    fn delete_record(&mut self) {
        self.records.remove(&P);
        for name in NAMES {
            self.tell(name, Event::RecordGone { partition: P });
        }
    }
}

#[test]
fn a_record_that_is_gone_is_written_anew_by_its_primary_and_nothing_is_lost() {
    let mut stage = Stage::opened(&NAMES, 2);
    let epoch = stage.view("a").epoch;
    let kept = stage.submit("a", "kept", 2);
    stage.quiet();
    assert!(matches!(stage.answer("a", kept), Some(Outcome::Quorum { .. })));
    stage.delete_record();
    stage.run(Duration::from_millis(500));
    assert!(!stage.records.contains_key(&P), "whoever deleted it may put it back");
    stage.until("it is there again", |stage| {
        stage.view("a").leading && stage.records.contains_key(&P)
    });
    stage.run(SECOND);
    let (record, _) = &stage.records[&P];
    assert!(record.epoch > epoch + 1000, "above whatever was claimed meanwhile: {}", record.epoch);
    assert_eq!(record.prev_epoch, epoch);
    let after = stage.submit("a", "after", 3);
    stage.run(SECOND);
    assert!(matches!(stage.answer("a", after), Some(Outcome::Quorum { .. })));
    assert!(NAMES.iter().all(|name| stage.log(name).contains(&"after".to_owned())));
    // From here on everything is as ever.
    stage.kill("a");
    stage.until("another leads", |stage| ["b", "c"].iter().any(|name| stage.view(name).leading));
}

#[test]
fn nobody_writes_it_who_is_not_confirmed_after_it_was_gone() {
    let mut stage = Stage::opened(&NAMES, 2);
    stage.part("a", "b");
    stage.part("a", "c");
    stage.delete_record();
    stage.run(30 * SECOND);
    assert!(!stage.records.contains_key(&P), "a alone does not know whether it leads");
    stage.heal();
    stage.until("it is there again", |stage| stage.records.contains_key(&P));
    stage.until("it is led", |stage| stage.view("a").leading);
}

#[test]
fn with_nobody_who_leads_it_stays_away() {
    let mut stage = Stage::opened(&NAMES, 2);
    stage.kill("a");
    stage.delete_record();
    stage.run(60 * SECOND);
    assert!(!stage.records.contains_key(&P));
    assert!(NAMES[1..].iter().all(|name| !stage.view(name).leading));
}

#[test]
fn a_record_that_was_put_back_is_written_anew_once_it_stays_so() {
    let mut stage = Stage::new(&NAMES, 1, 2);
    let (old, _) = stage.records[&P].clone();
    for name in NAMES {
        stage.start(name);
    }
    stage.run(SECOND);
    let epoch = stage.view("a").epoch;
    // A registry that was put back counts its versions from an earlier one on, too.
    stage.records.insert(P, (old, 0));
    stage.show_records();
    stage.run(5 * SECOND);
    assert_eq!(stage.records[&P].1, 0, "it may have been read late");
    stage.until("it is written anew", |stage| stage.records[&P].0.epoch > epoch + 1000);
    stage.until("it is led", |stage| stage.view("a").leading);
}

#[test]
fn a_record_that_was_only_read_late_changes_nothing() {
    let mut stage = Stage::new(&NAMES, 1, 2);
    let (old, version) = stage.records[&P].clone();
    for name in NAMES {
        stage.start(name);
    }
    stage.run(SECOND);
    let (record, _) = stage.records[&P].clone();
    stage.tell("a", Event::Record { partition: P, record: old, version });
    stage.run(SECOND);
    stage.show_records();
    stage.run(60 * SECOND);
    assert_eq!(stage.records[&P].0, record);
    assert_eq!(stage.node("a").alarms, []);
}

#[test]
fn a_record_that_is_put_back_as_it_was_is_followed_on() {
    let mut stage = Stage::opened(&NAMES, 2);
    let (record, _) = stage.records[&P].clone();
    stage.delete_record();
    stage.run(Duration::from_millis(300));
    // ZooKeeper counts the versions of a new znode from 0 on.
    stage.records.insert(P, (record.clone(), 0));
    stage.show_records();
    stage.kill("a");
    stage.until("another leads", |stage| ["b", "c"].iter().any(|name| stage.view(name).leading));
    assert_eq!(stage.records[&P].0.epoch, record.epoch + 1);
}
