//! Connections to other proxies. A connection carries one identity of ours to one workload of theirs; many requests share it.
//! Called by `upstream`. Fails closed: without proof of the identity that the endpoint must have, nothing is sent.

use std::{rc::Rc, sync::Arc, time::Duration};

use plait_identity::{Shown, TlsError};
use plait_model::{Endpoint, Reason, SpiffeId, Workload};
use tokio::net::TcpStream;

use super::{ENCRYPTED, cryptography};
use crate::{
    failed::Failed,
    io::Whole,
    multiplex::{Key, Live, Proof, Stream, Unopened},
    reject::Reject,
    shared::{ConnectionInfo, Connections},
    worker::Worker,
};

/// A connection to `endpoint` that takes one more request, dialled when there is none.
pub(crate) async fn stream(worker: &Rc<Worker>, source: &Workload, endpoint: &Arc<Endpoint>, patience: Duration) -> Result<Stream, Failed> {
    let Some(expected) = &endpoint.identity else {
        return Err(failed(Reason::Internal, "an endpoint without identity is no proxy".into()));
    };
    let key = Key::Proxy { source: source.key.clone(), server_name: endpoint.server_name.clone(), address: endpoint.address };
    let proof = Proof { identity: Some(expected.clone()), trust: worker.trust() };
    let dialled = worker.connections.stream(key, &proof, patience, || dial(worker, source, endpoint, (expected, &proof))).await;
    dialled.map_err(|unopened| match unopened {
        Unopened::Failed(failed) => failed,
        Unopened::Ended(error) => refused(endpoint, &error),
        Unopened::Late => {
            failed(Reason::UpstreamUnreachable, format!("{} did not accept a connection within {patience:?}", endpoint.workload))
        }
    })
}

async fn dial(
    worker: &Rc<Worker>,
    source: &Workload,
    endpoint: &Endpoint,
    (expected, proof): (&Arc<SpiffeId>, &Proof),
) -> Result<Live, Failed> {
    let stream = TcpStream::connect(endpoint.address).await.map_err(|error| refused(endpoint, &error))?;
    stream.set_nodelay(true).and_then(|()| plait_net::notice_vanished(&stream)).map_err(|error| refused(endpoint, &error))?;
    let secured = worker.shared.identities.connect(&source.key, Whole::gathering(stream), &endpoint.server_name, expected).await;
    let mut stream = secured.map_err(|error: TlsError| failed(error.reason(), format!("{}: {error}", endpoint.workload)))?;
    stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
    let (tls, group) = cryptography(stream.get_ref().1);
    let info = ConnectionInfo {
        direction: "outbound",
        workload: source.key.clone(),
        identity: expected.as_str().to_owned(),
        peer: endpoint.workload.clone(),
        address: endpoint.address,
        tls,
        group,
        since_unix: 0,
        requests: 0,
    };
    let identities = &worker.shared.identities;
    let shown = Shown::by_server(stream.get_ref().1, identities);
    let shown = shown.ok_or_else(|| failed(Reason::Internal, "a handshake without certificate".into()))?;
    let distrusted = identities.clone().distrusts(shown);
    let live = Live::vouched(stream, proof.clone(), (&worker.connections, worker.limits().head_bytes), distrusted)
        .await
        .map_err(|error| refused(endpoint, &error))?;
    Ok(live.listed(Connections::enter(&worker.shared, info)))
}

fn refused(endpoint: &Endpoint, error: &dyn std::fmt::Display) -> Failed {
    failed(Reason::UpstreamUnreachable, format!("{} does not accept connections: {error}", endpoint.workload))
}

fn failed(reason: Reason, detail: String) -> Failed {
    Failed::undelivered(Reject { detail, ..Reject::new(reason, 0) })
}
