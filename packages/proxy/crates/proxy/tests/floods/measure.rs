//! What this process holds and spends: memory, descriptors, and time of the proxies' threads.
#![allow(unsafe_code)] // counting what is held means being the allocator

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

/// Counts bytes: what the system counts depends on what an allocator keeps for later, and on what came before.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn more(size: usize) {
        MOST.fetch_max(HELD.fetch_add(size, Relaxed) + size, Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator, which keeps the contract; the counters are atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::more(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::more(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// Watches memory, for one scene at a time.
pub(crate) struct Peak {
    before: usize,
}

impl Peak {
    pub(crate) fn watch() -> Self {
        let before = HELD.load(Relaxed);
        MOST.store(before, Relaxed);
        Self { before }
    }

    /// How much more it was at its peak than at the beginning.
    pub(crate) fn growth(&self) -> usize {
        MOST.load(Relaxed).saturating_sub(self.before)
    }
}
