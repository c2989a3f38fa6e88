//! Last known good: what was in force, on disk, so that a restarted proxy serves without its control plane.
//!
//! Sealed with a key that derives from the leaf's, so that nobody who cannot be the workload can tell its proxy what to do. Called by
//! `app`. A file that is damaged, or sealed with another key, is refused whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use aws_lc_rs::hmac;
use plait_wire::ChangeSet;
use prost::Message;

/// What the seal's key is derived for: another layout of the file takes another one.
pub const KEY_LABEL: &str = "plait last known good 1";

const MAGIC: &[u8] = b"plait last known good 1\n";
const SEAL_BYTES: usize = 32;

/// The file.
#[derive(Debug, Clone)]
pub struct Keep {
    path: PathBuf,
}

/// Why what was kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// It was not written by a proxy, or not to its end.
    #[error("{0} is damaged: its seal does not fit. It is not used; the control plane will bring a new one")]
    Seal(PathBuf),
    /// The seal fits and the content does not: it was written by another version.
    #[error("{0} holds no change set: {1}")]
    Content(PathBuf, prost::DecodeError),
}

impl Keep {
    /// Kept in the file at `path`, whose folder exists.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// What was kept; `None` when there is nothing.
    pub fn load(&self, key: &[u8; 32]) -> Result<Option<ChangeSet>, KeepError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.file(error)),
        };
        let sealed = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_at_checked(SEAL_BYTES));
        let (seal, content) = sealed.ok_or_else(|| KeepError::Seal(self.path.clone()))?;
        hmac::verify(&hmac_key(key), content, seal).map_err(|_| KeepError::Seal(self.path.clone()))?;
        ChangeSet::decode(content).map(Some).map_err(|error| KeepError::Content(self.path.clone(), error))
    }

    /// Replaces what was kept, whole or not at all. Blocks until it is on the disk.
    pub fn store(&self, changes: &ChangeSet, key: &[u8; 32]) -> Result<(), KeepError> {
        let content = changes.encode_to_vec();
        let seal = hmac::sign(&hmac_key(key), &content);
        let write = || {
            let fresh = self.path.with_extension("new");
            let _ = fs::remove_file(&fresh);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            for part in [MAGIC, seal.as_ref(), &content] {
                file.write_all(part)?;
            }
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            // The name too must survive a fall of the machine.
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        write().map_err(|error| self.file(error))
    }

    fn file(&self, error: io::Error) -> KeepError {
        KeepError::File(self.path.clone(), error)
    }
}

fn hmac_key(key: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}
