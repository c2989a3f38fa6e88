//! One attempt to get a leaf: which proof is shown, and which one after it. Called by `run`.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use plait_model::SpiffeId;
use plait_wire::SignRequest;
use rustls::pki_types::UnixTime;
use tokio::time::timeout;

use super::{
    Enrolment, Token,
    ca::{self, CaError},
    request::{AnswerError, Grant, Request},
    service_account::ServiceAccountError,
};
use crate::{clock::Clock, identities::Identities, leaf::Leaf, verify::Trust};

/// Connecting, a handshake and one signature; a CA that takes longer is as good as away.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why there is no new leaf.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// Nothing to show to the CA.
    #[error("there is no valid certificate to renew and no valid join token; make one: plait join-token create")]
    NoProof,
    /// The cluster's token cannot be shown.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountError),
    /// The key could not be made.
    #[error("no key could be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The CA gave no answer.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The CA did not answer in time.
    #[error("the CA did not answer within {} s", DEADLINE.as_secs())]
    Late,
    /// Its answer is refused.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

/// Renews the leaf in force while it is valid; else shows the token. A renewal that the CA refuses, or for which we do not know the CA (its root
/// is newer than ours), is followed by the token; one that found the CA away is not: the token would not find it either.
pub(super) async fn attempt(enrolment: &Enrolment, identities: &Identities) -> Result<Grant, EnrolmentError> {
    let (address, clock) = (&*enrolment.identity_address, identities.clock());
    let token = enrolment.valid_token(clock.now());
    if let Some(leaf) = identities.leaf(&enrolment.workload).filter(|leaf| leaf.is_valid(clock.now())) {
        let renewal = match Question::by_leaf(&enrolment.workload, &leaf, identities.trust()) {
            Ok(question) => question.ask(address, clock).await,
            Err(error) => Err(error),
        };
        match renewal {
            Err(EnrolmentError::Ca(CaError::Refused(_) | CaError::Impostor(..)) | EnrolmentError::NoProof) if token.is_some() => {}
            done => return done,
        }
    }
    let token = token.ok_or(EnrolmentError::NoProof)?;
    Question::by_token(&enrolment.workload, token)?.ask(address, clock).await
}

/// What is asked, whom the answer must be for, and how the CA is known.
struct Question<'a> {
    request: Request,
    message: SignRequest,
    expected: &'a SpiffeId,
    trust: Arc<Trust>,
}

impl<'a> Question<'a> {
    fn by_leaf(workload: &str, leaf: &'a Leaf, trust: Arc<Trust>) -> Result<Self, EnrolmentError> {
        let request = Request::new()?;
        let message = request.by_leaf(workload, leaf).ok_or(EnrolmentError::NoProof)?;
        Ok(Self { request, message, expected: leaf.identity(), trust })
    }

    fn by_token(workload: &str, token: &'a Token) -> Result<Self, EnrolmentError> {
        let request = Request::new()?;
        let message = request.by_token(workload, token.shown()?);
        Ok(Self { request, message, expected: token.identity(), trust: Arc::new(token.trust()) })
    }

    async fn ask(self, address: &str, clock: &Clock) -> Result<Grant, EnrolmentError> {
        let Self { request, message, expected, trust } = self;
        let answer = timeout(DEADLINE, ca::sign(address, trust, clock, message)).await.map_err(|_| EnrolmentError::Late)??;
        let now = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(request.granted(answer, expected, UnixTime::since_unix_epoch(now))?)
    }
}
