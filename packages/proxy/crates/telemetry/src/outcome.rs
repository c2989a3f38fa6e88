//! The guard over a [`Record`]: made first, it counts and logs exactly once when dropped, whatever the exit.
//! `proxy` makes one for each request and each opaque connection.

use std::{
    ops::{Deref, DerefMut},
    time::Instant,
};

use crate::{Record, Telemetry};

/// Status of a request whose caller went away before an answer.
pub(crate) const CANCELLED: u16 = 499;

/// One request, or one opaque connection, until its end.
#[derive(Debug)]
pub struct Outcome<'r> {
    telemetry: &'r Telemetry,
    record: &'r mut Record,
    began: Instant,
}

impl<'r> Outcome<'r> {
    /// Begins: empties the record but for what belongs to the connection, and notes the time.
    pub fn begin(telemetry: &'r Telemetry, record: &'r mut Record) -> Self {
        record.reset();
        Self { telemetry, record, began: Instant::now() }
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Deref for Outcome<'_> {
    type Target = Record;

    fn deref(&self) -> &Record {
        self.record
    }
}

impl DerefMut for Outcome<'_> {
    fn deref_mut(&mut self) -> &mut Record {
        self.record
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if self.record.status == 0 {
            self.record.status = CANCELLED;
        }
        self.telemetry.ended(self.record, self.began.elapsed());
    }
}
