//! How a workload comes to its leaf and keeps it: from disk at once, from the CA with a join token, renewed at half life, forever.
//!
//! Spawned by `app`, one for each workload. Writes to `Identities` and to its folder; nothing else does. While the CA is away, or answers with
//! what must be refused, the old leaf stays in force until its end.

mod ca;
mod join_token;
mod request;
mod store;

use std::{
    fmt,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use plait_model::SpiffeId;
use plait_wire::SignRequest;
use rustls::pki_types::UnixTime;

pub use self::{
    ca::CaError,
    join_token::{JoinToken, JoinTokenError},
    request::AnswerError,
    store::StoreError,
};
use self::{
    request::{Grant, Request},
    store::Store,
};
use crate::{
    identities::Identities,
    leaf::{Leaf, LeafError},
    verify::Trust,
};

/// Connecting, a handshake and one signature; a CA that takes longer is as good as away.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The first pause after a failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while nothing works without a leaf.
const LONGEST_PAUSE_WITHOUT: Duration = Duration::from_secs(15);
/// The longest pause while the old leaf still serves.
const LONGEST_PAUSE_WITH: Duration = Duration::from_secs(150);
/// Renewals lie between 45 and 55 % of a life, so that what started together does not renew together.
const JITTER: f64 = 0.05;

/// One workload's way to its leaf.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The workload, "namespace/name".
    pub workload: Arc<str>,
    /// The proof for the first time, and for when a leaf could not be renewed in time.
    pub token: Option<JoinToken>,
    /// Where leaf, key and roots are kept; made when missing, for this workload alone.
    pub folder: PathBuf,
    /// Where the CA serves, "host:port".
    pub identity_address: Arc<str>,
}

/// What happened, for people and for counters.
#[derive(Debug)]
pub enum Event {
    /// A leaf from disk is in force.
    Restored(SpiffeId, SystemTime),
    /// What is on disk cannot be used.
    Damaged(LeafError),
    /// A new leaf is in force until then.
    Signed(SpiffeId, SystemTime),
    /// The new leaf, or a new root, is in force but not on disk.
    NotKept(StoreError),
    /// There is no new leaf; the next attempt comes after this pause.
    Failed(EnrolmentError, Duration),
}

/// Why there is no new leaf.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// Nothing to show to the CA.
    #[error("there is no valid certificate to renew and no valid join token; make one: plait join-token create")]
    NoProof,
    /// The key could not be made.
    #[error("no key could be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The CA gave no answer.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The CA did not answer in time.
    #[error("the CA did not answer within {} s", ATTEMPT.as_secs())]
    Late,
    /// Its answer is refused.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// When to try next.
enum Next {
    At(SystemTime),
    After(Duration),
}

/// What is shown to the CA, whom it is to prove, and how the CA is known.
struct Attempt {
    message: SignRequest,
    identity: SpiffeId,
    trust: Arc<Trust>,
}

impl Enrolment {
    /// What a join token says; its folder is the caller's choice.
    pub fn by_token(token: JoinToken, folder: PathBuf) -> Self {
        let (workload, identity_address) = ((&*token.workload).into(), (&*token.identity_address).into());
        Self { workload, token: Some(token), folder, identity_address }
    }

    /// Puts in force what is on disk, valid or not; `None` when there is nothing. Blocks shortly. `run` does it too, when it was not done before.
    pub fn restore(&self, identities: &Identities) -> Result<Option<Arc<Leaf>>, LeafError> {
        let Some(Grant { leaf, roots }) = Store::new(&self.folder).load()? else { return Ok(None) };
        // A token that is still good says who we are now; a leaf of who we were must not speak for us.
        let now = identities.clock().now();
        if self.valid_token(now).is_some_and(|token| token.identity != *leaf.identity()) {
            return Ok(None);
        }
        identities.set_trust(leaf.identity().trust_domain(), &roots);
        identities.set_leaf(self.workload.clone(), leaf);
        Ok(identities.leaf(&self.workload))
    }

    /// Gets a leaf and renews it, forever; `report` hears what happens. Dropping the future ends it at any point without harm.
    pub async fn run(self, identities: Arc<Identities>, report: impl Fn(&Event)) {
        let mut next = self.first(&identities, &report);
        let mut kept = Arc::default();
        let mut failures = 0;
        loop {
            self.wait(&next, &mut kept, &identities, &report).await;
            let attempt = tokio::time::timeout(ATTEMPT, self.attempt(&identities)).await.unwrap_or(Err(EnrolmentError::Late));
            next = match attempt {
                Ok(granted) => {
                    failures = 0;
                    self.put_in_force(granted, &identities, &report).await
                }
                Err(error) => {
                    let pause = self.pause(failures, &identities);
                    failures = failures.saturating_add(1);
                    report(&Event::Failed(error, pause));
                    Next::After(pause)
                }
            };
        }
    }

