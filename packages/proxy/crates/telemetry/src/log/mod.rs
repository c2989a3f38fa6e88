//! The access log: one JSON object a line for each request and opaque connection. Called by `telemetry` when an outcome ends.

mod line;
mod queue;

use std::{
    cell::RefCell,
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub(crate) use queue::Queue;

use crate::Record;

thread_local! {
    /// The line being made, so that workers neither allocate nor hold a lock meanwhile.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The access log of this process.
#[derive(Debug)]
pub(crate) struct AccessLog {
    pub(crate) queue: Arc<Queue>,
}

impl AccessLog {
    /// Begins to write to `out`, in a thread of its own.
    pub(crate) fn new(out: impl Write + Send + 'static) -> Self {
        Self { queue: Queue::start(out) }
    }

    /// Makes the line of what ended now, for whoever is to have it.
    pub(crate) fn line(&self, record: &Record, took: Duration, hand_over: impl FnOnce(&[u8])) {
        let handed_over = LINE.try_with(|line| {
            let mut line = line.try_borrow_mut().ok()?;
            line.clear();
            line::write(&mut line, record, took, SystemTime::now());
            hand_over(&line);
            Some(())
        });
        if !matches!(handed_over, Ok(Some(()))) {
            self.queue.lost(1); // the thread is ending
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue.close();
    }
}
