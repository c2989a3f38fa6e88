//! The guard over a [`Record`]: made first, it counts and logs exactly once when dropped, whatever the exit.
//! `proxy` makes one for each request and each opaque connection.

use std::{
    ops::{Deref, DerefMut},
    thread,
    time::Instant,
};

use plait_model::Reason;

use crate::{Direction, Protocol, Record, Telemetry};

/// Status of a request whose caller went away before an answer, as nginx and Envoy log it.
const CANCELLED: u16 = 499;

/// One request, or one opaque connection, until its end.
#[derive(Debug)]
pub struct Outcome<'r> {
    telemetry: &'r Telemetry,
    record: &'r mut Record,
    began: Instant,
    /// `None` = it ends when it is dropped.
    ended: Option<Instant>,
    // The record's own could be changed while it is open; the gauge must fall where it rose.
    direction: Direction,
}

impl<'r> Outcome<'r> {
    /// Begins: empties the record but for what belongs to the connection, and notes the time. A record belongs to one `Telemetry`.
    pub fn begin(telemetry: &'r Telemetry, record: &'r mut Record) -> Self {
        record.reset();
        let direction = record.direction;
        telemetry.in_flight(direction, 1);
        Self { telemetry, record, began: Instant::now(), ended: None, direction }
    }

    /// It has ended, at a moment that was noted anyway.
    pub fn ends(&mut self, at: Instant) {
        self.ended = Some(at);
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
        close(self.record);
        self.telemetry.in_flight(self.direction, -1);
        let took = self.ended.unwrap_or_else(Instant::now).saturating_duration_since(self.began);
        self.telemetry.ended(self.record, took);
    }
}

/// Says how it ended where nobody did.
fn close(record: &mut Record) {
    if thread::panicking() && record.reason.is_none() {
        record.reason = Some(Reason::Internal);
    }
    if record.status == 0 && record.protocol != Protocol::Tcp {
        record.cancelled = record.reason.is_none();
        record.status = record.reason.map_or(CANCELLED, Reason::status);
    }
}
