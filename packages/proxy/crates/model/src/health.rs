//! Active health checks: what is checked, and what came of it. Written by `proxy` through `plait-decide::health`, read by the balancer.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32},
    },
    time::Duration,
};

/// `healthCheck`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one check of an endpoint to the next.
    pub interval: Duration,
    /// A check that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row after which an endpoint is passed over, at least 1.
    pub unhealthy_threshold: u32,
    /// Passes in a row after which it is back, at least 1.
    pub healthy_threshold: u32,
    /// With fewer of the endpoints healthy, all are used again; 0 = never.
    pub min_healthy_percent: u32,
    /// What is asked.
    pub probe: Probe,
}

/// What a check asks of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET.
    Http {
        /// Canonical.
        path: Box<str>,
        /// Without its `?`; `None` = there is none.
        query: Option<Box<str>>,
        /// The authority.
        host: Box<str>,
        /// Any of these passes.
        expected_statuses: Vec<u16>,
    },
    /// grpc.health.v1.Health/Check of that service; empty = the server as a whole.
    Grpc(Box<str>),
    /// A connection that the process accepts.
    Tcp,
}

/// How the checks of an endpoint ended.
#[derive(Debug, Default)]
pub struct HealthState {
    /// It failed them: it is passed over while others are healthy.
    pub unhealthy: AtomicBool,
    /// One has told something of it. Until then a single check decides.
    pub known: AtomicBool,
    /// Checks in a row that say otherwise than `unhealthy`.
    pub contrary: AtomicU32,
    /// Why the newest check did not pass, for people; `None` = it passed, or there was none.
    pub failure: Mutex<Option<Box<str>>>,
}
