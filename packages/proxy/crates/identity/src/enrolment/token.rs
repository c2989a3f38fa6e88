//! What a workload shows the first time, and when a leaf could not be renewed in time: one of two kinds of token. Called by `enrolment`.

use std::{sync::Arc, time::SystemTime};

use plait_model::SpiffeId;

use super::{
    join_token::JoinToken,
    request::Grant,
    service_account::{ServiceAccountError, ServiceAccountToken},
};
use crate::{
    clock::Clock,
    verify::{Fingerprint, Trust},
};

/// A proof that is no leaf.
#[derive(Debug, Clone)]
pub enum Token {
    /// From an operator, for one Workload and for an hour.
    Join(JoinToken),
    /// From a cluster, for a pod and for as long as it lives.
    ServiceAccount(ServiceAccountToken),
}

/// A token as the contract carries it; a secret.
pub(super) enum Shown {
    Join(String),
    ServiceAccount(String),
}

impl Token {
    /// The workload that it is for, "namespace/name".
    pub fn workload(&self) -> Arc<str> {
        match self {
            Self::Join(token) => (&*token.workload).into(),
            Self::ServiceAccount(token) => token.workload.clone(),
        }
    }

    /// Where the CA serves, "host:port".
    pub fn identity_address(&self) -> &str {
        match self {
            Self::Join(token) => &token.identity_address,
            Self::ServiceAccount(token) => token.identity_address(),
        }
    }

    /// Whether it is a proof at that time; the cluster sees to it for its own.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        match self {
            Self::Join(token) => now < token.expires,
            Self::ServiceAccount(_) => true,
        }
    }

    /// Whether a leaf is for the same workload in the same mesh.
    pub(super) fn agrees(&self, grant: &Grant, clock: &Clock) -> bool {
        match self {
            Self::Join(token) => token.agrees(grant, clock),
            Self::ServiceAccount(token) => token.agrees(grant),
        }
    }

    /// Who the CA's answer must name.
    pub(super) fn identity(&self) -> &SpiffeId {
        match self {
            Self::Join(token) => &token.identity,
            Self::ServiceAccount(token) => &token.identity,
        }
    }

    /// How the CA is known before any root is.
    pub(super) fn trust(&self) -> Trust {
        let roots: &[Fingerprint] = match self {
            Self::Join(token) => &token.roots,
            Self::ServiceAccount(token) => token.roots(),
        };
        Trust::by_fingerprint(self.identity().trust_domain(), roots.to_vec())
    }

    /// What is shown. Reads files.
    pub(super) fn shown(&self) -> Result<Shown, ServiceAccountError> {
        match self {
            Self::Join(token) => Ok(Shown::Join(token.text().to_owned())),
            Self::ServiceAccount(token) => token.text().map(Shown::ServiceAccount),
        }
    }
}
