//! One direction of the shared memory: frames in, frames out, one producer and one consumer, and who must wake whom.
//!
//! Head and tail count words since the beginning and never wrap in practice. A frame lies in whole words and may go round the end.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::*, fence},
};

use crate::{
    map::{CONTROL_WORDS, DIRECTION_WORDS, Map},
    table::MIN_FRAME,
};

const HEAD: usize = 0;
const TAIL: usize = 8;
const SLEEPING: usize = 16;

/// Which ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Calls, from the proxy to the worker.
    Calls = 0,
    /// Verdicts, from the worker to the proxy.
    Verdicts = 1,
}

/// A frame was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// There is no room now.
    #[error("the ring is full")]
    Full,
    /// The other side wrote nonsense.
    #[error(transparent)]
    Broken(#[from] RingBroken),
}

/// The other side wrote nonsense into the memory: it must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side broke the ring")]
pub struct RingBroken;

/// What both ends know of a ring.
#[derive(Debug)]
struct Ring {
    map: Arc<Map>,
    control: usize,
    base: usize,
    words: u64,
}

impl Ring {
    fn new(map: Arc<Map>, direction: Direction) -> Self {
        let words = map.ring_words();
        let index = direction as usize;
        Self { control: index * DIRECTION_WORDS, base: CONTROL_WORDS + index * words, words: words as u64, map }
    }

    fn control(&self, field: usize) -> &AtomicU64 {
        &self.map.words()[self.control + field]
    }

    /// The ring's memory from the word at `position` on, in two parts where it goes round the end.
    fn parts(&self, position: u64, words: usize) -> (&[AtomicU64], &[AtomicU64]) {
        let all = &self.map.words()[self.base..self.base + self.words as usize];
        let offset = (position & (self.words - 1)) as usize;
        let first = words.min(all.len() - offset);
        (&all[offset..offset + first], &all[..words - first])
    }
}

/// The end that writes.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    head: u64,
    published: u64,
}

impl Producer {
    /// The writing end of a ring in new memory.
    pub fn new(map: Arc<Map>, direction: Direction) -> Self {
        Self { ring: Ring::new(map, direction), head: 0, published: 0 }
    }

    /// Puts a frame in; it is seen after `publish`.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), PushError> {
        let tail = self.ring.control(TAIL).load(Acquire);
        // A reader that got ahead of the writer, or fell back, is a liar.
        let used = self.head.checked_sub(tail).filter(|used| *used <= self.ring.words).ok_or(RingBroken)?;
        let words = frame.len().div_ceil(8);
        if words as u64 > self.ring.words - used {
            return Err(PushError::Full);
        }
        let (first, second) = self.ring.parts(self.head, words);
        let (whole, rest) = frame.as_chunks::<8>();
        let mut to = first.iter().chain(second);
        for (word, from) in to.by_ref().zip(whole) {
            word.store(u64::from_le_bytes(*from), Relaxed);
        }
        if !rest.is_empty()
            && let Some(word) = first.iter().chain(second).last()
        {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_le_bytes(last), Relaxed);
        }
        self.head += words as u64;
        Ok(())
    }

    /// Shows the other side what was put in since; true when it sleeps and must be woken.
    pub fn publish(&mut self) -> bool {
        if self.head == self.published {
            return false;
        }
        self.ring.control(HEAD).store(self.head, Release);
        self.published = self.head;
        // The flag must be read after the head is seen, or both sides could miss each other.
        fence(SeqCst);
        let sleeping = self.ring.control(SLEEPING);
        sleeping.load(Relaxed) == 1 && sleeping.swap(0, AcqRel) == 1
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    tail: u64,
}

impl Consumer {
    /// The reading end of a ring in new memory.
    pub fn new(map: Arc<Map>, direction: Direction) -> Self {
        Self { ring: Ring::new(map, direction), tail: 0 }
    }

    /// Copies the next frame into `frame`; false when there is none. Its room is given back by `release`.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, RingBroken> {
        let available = self.available()?;
        if available == 0 {
            return Ok(false);
        }
        let (first, _) = self.ring.parts(self.tail, 1);
        // Read once: the word may change under us, and all that follows must speak of the same length.
        let start = first[0].load(Relaxed).to_le_bytes();
        let length = u32::from_le_bytes([start[0], start[1], start[2], start[3]]) as usize;
        let words = length.div_ceil(8);
        if length < MIN_FRAME || words as u64 > available {
            return Err(RingBroken);
        }
        frame.clear();
        frame.reserve(words * 8);
        let (first, second) = self.ring.parts(self.tail, words);
        frame.extend_from_slice(&start);
        for word in first.iter().chain(second).skip(1) {
            frame.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        frame.truncate(length);
        self.tail += words as u64;
        Ok(true)
    }

    /// Gives the room of what was read back to the writer.
    pub fn release(&self) {
        self.ring.control(TAIL).store(self.tail, Release);
    }

    /// Nothing is to be read. Broken memory counts as something.
    pub fn is_empty(&self) -> bool {
        self.available() == Ok(0)
    }

    /// Says that this side will sleep; false when something came meanwhile and it must not.
    pub fn arm(&self) -> bool {
        let sleeping = self.ring.control(SLEEPING);
        sleeping.store(1, SeqCst);
        fence(SeqCst);
        let empty = self.is_empty();
        if !empty {
            sleeping.store(0, Release);
        }
        empty
    }

    fn available(&self) -> Result<u64, RingBroken> {
        let head = self.ring.control(HEAD).load(Acquire);
        head.checked_sub(self.tail).filter(|words| *words <= self.ring.words).ok_or(RingBroken)
    }
}
