//! The memory that a proxy and a worker share, as words that either side may change at any time.
//!
//! The one file of the data path with `unsafe`: it turns a mapping into a slice of atomics. All else goes through that slice, by safe code.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::atomic::{AtomicU64, Ordering::*},
};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags};

/// Words before the rings: a page, so that the rings begin on one.
pub(crate) const CONTROL_WORDS: usize = 512;
/// Words from one direction's control block to the next; its fields stand a cache line apart.
pub(crate) const DIRECTION_WORDS: usize = 128;
const MARK_ID: usize = 256;
const MARK_PLUGIN: usize = 257;
const BEGUN: usize = 258;
const INTERRUPT: usize = 264;

/// Shared memory with two rings and the marks of who is at work.
#[derive(Debug)]
pub struct Map {
    mapping: MmapRaw,
    ring_words: usize,
}

/// What a worker is at work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The id of the call.
    pub id: u64,
    /// The index of the plugin in the call's chain; a stranger's word.
    pub plugin: u8,
}

/// The memory cannot be made or does not have the size it must have.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The kernel refused.
    #[error("shared memory: {0}")]
    Io(#[from] io::Error),
    /// A ring's size is not a power of two of at least 4096 bytes, or the memory has another size.
    #[error("shared memory of a wrong size")]
    Size,
}

impl From<rustix::io::Errno> for MapError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl Map {
    /// New memory whose two rings hold `ring_bytes` each, and the descriptor for the other side.
    ///
    /// It is sealed: a side that could make it shorter would crash the other one.
    pub fn create(ring_bytes: usize) -> Result<(Self, OwnedFd), MapError> {
        let size = size_of(ring_bytes)?;
        let memory = rustix::fs::memfd_create("plait-plugin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&memory, size as u64)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::open(&memory, ring_bytes)?, memory))
    }

    /// The other side's memory.
    pub fn open(memory: impl AsFd, ring_bytes: usize) -> Result<Self, MapError> {
        let size = size_of(ring_bytes)?;
        let memory = memory.as_fd();
        if rustix::fs::fstat(memory)?.st_size != size as i64 {
            return Err(MapError::Size);
        }
        let mapping = MmapOptions::new().len(size).map_raw(memory.as_raw_fd())?;
        Ok(Self { mapping, ring_words: ring_bytes / 8 })
    }

    /// The words, shared with the other process.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, as long as said, lives as long as `self`, and is never handed out otherwise. Its length was
        // checked and is sealed, so that no page of it can vanish. Atomics are what makes it sound that the other process writes meanwhile.
        unsafe { std::slice::from_raw_parts(self.mapping.as_ptr().cast::<AtomicU64>(), self.mapping.len() / 8) }
    }

    /// What one ring holds: no frame is longer.
    pub fn ring_bytes(&self) -> usize {
        self.ring_words * 8
    }

    /// Words of one ring.
    pub(crate) fn ring_words(&self) -> usize {
        self.ring_words
    }

    /// Worker: enters the hooks of `plugin` for call `id`, the `ordinal`th call taken.
    pub fn mark(&self, mark: Mark, ordinal: u64) {
        let words = self.words();
        words[MARK_PLUGIN].store(u64::from(mark.plugin), Relaxed);
        // A call that waited is entered again, after younger ones.
        words[BEGUN].fetch_max(ordinal, Relaxed);
        words[MARK_ID].store(mark.id, Release);
    }

    /// Worker: is in no hook.
    pub fn clear_mark(&self) {
        self.words()[MARK_ID].store(0, Release);
    }

    /// Proxy: what the worker is at work on; also after its death.
    pub fn marked(&self) -> Option<Mark> {
        let words = self.words();
        let id = words[MARK_ID].load(Acquire);
        (id != 0).then(|| Mark { id, plugin: words[MARK_PLUGIN].load(Relaxed).min(255) as u8 })
    }

    /// Proxy: the ordinal of the last call whose hooks were entered, 0 for none.
    pub fn begun(&self) -> u64 {
        self.words()[BEGUN].load(Acquire)
    }

    /// Proxy: call `id` is to be interrupted. To be followed by the signal.
    pub fn interrupt(&self, id: u64) {
        self.words()[INTERRUPT].store(id, SeqCst);
    }

    /// Worker, in its signal handler: the call that is marked is the one to be interrupted.
    pub fn interrupted(&self) -> bool {
        let words = self.words();
        let id = words[INTERRUPT].load(SeqCst);
        id != 0 && id == words[MARK_ID].load(Acquire)
    }
}

fn size_of(ring_bytes: usize) -> Result<usize, MapError> {
    // The upper bound keeps a frame's length, and what is computed from it, far from any overflow.
    let fits = ring_bytes.is_power_of_two() && (4096..=1 << 26).contains(&ring_bytes);
    if fits { Ok(CONTROL_WORDS * 8 + 2 * ring_bytes) } else { Err(MapError::Size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_another_size_is_refused() {
        let (_, memory) = Map::create(4096).unwrap();
        assert!(matches!(Map::open(&memory, 8192), Err(MapError::Size)));
        for bytes in [0, 1000, 2048, 4097, 1 << 27] {
            assert!(matches!(Map::create(bytes), Err(MapError::Size)), "{bytes}");
        }
    }

    #[test]
    fn memory_cannot_be_made_shorter_by_the_other_side() {
        let (_map, memory) = Map::create(4096).unwrap();
        assert_eq!(rustix::fs::ftruncate(&memory, 0), Err(rustix::io::Errno::PERM));
    }

    #[test]
    fn a_mark_is_seen_from_the_other_side_and_only_its_own_call_is_interrupted() {
        let (ours, memory) = Map::create(4096).unwrap();
        let theirs = Map::open(&memory, 4096).unwrap();
        assert_eq!(ours.marked(), None);
        theirs.mark(Mark { id: 7, plugin: 2 }, 1);
        assert_eq!(ours.marked(), Some(Mark { id: 7, plugin: 2 }));
        assert_eq!(ours.begun(), 1);
        ours.interrupt(8);
        assert!(!theirs.interrupted());
        ours.interrupt(7);
        assert!(theirs.interrupted());
        theirs.clear_mark();
        assert!(!theirs.interrupted());
        assert_eq!(ours.marked(), None);
    }
}
