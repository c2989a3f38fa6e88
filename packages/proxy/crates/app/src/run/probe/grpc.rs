//! A gRPC probe as kubelet makes it: grpc.health.v1.Health/Check, in plaintext; SERVING is well. Called by `probe`.

use std::net::SocketAddr;

use tonic::{client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

use super::Ill;

const SERVING: i32 = 1;

/// grpc.health.v1.HealthCheckRequest.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// grpc.health.v1.HealthCheckResponse.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

pub(super) async fn ask(address: SocketAddr, service: &str) -> Result<(), Ill> {
    let broken = |error: tonic::transport::Error| Ill::Answer(error.to_string());
    let channel = Endpoint::from_shared(format!("http://{address}")).map_err(broken)?.connect().await.map_err(broken)?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(broken)?;
    let question = tonic::Request::new(Question { service: service.to_owned() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<Question, Answer>::default();
    match client.unary(question, path, codec).await {
        Ok(answer) if answer.get_ref().status == SERVING => Ok(()),
        Ok(answer) => Err(Ill::Answer(format!("its health is {}", answer.get_ref().status))),
        Err(status) => Err(Ill::Answer(format!("{} {}", status.code(), status.message()))),
    }
}
