//! What plugins print and log, so much a second and no more: a plugin in a loop must not fill the proxy's disk or hold its threads.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::LogRecord;

/// Records a second; a traceback is one.
const MOST: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);

/// One group's.
#[derive(Debug)]
pub(crate) struct Log {
    to: fn(&LogRecord),
    since: Cell<Instant>,
    written: Cell<u32>,
}

impl Log {
    pub(crate) fn new(to: fn(&LogRecord)) -> Self {
        Self { to, since: Cell::new(Instant::now()), written: Cell::new(0) }
    }

    /// Passes a record on, or counts it when there were too many.
    pub(crate) fn write(&self, record: &LogRecord) {
        let now = Instant::now();
        if now.duration_since(self.since.get()) >= SECOND {
            let dropped = self.written.replace(0).saturating_sub(MOST);
            self.since.set(now);
            if dropped > 0 {
                let text = format!("{dropped} more records were dropped: {MOST} a second is the limit");
                (self.to)(&LogRecord { group: record.group.clone(), plugin: None, level: "warning".to_owned(), text });
            }
        }
        self.written.set(self.written.get().saturating_add(1));
        if self.written.get() <= MOST {
            (self.to)(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use super::*;

    static SEEN: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn a_flood_is_cut_and_told() {
        let log = Log::new(|_| _ = SEEN.fetch_add(1, SeqCst));
        let record = LogRecord::own("info", "again".to_owned());
        for _ in 0..1000 {
            log.write(&record);
        }
        let seen = SEEN.load(SeqCst);
        assert!((MOST..1000).contains(&seen), "{seen}");
        log.since.set(Instant::now() - SECOND);
        log.written.set(1000);
        log.write(&record);
        assert_eq!(SEEN.load(SeqCst), seen + 2, "the record, and that others were dropped");
    }
}
