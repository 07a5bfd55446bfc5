//! The journal after crashes and damage.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::path::PathBuf;

use registry::{Cas, OpenError, Registry};

async fn write(folder: &tempfile::TempDir, count: u32) -> PathBuf {
    let registry = Registry::embedded(folder.path()).unwrap();
    let session = registry.session(&"a".parse().unwrap());
    for n in 0..count {
        let data = Some(vec![u8::try_from(n).unwrap(); 20]);
        let cas = Cas { key: format!("k/{n:03}"), expect: None, data };
        session.cas(cas).await.unwrap().unwrap();
    }
    folder.path().join("registry.journal")
}

async fn keys(folder: &tempfile::TempDir) -> usize {
    let registry = Registry::embedded(folder.path()).unwrap();
    registry.session(&"a".parse().unwrap()).list("k/").await.unwrap().len()
}

#[tokio::test]
async fn cut_at_any_byte_the_journal_keeps_every_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, 5).await;
    let whole = std::fs::read(&path).unwrap();
    let mut before = 0;
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let kept = keys(&folder).await;
        assert!(kept >= before && kept <= before + 1, "cut at {cut}: {kept} after {before}");
        before = kept;
    }
    assert_eq!(before, 5);
}

#[tokio::test]
async fn a_flipped_bit_before_a_good_record_is_damage_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, 3).await;
    let whole = std::fs::read(&path).unwrap();
    let frames: Vec<_> = whole.windows(4).enumerate().filter(|(_, w)| *w == b"RGF1").collect();
    let (middle, end) = (frames[frames.len() - 2].0, frames[frames.len() - 1].0);
    for at in middle..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        match Registry::embedded(folder.path()) {
            Err(OpenError::Damaged { offset, .. }) => assert_eq!(offset, middle as u64),
            other => panic!("flip at {at}: {other:?}"),
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "damage changes nothing");
    }
}

#[tokio::test]
async fn a_foreign_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.journal");
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(Registry::embedded(folder.path()), Err(OpenError::Foreign { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
}
