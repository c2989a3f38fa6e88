//! Where one try of a request goes. Chosen by `plan`, dialled by `upstream`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use plait_model::Endpoint;

/// Where one try goes.
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    pub(crate) address: SocketAddr,
    /// The endpoint of a Service; `None` for the process beside us and for what is outside the mesh.
    pub(crate) endpoint: Option<Arc<Endpoint>>,
    /// The process speaks HTTP/2 by prior knowledge; of no meaning where a proxy is in between.
    pub(crate) http2: bool,
    /// Longest wait for a connection.
    pub(crate) connect_timeout: Duration,
    /// An idle connection is closed after this.
    pub(crate) idle_timeout: Duration,
}

impl Hop {
    /// Whether the far end must prove an identity: then nothing ever leaves in plaintext.
    pub(crate) fn is_mesh(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.identity.is_some())
    }
}
