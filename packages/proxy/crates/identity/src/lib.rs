//! Who this proxy is, and who is at the other end of a connection: keys and certificates of our workloads, mutual TLS with exact
//! SPIFFE checks, enrolment and renewal.
//!
//! Called by `proxy` (accept, connect) and by `app` (what is in force). Must not know routes or policies: whether a proven peer may do
//! something is decided elsewhere. Everything here fails closed: without a valid leaf, or without roots, there is no connection.

mod clock;
mod config;
mod control_plane;
mod enrolment;
mod error;
mod identities;
mod leaf;
mod shown;
mod svid;
mod tls;
mod verify;

pub use clock::Clock;
pub use enrolment::{
    AnswerError, CaError, Enrolment, EnrolmentError, Event, Home, JoinToken, JoinTokenError, ServiceAccountError, ServiceAccountToken,
    StoreError, Token,
};
pub use error::{PeerError, TlsError, Unusable};
pub use identities::Identities;
pub use leaf::{Leaf, LeafError};
pub use shown::Shown;
pub use svid::{Svid, SvidError};
pub use tls::{ALPN, Accepted};
