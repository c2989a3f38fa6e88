//! How a workload comes to its leaf and keeps it: from disk at once, from the CA with a token, renewed at half life, forever.
//!
//! Spawned by `app`, one for each workload. Writes to `Identities` and to its folder; nothing else does. While the CA is away, or answers with
//! what must be refused, the old leaf stays in force until its end.

mod attempt;
mod ca;
mod join_token;
mod request;
mod run;
mod service_account;
mod store;
mod token;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use plait_model::SpiffeId;

pub use self::{
    attempt::EnrolmentError,
    ca::CaError,
    join_token::{JoinToken, JoinTokenError},
    request::AnswerError,
    service_account::{Home, ServiceAccountError, ServiceAccountToken},
    store::StoreError,
    token::Token,
};
use self::{request::Grant, run::Run, store::Store};
use crate::{
    identities::Identities,
    leaf::{Leaf, LeafError},
};

/// One workload's way to its leaf.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The workload, "namespace/name".
    pub workload: Arc<str>,
    /// The proof for the first time, and for when a leaf could not be renewed in time.
    pub token: Option<Token>,
    /// Where leaf, key and roots are kept; made when missing, for this workload alone.
    pub folder: PathBuf,
    /// Where the CA serves, "host:port".
    pub identity_address: Arc<str>,
}

/// What happened, for people (as text) and for counters.
#[derive(Debug)]
pub enum Event {
    /// A leaf from disk is in force until then.
    Restored(SpiffeId, SystemTime),
    /// What is on disk cannot be used.
    Damaged(LeafError),
    /// A new leaf is in force until then.
    Signed(SpiffeId, SystemTime),
    /// A new leaf or a new root is in force, and not on disk.
    NotKept(StoreError),
    /// There is no new leaf; the next attempt comes after this pause.
    Failed(EnrolmentError, Duration),
}

impl Enrolment {
    /// What a token says; the folder is the caller's choice.
    pub fn by_token(token: Token, folder: PathBuf) -> Self {
        let (workload, identity_address) = (token.workload(), token.identity_address().into());
        Self { workload, token: Some(token), folder, identity_address }
    }

    /// Puts in force what is on disk; `None` when there is nothing that may speak for us. Reads files. `run` begins with it, unless there is a
    /// leaf.
    pub fn restore(&self, identities: &Identities) -> Result<Option<Arc<Leaf>>, LeafError> {
        let Some(grant) = Store::new(&self.folder).load()? else { return Ok(None) };
        // A token that is still good says who we are now, and in which mesh; a leaf of who we were must not speak for us.
        let clock = identities.clock();
        if self.valid_token(clock.now()).is_some_and(|token| !token.agrees(&grant, clock)) {
            return Ok(None);
        }
        let Grant { leaf, roots } = grant;
        identities.set_trust(leaf.identity().trust_domain(), &roots);
        identities.set_leaf(self.workload.clone(), leaf);
        Ok(identities.leaf(&self.workload))
    }

    /// The leaf that `leaf`, which was restored, replaced: what that one sealed may not be sealed anew. Reads files.
    pub fn before(&self, leaf: &Leaf) -> Option<Leaf> {
        let before = Store::new(&self.folder).before().ok().flatten()?;
        (before.identity() == leaf.identity()).then_some(before)
    }

    /// Gets a leaf and renews it, forever; `report` hears what happens. Dropping the future ends it at any point without harm.
    pub async fn run(self, identities: Arc<Identities>, report: impl Fn(&Event)) {
        Run::new(self, identities, report).forever().await;
    }

    fn valid_token(&self, now: SystemTime) -> Option<&Token> {
        self.token.as_ref().filter(|token| token.is_valid(now))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored(identity, _) => write!(f, "the certificate on disk is in force: {identity}"),
            Self::Damaged(error) => write!(f, "the certificate on disk is not used: {error}"),
            Self::Signed(identity, _) => write!(f, "a new certificate is in force: {identity}"),
            Self::NotKept(error) => write!(f, "the new certificate is in force, but a restart will not find it: {error}"),
            Self::Failed(error, pause) => write!(f, "no new certificate: {error}; next attempt in {:.1} s", pause.as_secs_f64()),
        }
    }
}
