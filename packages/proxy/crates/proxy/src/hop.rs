//! Where one try of a request goes. Chosen by `plan`, dialled by `upstream`.

use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use plait_model::{Endpoint, Gate};

use crate::{call::Wish, pool::To};

/// Where one try goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'p> {
    pub(crate) address: SocketAddr,
    /// The endpoint of a Service; `None` for the process beside us and for what is outside the mesh.
    pub(crate) endpoint: Option<&'p Arc<Endpoint>>,
    /// The process speaks HTTP/2 by prior knowledge; of no meaning where a proxy is in between.
    pub(crate) http2: bool,
    /// Longest wait for a connection.
    pub(crate) connect_timeout: Duration,
    /// An idle connection is closed after this.
    pub(crate) idle_timeout: Duration,
    /// Counts the connections to it; `None` outside the mesh.
    pub(crate) gate: Option<&'p Arc<Gate>>,
    /// Connections at a time; `None` = no limit.
    pub(crate) most: Option<NonZeroU32>,
}

impl<'p> Hop<'p> {
    /// By what the pool knows its connections.
    pub(crate) fn to(&self) -> To<'p> {
        (self.address, self.gate)
    }

    /// Whether a try takes a connection to itself: all but requests that share one of HTTP/2.
    pub(crate) fn is_exclusive(&self, wish: &Wish) -> bool {
        !matches!(wish, Wish::Answer { .. }) || !(self.is_mesh() || self.http2)
    }

    /// Whether the far end must prove an identity: then nothing ever leaves in plaintext.
    pub(crate) fn is_mesh(&self) -> bool {
        self.proxy().is_some()
    }

    /// The endpoint whose sidecar is asked; `None` = its process is.
    pub(crate) fn proxy(&self) -> Option<&'p Arc<Endpoint>> {
        self.endpoint.filter(|endpoint| endpoint.identity.is_some())
    }
}
