//! Heads between bytes and the model: of HTTP/1.1, and as they travel between proxies.
//! Framing, connection fields and `plait-*` never enter the model's heads; what they say is handed over beside them.

mod http1;
mod mesh;

use plait_model::PathError;

pub(crate) use http1::{Asked, Said, read_request, read_response, write_request, write_response};
pub(crate) use mesh::{MeshAsked, from_mesh, response_from_mesh, response_to_mesh, to_mesh, trailers_from_mesh, trailers_to_mesh};

/// Fields of ours, never from an application nor to one.
pub(crate) const OURS: &str = "plait-";

/// Why a head cannot be read or cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the authority or path cannot be sent")]
    Target,
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the method is no token")]
    Method,
    #[error("the field {0:?} cannot be sent")]
    Field(String),
    #[error("plait-port must be there once and name a port")]
    Port,
}
