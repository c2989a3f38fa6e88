//! Connections that the proxy ended for what their caller did, or did not do, by cause. Called by `telemetry`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Direction;

/// Why a connection was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It did not say what it is, or did not end its handshake, in time.
    SlowHandshake,
    /// A head did not come whole in time.
    SlowHead,
    /// It asked for nothing for long.
    Idle,
    /// Its frames carried nothing.
    EmptyFrames,
    /// Its requests were taken back as soon as they were made.
    TakenBack,
    /// It came to a listener for redirected connections, and nobody had redirected it.
    NotRedirected,
}

impl Cut {
    const ALL: [Self; 6] = [Self::SlowHandshake, Self::SlowHead, Self::Idle, Self::EmptyFrames, Self::TakenBack, Self::NotRedirected];

    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SlowHandshake => "slow_handshake",
            Self::SlowHead => "slow_head",
            Self::Idle => "idle",
            Self::EmptyFrames => "empty_frames",
            Self::TakenBack => "taken_back",
            Self::NotRedirected => "not_redirected",
        }
    }
}

/// How often each happened, in either direction.
#[derive(Debug, Default)]
pub(crate) struct Cuts([[AtomicU64; Cut::ALL.len()]; 2]);

impl Cuts {
    pub(crate) fn count(&self, direction: Direction, cut: Cut) {
        self.0[direction as usize][cut as usize].fetch_add(1, Relaxed);
    }

    /// Cause and count of one direction.
    pub(crate) fn of(&self, direction: Direction) -> impl Iterator<Item = (&'static str, &AtomicU64)> {
        Cut::ALL.into_iter().map(Cut::as_str).zip(&self.0[direction as usize])
    }
}
