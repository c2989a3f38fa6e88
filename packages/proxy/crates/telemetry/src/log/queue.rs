//! Lines on their way from the workers to the thread that writes them. A worker copies its line and goes on; when the writer does not
//! keep up, lines are lost and counted. Used by `log` alone.

use std::{
    io::{ErrorKind, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Most bytes that wait: some 1,500 lines.
const CAPACITY: usize = 1 << 20;
/// Lines are gathered so long before they are written: waking a thread for each would cost a worker more than the line.
const GATHER: Duration = Duration::from_millis(10);
/// Pause before a reader that takes nothing (a terminal that stands still, in non-blocking mode) is tried again.
const STUCK: Duration = Duration::from_millis(10);

/// The bounded queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Something waits, or a limit is reached, or the end.
    arrived: Condvar,
    /// All that waited is written.
    written: Condvar,
    lines: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer has taken lines that are not written yet.
    writing: bool,
    /// Somebody waits for what is here to be written.
    hurry: bool,
    closed: bool,
}

impl Queue {
    /// Begins to write to `out`, in a thread of its own, until `close`.
    pub(super) fn start(out: impl Write + Send + 'static) -> Arc<Self> {
        let queue = Arc::new(Self::default());
        queue.lock().bytes.reserve(CAPACITY);
        let writer = queue.clone();
        if thread::Builder::new().name("access-log".into()).spawn(move || writer.write_to(out)).is_err() {
            queue.close(); // every line is counted as lost
        }
        queue
    }

    /// Lines written since the start, and lines lost.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.lines.load(Relaxed), self.dropped.load(Relaxed))
    }

    /// Counts lines that nobody will see.
    pub(super) fn lost(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }

    /// Hands over a line, its end included; waits for no I/O.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.closed || waiting.bytes.len() + line.len() > CAPACITY {
            return self.lost(1);
        }
        let before = waiting.bytes.len();
        waiting.bytes.extend_from_slice(line);
        let half = CAPACITY / 2;
        let wakes = before == 0 || (before < half && waiting.bytes.len() >= half);
        drop(waiting);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// Waits until all lines handed over are written, at most `patience`; false = they are not.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut waiting = self.lock();
        waiting.hurry = true;
        self.arrived.notify_one();
        while waiting.writing || !waiting.bytes.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else { return false };
            waiting = self.written.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// No more lines; those handed over are still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::with_capacity(CAPACITY);
        let mut torn = false;
        while self.take(&mut batch) {
            // A line that was written in part is ended first, so that the next stands alone.
            torn = torn && write_whole(&mut out, b"\n") > 0;
            let unwritten = if torn { batch.len() } else { write_whole(&mut out, &batch) };
            let (written, lost) = batch.split_at(batch.len() - unwritten);
            torn |= written.last().is_some_and(|last| *last != b'\n');
            self.lines.fetch_add(lines(written), Relaxed);
            self.lost(lines(lost));
            batch.clear();
        }
    }

    /// Waits for lines and takes them all; false at the end.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        waiting.writing = false;
        if waiting.bytes.is_empty() {
            waiting.hurry = false;
            self.written.notify_all();
        }
        waiting =
            self.arrived.wait_while(waiting, |waiting| waiting.bytes.is_empty() && !waiting.closed).unwrap_or_else(PoisonError::into_inner);
        let gathering = |waiting: &mut Waiting| !waiting.closed && !waiting.hurry && waiting.bytes.len() < CAPACITY / 2;
        waiting = self.arrived.wait_timeout_while(waiting, GATHER, gathering).unwrap_or_else(PoisonError::into_inner).0;
        mem::swap(&mut waiting.bytes, batch);
        waiting.writing = !batch.is_empty();
        waiting.writing
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes it all; returns how many bytes could not be written.
fn write_whole(out: &mut impl Write, mut bytes: &[u8]) -> usize {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(STUCK),
            Err(_) => break,
        }
    }
    let _ = out.flush(); // what was taken is out of our hands
    bytes.len()
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::mpsc::{Receiver, Sender, channel},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Passes on what it gets, once a permit for it has come.
    struct Gated {
        permits: Receiver<io::Result<usize>>,
        out: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Without anybody who gives permits it takes all.
            let count = self.permits.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.out.send(bytes[..count].to_vec()).unwrap();
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Arc<Queue>, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let (permit, permits) = channel();
        let (out, taken) = channel();
        (Queue::start(Gated { permits, out }), permit, taken)
    }

    /// All that was written until the writer's end.
    fn text(queue: &Queue, taken: Receiver<Vec<u8>>) -> String {
        queue.close();
        String::from_utf8(taken.iter().flatten().collect()).unwrap()
    }

    #[test]
    fn lines_are_written_in_order_and_those_before_the_end_too() {
        let (queue, permit, taken) = gated();
        drop(permit);
        queue.push(b"1\n");
        queue.push(b"2\n");
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.counts(), (2, 0));
        queue.push(b"3\n");
        assert_eq!(text(&queue, taken), "1\n2\n3\n");
        queue.push(b"4\n");
        assert_eq!(queue.counts(), (3, 1));
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_stops_nobody() {
        let (queue, permit, taken) = gated();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let lines = 3 * CAPACITY / line.len();
        for _ in 0..lines {
            queue.push(&line);
        }
        assert!(!queue.flush(Duration::from_millis(1)));
        let (_, lost) = queue.counts();
        // What the writer holds and what waits is kept.
        assert!((lines / 3..=2 * lines / 3).contains(&(lost as usize)), "{lost} of {lines}");
        drop(permit);
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.counts(), (lines as u64 - lost, lost));
        assert_eq!(text(&queue, taken).lines().filter(|line| line.len() == 1023).count() as u64, lines as u64 - lost);
    }

    #[test]
    fn a_line_after_one_that_broke_off_stands_alone() {
        let (queue, permit, taken) = gated();
        for answer in
            [Err(ErrorKind::Interrupted.into()), Ok(3), Err(ErrorKind::WouldBlock.into()), Ok(1), Err(ErrorKind::BrokenPipe.into())]
        {
            permit.send(answer).unwrap();
        }
        queue.push(b"first\n");
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.counts(), (0, 1));
        permit.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        queue.push(b"second\n");
        assert!(queue.flush(PATIENCE));
        assert_eq!(queue.counts(), (0, 2));
        drop(permit);
        queue.push(b"third\n");
        assert_eq!(text(&queue, taken), "firs\nthird\n");
        assert_eq!(queue.counts(), (1, 2));
    }
}
