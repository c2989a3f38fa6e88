//! The leaf with its key and the roots, on disk, so that a proxy that restarts needs no CA. Called by `enrolment` alone.
//!
//! Key and chain share one file: whatever moment the machine stops at, they belong together. The folder is ours alone (0700), files are 0600.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::request::Grant;
use crate::leaf::{Leaf, LeafError, read, read_secret};

/// The key, then the chain with the leaf first; PEM.
const IDENTITY: &str = "identity.pem";
/// The same of the leaf before, whose key sealed what may not be sealed anew yet.
const BEFORE: &str = "before.pem";
/// Every root to be trusted; PEM.
const ROOTS: &str = "roots.pem";

/// Held while a file is written, since the temporary names are always the same: what a crash left behind is overwritten by the next write.
static WRITING: Mutex<()> = Mutex::new(());

/// The folder of one workload's identity.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
}

/// Why something could not be kept on disk.
#[derive(Debug, thiserror::Error)]
#[error("{0} cannot be written: {1}")]
pub struct StoreError(PathBuf, io::Error);

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The leaf and the roots of last time; `None` when there never was one.
    pub(super) fn load(&self) -> Result<Option<Grant>, LeafError> {
        let Some(leaf) = self.leaf(IDENTITY)? else { return Ok(None) };
        let path = self.folder.join(ROOTS);
        let roots = certificates(&path, &read(&path)?)?.iter().map(|root| root.to_vec()).collect();
        Ok(Some(Grant { leaf, roots }))
    }

    /// The leaf that the one of last time replaced.
    pub(super) fn before(&self) -> Result<Option<Leaf>, LeafError> {
        self.leaf(BEFORE)
    }

    /// Keeps a leaf with its key, the one that it replaces, and the roots. Roots first: should we stop in between, the old leaf is still
    /// vouched for by them. The new leaf last: with it, what the old one sealed can still be opened.
    pub(super) fn keep(&self, leaf: &Leaf, before: Option<&Leaf>, roots: &[Vec<u8>]) -> Result<(), StoreError> {
        self.keep_roots(roots)?;
        match before {
            Some(before) => self.write(BEFORE, &text(before))?,
            None => self.remove(BEFORE)?,
        }
        self.write(IDENTITY, &text(leaf))
    }

    fn leaf(&self, name: &str) -> Result<Option<Leaf>, LeafError> {
        let path = self.folder.join(name);
        if matches!(path.try_exists(), Ok(false)) {
            return Ok(None);
        }
        let text = read_secret(&path)?;
        let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| LeafError::Pem(path.clone(), "private key", error))?;
        Leaf::new(certificates(&path, &text)?, secret).map(Some)
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError(path, error)),
            _ => Ok(()),
        }
    }

    /// Keeps the roots alone, when only they changed. An empty list is not kept: with it, nobody could ever give us a better one.
    pub(super) fn keep_roots(&self, roots: &[Vec<u8>]) -> Result<(), StoreError> {
        if roots.is_empty() {
            return Ok(());
        }
        self.write(ROOTS, &roots.iter().map(|root| pem("CERTIFICATE", root)).collect::<String>())
    }

    /// Whole or not at all, also when the machine stops.
    fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.folder.join(name);
        let fresh = self.folder.join(format!(".{name}.new"));
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            fs::set_permissions(&self.folder, Permissions::from_mode(0o700))?;
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // A new file, whatever somebody put under its name: what is written never goes through a link.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| StoreError(path.clone(), error))
    }
}

fn text(leaf: &Leaf) -> String {
    let chain = leaf.chain().iter().map(|certificate| pem("CERTIFICATE", certificate));
    std::iter::once(pem("PRIVATE KEY", leaf.secret().secret_der())).chain(chain).collect()
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, LeafError> {
    CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| LeafError::Pem(path.to_owned(), "certificate", error))
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64)); // RFC 7468
        text += line;
        text.push('\n');
        rest = more;
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn roots_are_kept_whole_and_never_as_an_empty_list() {
        let place = tempfile::tempdir().unwrap();
        let store = Store::new(place.path());
        let roots = [vec![1; 100], vec![2; 48], vec![3; 1]];
        store.keep_roots(&roots).unwrap();
        store.keep_roots(&[]).unwrap();
        let path = place.path().join(ROOTS);
        let kept = certificates(&path, &read(&path).unwrap()).unwrap();
        assert_eq!(kept.iter().map(|root| root.to_vec()).collect::<Vec<_>>(), roots);
    }

    #[test]
    fn what_lies_under_the_temporary_name_is_neither_followed_nor_kept() {
        let place = tempfile::tempdir().unwrap();
        let victim = place.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, place.path().join(format!(".{ROOTS}.new"))).unwrap();
        Store::new(place.path()).keep_roots(&[vec![1]]).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert!(fs::symlink_metadata(place.path().join(ROOTS)).unwrap().is_file());
    }
}
