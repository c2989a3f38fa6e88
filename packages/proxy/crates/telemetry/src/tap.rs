//! Live views of what ends, for people who look on: the lines of the access log, whatever the mesh's filter. Filled by `telemetry`, read by
//! the admin server. While nobody looks, a request costs one load; nobody who looks can slow one down.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Who may look at the same time.
const MOST: usize = 8;
/// Bytes that wait for one of them: some 400 lines, and more than that in a tenth of a second nobody reads.
const CAPACITY: usize = 256 << 10;

/// All who look.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    open: AtomicUsize,
    list: Mutex<Vec<Arc<Mutex<Waiting>>>>,
}

/// Lines for one who looks.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    missed: u64,
}

impl Taps {
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Relaxed) > 0
    }

    /// None when too many look already.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Tap> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= MOST {
            return None;
        }
        let waiting = Arc::<Mutex<Waiting>>::default();
        list.push(waiting.clone());
        self.open.store(list.len(), Relaxed);
        Some(Tap { taps: self.clone(), waiting })
    }

    /// Hands `line`, its end included, to all who look; those who are behind miss it.
    pub(crate) fn push(&self, line: &[u8]) {
        for waiting in self.list.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.lines.len() + line.len() > CAPACITY {
                waiting.missed += 1;
            } else {
                waiting.lines.extend_from_slice(line);
            }
        }
    }
}

/// One who looks, until it is dropped.
#[derive(Debug)]
pub struct Tap {
    taps: Arc<Taps>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Tap {
    /// The lines that came since the last time, and how many were missed because there was no room for them.
    pub fn take(&self) -> (Vec<u8>, u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut waiting.lines), std::mem::take(&mut waiting.missed))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut list = self.taps.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|other| !Arc::ptr_eq(other, &self.waiting));
        self.taps.open.store(list.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_who_looks_gets_what_ends_meanwhile() {
        let taps = Arc::<Taps>::default();
        assert!(!taps.is_open());
        let first = taps.open().unwrap();
        taps.push(b"1\n");
        let second = taps.open().unwrap();
        taps.push(b"2\n");
        assert_eq!(first.take(), (b"1\n2\n".to_vec(), 0));
        assert_eq!(second.take(), (b"2\n".to_vec(), 0));
        assert_eq!(first.take(), (vec![], 0));
        drop(first);
        assert!(taps.is_open());
        drop(second);
        assert!(!taps.is_open());
    }

    #[test]
    fn who_is_behind_misses_lines_and_is_told() {
        let taps = Arc::<Taps>::default();
        let tap = taps.open().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..CAPACITY / line.len() + 3 {
            taps.push(&line);
        }
        let (lines, missed) = tap.take();
        assert_eq!((lines.len(), missed), (CAPACITY, 3));
        taps.push(b"y\n");
        assert_eq!(tap.take(), (b"y\n".to_vec(), 0));
    }

    #[test]
    fn only_so_many_look_at_once() {
        let taps = Arc::<Taps>::default();
        let mut all: Vec<_> = (0..MOST).map(|_| taps.open().unwrap()).collect();
        assert!(taps.open().is_none());
        all.pop();
        assert!(taps.open().is_some());
    }
}
