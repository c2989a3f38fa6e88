//! What this process holds and spends: memory, descriptors, and time of the proxies' threads.

use std::{
    fs,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// Resident memory in bytes.
pub(crate) fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// Open descriptors.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Run time so far of all threads with this name.
pub(crate) fn run_time(name: &str) -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = threads.filter(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
    let nanos = named.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// Watches memory from a thread of its own.
pub(crate) struct Peak {
    before: usize,
    most: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
}

impl Peak {
    pub(crate) fn watch() -> Self {
        let (most, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (most.clone(), done.clone());
        thread::spawn(move || {
            while !ended.load(Relaxed) {
                seen.fetch_max(resident(), Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { before: resident(), most, done }
    }

    /// How much more it was at its peak than at the beginning.
    pub(crate) fn growth(&self) -> usize {
        self.most.load(Relaxed).max(resident()).saturating_sub(self.before)
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
    }
}
