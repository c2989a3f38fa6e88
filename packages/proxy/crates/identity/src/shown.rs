//! What the far end of a live connection showed, and until when we vouch for it: a root that is taken out of the trust takes with it what
//! was made under it. Made by `tls` for connections accepted, by `proxy` for those it made.

use std::sync::Arc;

use plait_model::SpiffeId;
use rustls::{
    CommonState,
    pki_types::{CertificateDer, UnixTime},
    time_provider::TimeProvider,
};
use webpki::KeyUsage;

use crate::{identities::Identities, verify::Trust};

/// A certificate with its chain, good when it was shown. That it expires is for others to see.
#[derive(Debug)]
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    by: By,
    at: UnixTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Server,
}

impl Shown {
    /// What a server showed us in this handshake; `None` before it is done.
    pub fn by_server(connection: &CommonState, identities: &Identities) -> Option<Self> {
        Self::by(connection, identities, By::Server)
    }

    /// What a client showed us in this handshake; `None` before it is done, or when it showed nothing.
    pub(crate) fn by_client(connection: &CommonState, identities: &Identities) -> Option<Self> {
        Self::by(connection, identities, By::Client)
    }

    fn by(connection: &CommonState, identities: &Identities, by: By) -> Option<Self> {
        let chain = connection.peer_certificates()?.iter().cloned().map(CertificateDer::into_owned).collect();
        Some(Self { chain, by, at: identities.clock().current_time()? })
    }

    /// Who it is, as `trust` has it.
    fn owner(&self, trust: &Trust) -> Option<SpiffeId> {
        let usage = match self.by {
            By::Client => KeyUsage::client_auth(),
            By::Server => KeyUsage::server_auth(),
        };
        let (leaf, rest) = self.chain.split_first()?;
        trust.owner(leaf, rest, usage, self.at).ok().map(|svid| svid.identity)
    }
}

impl Identities {
    /// Resolves when the trust in force no longer vouches for what the far end showed.
    pub async fn distrusts(self: Arc<Self>, shown: Shown) {
        let mut changes = self.changes();
        let mut known = self.trust();
        // One taken out since the handshake counts too.
        let mut vouched = shown.owner(&known).is_some();
        while vouched && changes.changed().await.is_ok() {
            let trust = self.trust();
            // A renewed leaf of ours changes nothing.
            vouched = Arc::ptr_eq(&trust, &known) || shown.owner(&trust).is_some();
            known = trust;
        }
    }
}
