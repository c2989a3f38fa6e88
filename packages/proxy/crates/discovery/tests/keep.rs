//! What is kept on disk, and what has happened to it.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use plait_discovery::{Keep, KeepError};
use plait_wire as wire;

const KEY: [u8; 32] = [7; 32];

fn world() -> wire::ChangeSet {
    let upserts = vec![wire::Resource { kind: 3, name: "shop/reviews".into(), version: vec![1], body: vec![2; 20].into() }];
    wire::ChangeSet { generation: 9, upserts, known: vec!["shop/reviews".into()], ..wire::ChangeSet::default() }
}

fn kept() -> (tempfile::TempDir, PathBuf, Keep) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resources");
    let keep = Keep::at(path.clone());
    keep.store(&world(), &KEY).unwrap();
    (folder, path, keep)
}

#[test]
fn what_was_stored_comes_back_and_is_for_its_owner_alone() {
    let (folder, path, keep) = kept();
    assert_eq!(keep.load(&KEY).unwrap(), Some(world()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let newer = wire::ChangeSet { generation: 10, ..world() };
    keep.store(&newer, &KEY).unwrap();
    assert_eq!(keep.load(&KEY).unwrap(), Some(newer));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn nothing_kept_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Keep::at(folder.path().join("resources")).load(&KEY).unwrap(), None);
}

#[test]
fn a_file_with_any_bit_turned_is_refused() {
    let (_folder, path, keep) = kept();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(keep.load(&KEY), Err(KeepError::Seal(_))), "byte {at}");
    }
}

#[test]
fn a_file_that_is_cut_or_longer_is_refused() {
    let (_folder, path, keep) = kept();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(keep.load(&KEY), Err(KeepError::Seal(_))), "{length} bytes");
    }
    fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
    assert!(matches!(keep.load(&KEY), Err(KeepError::Seal(_))));
}

#[test]
fn a_file_sealed_with_another_key_is_refused() {
    let (_folder, _, keep) = kept();
    assert!(matches!(keep.load(&[8; 32]), Err(KeepError::Seal(_))));
}

#[test]
fn what_was_left_by_a_fall_while_writing_is_in_nobodys_way() {
    let (folder, path, keep) = kept();
    fs::write(path.with_extension("new"), b"half").unwrap();
    keep.store(&world(), &KEY).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(matches!(keep.store(&world(), &KEY), Err(KeepError::File(..))));
}
