//! What a worker gives up for good, before it takes its first call. Called once by the SDK's host, after the fork.
//!
//! Each layer holds alone: no capabilities, Landlock for files, seccomp for what may be asked of the kernel. A layer that an old kernel does not
//! have is told as absent; everything else holds or raises, and no call may be taken then.

mod syscalls;

use std::{collections::BTreeMap, io, path::Path};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetStatus,
};
use pyo3::{exceptions::PyOSError, prelude::*};

use rustix::{
    process::{Resource, Rlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};

use crate::descriptor::taken;

/// Devices that Python and libraries open at any time.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];
/// What libraries read beside Python's own files: code, time zones, certificates of the public, names of hosts.
const LIBRARIES: [&str; 8] = ["/usr/lib", "/lib", "/lib64", "/usr/share", "/etc/ssl", "/etc/localtime", "/etc/hosts", "/etc/resolv.conf"];
/// What one file of a plugin may grow to.
const FILE_BYTES: u64 = 64 << 20;

type Held = BTreeMap<&'static str, String>;

#[pyfunction]
#[pyo3(signature = (*, network, processes, scratch, read, user, files, memory_bytes, keep))]
#[expect(clippy::too_many_arguments, reason = "Python names them")]
pub(crate) fn sandbox(
    py: Python<'_>,
    network: bool,
    processes: bool,
    scratch: Option<&str>,
    read: Vec<String>,
    user: Option<u32>,
    files: u64,
    memory_bytes: Option<u64>,
    keep: Vec<i32>,
) -> PyResult<Held> {
    let mut held = Held::new();
    let read = [read, interpreter(py)?].concat();
    close_others(py, keep)?;
    held.insert("descriptors", "closed".to_owned());
    held.insert("user", told("user", become_user(user))?);
    told("capabilities", drop_capabilities())?;
    held.insert("capabilities", "dropped".to_owned());
    told("no_new_privs", set_no_new_privs(true).map_err(Into::into))?;
    held.insert("no_new_privs", "on".to_owned());
    told("limits", limit(files, memory_bytes))?;
    held.insert("limits", "on".to_owned());
    held.insert("landlock", told("landlock", restrict_files(scratch, &read).map_err(io::Error::other))?);
    // Last: what stands above needs some of these calls.
    told("seccomp", syscalls::restrict(network, processes))?;
    held.insert("seccomp", "on".to_owned());
    Ok(held)
}

fn told<T>(what: &str, result: io::Result<T>) -> PyResult<T> {
    result.map_err(|error| PyOSError::new_err(format!("sandbox: {what}: {error}")))
}

fn close_others(py: Python<'_>, mut keep: Vec<i32>) -> PyResult<()> {
    keep.extend(taken());
    keep.retain(|descriptor| *descriptor > 2);
    keep.sort_unstable();
    keep.dedup();
    let os = py.import("os")?;
    let mut from = 3;
    for descriptor in keep.into_iter().chain([1 << 20]) {
        os.call_method1("closerange", (from, descriptor))?;
        from = descriptor + 1;
    }
    Ok(())
}

/// Where the interpreter finds modules and libraries that are imported later.
fn interpreter(py: Python<'_>) -> PyResult<Vec<String>> {
    let sys = py.import("sys")?;
    let mut needed: Vec<String> = sys.getattr("path")?.extract()?;
    needed.retain(|path| path.len() > 1 && path.starts_with('/'));
    needed.push(sys.getattr("prefix")?.extract()?);
    needed.push(sys.getattr("base_prefix")?.extract()?);
    needed.extend(LIBRARIES.map(str::to_owned));
    Ok(needed)
}

/// A user of its own where we may: then not even the kernel's ordinary rules let it touch anything of the proxy.
fn become_user(user: Option<u32>) -> io::Result<String> {
    let Some(user) = user else { return Ok("unchanged".to_owned()) };
    if !rustix::process::geteuid().is_root() {
        return Ok("unchanged: not started as root".to_owned());
    }
    rustix::thread::set_thread_groups(&[])?;
    let gid = rustix::process::Gid::from_raw(user);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = rustix::process::Uid::from_raw(user);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(user.to_string())
}

fn drop_capabilities() -> io::Result<()> {
    // The bounding set first: it takes a capability to change it, and without one there is nothing in it to gain, by no_new_privs.
    for bit in 0..41 {
        let Some(one) = CapabilitySet::from_bits(1 << bit) else { continue };
        if rustix::thread::remove_capability_from_bounding_set(one).is_err() {
            break;
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}

fn limit(files: u64, memory_bytes: Option<u64>) -> io::Result<()> {
    let hard = |value: u64| Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(Resource::Core, hard(0))?;
    setrlimit(Resource::Nofile, hard(files.max(16)))?;
    setrlimit(Resource::Fsize, hard(FILE_BYTES))?;
    if let Some(bytes) = memory_bytes {
        // What is mapped already, the interpreter and its libraries, is no plugin's doing.
        setrlimit(Resource::As, hard(mapped()? + bytes))?;
    }
    Ok(())
}

fn mapped() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.ok_or(io::ErrorKind::InvalidData)? * rustix::param::page_size() as u64)
}

fn restrict_files(scratch: Option<&str>, read: &[String]) -> Result<String, landlock::RulesetError> {
    let abi = ABI::V5;
    let all = AccessFs::from_all(abi);
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
    let mut ruleset = beneath(ruleset, scratch.into_iter(), all)?;
    ruleset = beneath(ruleset, DEVICES.into_iter(), AccessFs::ReadFile | AccessFs::WriteFile)?;
    // Devices are files: rights of folders would not fit them.
    let of_folders = AccessFs::from_read(abi);
    let of_files = AccessFs::ReadFile | AccessFs::Execute;
    let (folders, files): (Vec<_>, Vec<_>) =
        read.iter().map(String::as_str).chain(["/proc/self"]).partition(|path| Path::new(path).is_dir());
    ruleset = beneath(ruleset, folders.into_iter(), of_folders)?;
    ruleset = beneath(ruleset, files.into_iter(), of_files)?;
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => "on".to_owned(),
        RulesetStatus::PartiallyEnforced => "on, without what this kernel lacks".to_owned(),
        RulesetStatus::NotEnforced => "absent".to_owned(),
    })
}

fn beneath<'a>(
    mut ruleset: RulesetCreated,
    paths: impl Iterator<Item = &'a str>,
    access: impl Into<landlock::BitFlags<AccessFs>>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let access = access.into();
    for path in paths {
        // What is not there need not be allowed.
        if let Ok(path) = PathFd::new(path) {
            ruleset = ruleset.add_rule(PathBeneath::new(path, access))?;
        }
    }
    Ok(ruleset)
}
