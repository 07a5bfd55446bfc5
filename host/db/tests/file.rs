//! What becomes of a database file: made, migrated, refused, set aside.

use std::fs;

use db::{OpenError, Reader, Schema, Value, Writer, set_aside};

const FIRST: Schema =
    Schema { application_id: 7, migrations: &["CREATE TABLE t (a INTEGER) STRICT"] };
const SECOND: Schema = Schema {
    application_id: 7,
    migrations: &["CREATE TABLE t (a INTEGER) STRICT", "ALTER TABLE t ADD COLUMN b TEXT"],
};

fn insert(writer: &mut Writer, number: u64) -> Result<(), db::Error> {
    writer.transaction(|tx| tx.execute("INSERT INTO t (a) VALUES (?1)", &[Value::Integer(number)]))
}

#[test]
fn a_file_is_migrated_and_keeps_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite");
    for number in [3, u64::MAX] {
        insert(&mut Writer::open(&path, &FIRST).unwrap(), number).unwrap();
    }
    let _writer = Writer::open(&path, &SECOND).unwrap();
    let reader = Reader::new(&path);
    let rows = reader.query("SELECT a, b FROM t ORDER BY rowid", &[], |row| {
        Ok((row.integer(0)?, row.optional_text(1)?))
    });
    assert_eq!(rows.unwrap(), [(3, None), (u64::MAX, None)]);
}

#[test]
fn a_file_of_a_newer_version_or_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite");
    drop(Writer::open(&path, &SECOND).unwrap());
    let newer = Writer::open(&path, &FIRST);
    assert!(matches!(newer, Err(OpenError::Newer { version: 2, known: 1, .. })), "{newer:?}");
    let other = Writer::open(&path, &Schema { application_id: 8, ..SECOND });
    assert!(matches!(other, Err(OpenError::Foreign { .. })), "{other:?}");
}

#[test]
fn a_transaction_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite");
    let mut writer = Writer::open(&path, &FIRST).unwrap();
    let failed = writer.transaction(|tx| {
        tx.execute("INSERT INTO t (a) VALUES (1)", &[])?;
        tx.execute("INSERT INTO nothing (a) VALUES (1)", &[])
    });
    assert!(failed.is_err());
    let rows = Reader::new(&path).query("SELECT a FROM t", &[], |row| row.integer(0));
    assert_eq!(rows.unwrap(), []);
}

#[test]
fn a_damaged_file_is_told_and_can_be_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sqlite");
    let mut writer = Writer::open(&path, &FIRST).unwrap();
    for number in 0..2000 {
        insert(&mut writer, number).unwrap();
    }
    drop(writer);
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096).step_by(3) {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let damaged = Writer::open(&path, &FIRST);
    assert!(matches!(damaged, Err(OpenError::Damaged { .. })), "{damaged:?}");
    drop(damaged);
    set_aside(&path).unwrap();
    insert(&mut Writer::open(&path, &FIRST).unwrap(), 1).unwrap();
    assert!(folder.path().join("x.sqlite.damaged").exists());
}