    /// At start a leaf on disk is used at once.
    fn first(&self, identities: &Identities, report: &impl Fn(&Event)) -> Next {
        let restored = match identities.leaf(&self.workload) {
            Some(leaf) => Ok(Some(leaf)),
            None => self.restore(identities),
        };
        match restored {
            Ok(Some(leaf)) => {
                report(&Event::Restored(leaf.identity().clone(), leaf.not_after()));
                Next::At(about_half(leaf.not_before(), leaf.not_after()))
            }
            Ok(None) => Next::After(Duration::ZERO),
            Err(error) => {
                report(&Event::Damaged(error));
                Next::After(Duration::ZERO)
            }
        }
    }

    /// Waits for the next attempt. Roots that come meanwhile (with the Mesh) are kept: after a restart they must vouch for the control plane.
    async fn wait(&self, next: &Next, kept: &mut Arc<Trust>, identities: &Identities, report: &impl Fn(&Event)) {
        let clock = identities.clock();
        let mut due = pin!(async {
            match *next {
                Next::At(time) => clock.sleep_until(time).await,
                Next::After(pause) => clock.sleep(pause).await,
            }
        });
        let mut changes = identities.changes();
        loop {
            let trust = identities.trust();
            if trust.roots() != kept.roots() && identities.leaf(&self.workload).is_some() {
                *kept = trust.clone();
                self.keep(move |store| store.keep_roots(trust.roots()), report).await;
            }
            tokio::select! {
                biased;
                () = &mut due => return,
                _ = changes.changed() => {}
            }
        }
    }

    async fn put_in_force(&self, granted: Grant, identities: &Identities, report: &impl Fn(&Event)) -> Next {
        let Grant { leaf, roots } = granted;
        let (identity, not_after) = (leaf.identity().clone(), leaf.not_after());
        identities.set_trust(identity.trust_domain(), &roots);
        identities.set_leaf(self.workload.clone(), leaf);
        if let Some(leaf) = identities.leaf(&self.workload) {
            self.keep(move |store| store.keep(&leaf, &roots), report).await;
        }
        report(&Event::Signed(identity, not_after));
        // The half of what is left: the CA dates leaves back a little, which would make the half of a very short life lie in the past.
        Next::At(about_half(identities.clock().now(), not_after))
    }

    /// Disks are slow, and others run on this thread.
    async fn keep(&self, write: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static, report: &impl Fn(&Event)) {
        let store = Store::new(&self.folder);
        // The task is never cancelled, and what it runs does not panic: there is always an inner answer.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || write(&store)).await {
            report(&Event::NotKept(error));
        }
    }

    /// One new leaf, by renewal when there is something to renew, else by the token. A refused renewal is followed by the token.
    async fn attempt(&self, identities: &Identities) -> Result<Grant, EnrolmentError> {
        let now = identities.clock().now();
        let renewal = identities.leaf(&self.workload).filter(|leaf| leaf.is_valid(now));
        let token = self.valid_token(now);
        if let Some(leaf) = renewal {
            match self.renew(&leaf, identities).await {
                Err(EnrolmentError::Ca(CaError::Refused(_) | CaError::Impostor(..)) | EnrolmentError::NoProof) if token.is_some() => {}
                done => return done,
            }
        }
        let token = token.ok_or(EnrolmentError::NoProof)?;
        let request = Request::new()?;
        let trust = Arc::new(Trust::by_fingerprint(token.identity.trust_domain(), token.roots.clone()));
        let attempt = Attempt { message: request.by_token(&self.workload, token), identity: token.identity.clone(), trust };
        self.ask(request, attempt, identities).await
    }

    async fn renew(&self, leaf: &Leaf, identities: &Identities) -> Result<Grant, EnrolmentError> {
        let request = Request::new()?;
        let message = request.by_leaf(&self.workload, leaf).ok_or(EnrolmentError::NoProof)?;
        let attempt = Attempt { message, identity: leaf.identity().clone(), trust: identities.trust() };
        self.ask(request, attempt, identities).await
    }

    async fn ask(&self, request: Request, attempt: Attempt, identities: &Identities) -> Result<Grant, EnrolmentError> {
        let Attempt { message, identity, trust } = attempt;
        let answer = ca::sign(&self.identity_address, trust, identities.clock(), message).await?;
        let now = identities.clock().now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(request.granted(answer, &identity, UnixTime::since_unix_epoch(now))?)
    }

    fn valid_token(&self, now: SystemTime) -> Option<&JoinToken> {
        self.token.as_ref().filter(|token| now < token.expires)
    }

    /// From half to all of a pause that doubles with each failure.
    fn pause(&self, failures: u32, identities: &Identities) -> Duration {
        let served = identities.leaf(&self.workload).is_some_and(|leaf| leaf.is_valid(identities.clock().now()));
        let longest = if served { LONGEST_PAUSE_WITH } else { LONGEST_PAUSE_WITHOUT };
        PAUSE.saturating_mul(1 << failures.min(16)).min(longest).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Near the middle between two times, not for all proxies at the same moment.
fn about_half(from: SystemTime, to: SystemTime) -> SystemTime {
    let life = to.duration_since(from).unwrap_or_default();
    from + life.mul_f64(0.5 + JITTER * (2.0 * fastrand::f64() - 1.0))
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
