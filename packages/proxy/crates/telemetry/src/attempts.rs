//! What is counted of the ways of a request besides the first: retries by destination, mirrors, ejections and health checks by backend.
//! Called by `telemetry`.

use std::{
    iter,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    requests::names_host,
    series::{Family, Labels, label},
};

/// All series of retries.
pub(crate) type Retries = Family<RetryLabels, AtomicU64>;
/// All series of mirrored requests.
pub(crate) type Mirrors = Family<MirrorLabels, AtomicU64>;

/// All series of ejections, and of how the endpoints of a backend do.
pub(crate) type Backends = Family<BackendLabels, AtomicU64>;
/// All series of health checks.
pub(crate) type Checks = Family<CheckLabels, AtomicU64>;

/// How an active health check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Checked {
    /// The endpoint did as expected.
    Passed,
    /// It did not.
    Failed,
    /// It was refused by a policy or could not be made, which says nothing of the endpoint.
    NoVerdict,
}

impl Checked {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NoVerdict => "no_verdict",
        }
    }
}

/// What became of a mirrored request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mirrored {
    /// It was sent and answered.
    Sent,
    /// It was sent, or tried to be, and not answered.
    Failed,
    /// Its body was too long to be kept, so it was never sent.
    TooLarge,
}

impl Mirrored {
    /// As labels have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
        }
    }
}

/// What tells series of retries apart: the destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RetryLabels(pub(crate) Arc<str>);

impl Labels for RetryLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        iter::once(&*self.0)
    }

    fn names_host(&self) -> bool {
        names_host(&self.0)
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self(other.clone())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "destination", &self.0);
        text
    }
}

/// What tells series of a backend apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct BackendLabels(pub(crate) Arc<str>);

impl Labels for BackendLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        iter::once(&*self.0)
    }

    fn names_host(&self) -> bool {
        false
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self(other.clone())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "backend", &self.0);
        text
    }
}

/// What tells series of mirrored requests apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MirrorLabels {
    pub(crate) backend: Arc<str>,
    pub(crate) outcome: Mirrored,
}

impl Labels for MirrorLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        iter::once(&*self.backend)
    }

    fn names_host(&self) -> bool {
        false
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { backend: other.clone(), outcome: self.outcome }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "backend", &self.backend);
        label(&mut text, "outcome", self.outcome.as_str());
        text
    }
}

/// What tells series of health checks apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CheckLabels {
    pub(crate) backend: Arc<str>,
    pub(crate) outcome: Checked,
}

impl Labels for CheckLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        iter::once(&*self.backend)
    }

    fn names_host(&self) -> bool {
        false
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { backend: other.clone(), outcome: self.outcome }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "backend", &self.backend);
        label(&mut text, "outcome", self.outcome.as_str());
        text
    }
}
