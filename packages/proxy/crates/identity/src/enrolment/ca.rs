//! The call to the CA: one connection, one question, one answer. Called by `enrolment`; knows nothing of keys or disks.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use plait_wire::{SignRequest, SignResponse, identity_client::IdentityClient};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::{
    clock::Clock,
    config, control_plane,
    error::TlsError,
    tls::{GRPC_ALPN, handshake},
    verify::{Exactly, Trust},
};

/// A chain of eight and 64 roots of P-256 have some 50 KB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Why the CA gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Nobody listens, or there is no way.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    /// Something listens that is not our control plane.
    #[error("what listens at {0} is not the control plane: {1}")]
    Impostor(String, #[source] TlsError),
    /// It answered that it will not.
    #[error("the CA refuses: {}", .0.message())]
    Refused(Box<tonic::Status>),
    /// It could not answer.
    #[error("the CA cannot answer: {} {}", .0.code(), .0.message())]
    Failed(Box<tonic::Status>),
}

/// Asks the CA at `address` ("host:port"), which must prove to be the control plane of the trust domain.
pub(super) async fn sign(address: &str, trust: Arc<Trust>, clock: &Clock, request: SignRequest) -> Result<SignResponse, CaError> {
    let channel = connect(address, trust, clock).await?;
    let answer = IdentityClient::new(channel).max_decoding_message_size(LONGEST_ANSWER).sign(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied | tonic::Code::InvalidArgument => CaError::Refused(Box::new(status)),
        _ => CaError::Failed(Box::new(status)),
    })
}

async fn connect(address: &str, trust: Arc<Trust>, clock: &Clock) -> Result<Channel, CaError> {
    let unreachable = |error| CaError::Unreachable(address.to_owned(), error);
    let impostor = |error| CaError::Impostor(address.to_owned(), error);
    let name = control_plane::server_name(&trust.domain);
    let expected = control_plane::identity(&trust.domain).map_err(|error| unreachable(io::Error::other(error)))?;
    // We show no certificate: the proof is in the request.
    let mut config = config::client(Arc::new(Exactly { trust, expected: Some(expected) }), None, clock);
    config.alpn_protocols = vec![GRPC_ALPN.to_vec()];

    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let stream = match handshake(Arc::new(config).into(), stream, &name, GRPC_ALPN).await {
        Ok(stream) => stream,
        Err(TlsError::Handshake(error)) => return Err(unreachable(error)),
        Err(error) => return Err(impostor(error)),
    };
    // The connection is made here, where its errors still have a type, and handed over; a second one is never asked for.
    let mut made = Some(TokioIo::new(stream));
    let hand_over = service_fn(move |_: Uri| std::future::ready(made.take().ok_or_else(|| io::Error::other("the connection is used up"))));
    Endpoint::from_static("https://identity.plait")
        .connect_with_connector(hand_over)
        .await
        .map_err(|error| unreachable(io::Error::other(error)))
}
