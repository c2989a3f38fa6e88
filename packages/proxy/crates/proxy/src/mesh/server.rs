//! Connections from other proxies: mutual TLS, then streams of HTTP/2 to ports of the workload that the caller asked for by name.
//! Called by `connection` for what begins with a TLS handshake. Whom a caller may reach is judged in `request`, stream by stream.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::SystemTime};

use plait_identity::Accepted;
use plait_model::{Peer, Workload};
use plait_telemetry::{Cut, Direction, Protocol};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{ENCRYPTED, cryptography};
use crate::{
    http2::{self, HANDSHAKE, Party},
    io::Whole,
    shared::{ConnectionInfo, Connections},
    worker::Worker,
};

/// Serves a connection to its end. That of the caller's certificate is for new requests; a root of its that is no longer trusted cuts what is
/// under way.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr) {
    if plait_net::notice_vanished(&stream).is_err() {
        // It is gone already.
        return;
    }
    // Who breaks the handshake is a stranger, and gets no more than the alert of TLS.
    let accepted = match tokio::time::timeout(HANDSHAKE, worker.shared.identities.accept(Whole::gathering(stream))).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(_)) => return,
        Err(_) => return worker.shared.telemetry.cut(Direction::Inbound, Cut::SlowHandshake),
    };
    let Some(workload) = worker.shared.world.load().workloads.get(&*accepted.workload).cloned() else { return };
    let Accepted { mut stream, peer, not_after, shown, .. } = accepted;
    stream.get_mut().1.set_buffer_limit(Some(ENCRYPTED));
    let entry = Rc::new(Connections::enter(&worker.shared, info(&stream, &workload, peer.as_str(), from)));
    let peer = Peer { identity: Some(peer), address: from.ip() };
    let counted = worker.shared.telemetry.connection(Direction::Inbound, Protocol::Http2, &source(&peer), &service(&workload), true);
    let valid_for = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let distrusted = worker.shared.identities.clone().distrusts(shown);
    let party = Party { worker, workload, direction: Direction::Inbound, peer, fixed: None, port: None, proxy: Some(entry) };
    tokio::select! {
        () = http2::serve(stream, party, tokio::time::sleep(valid_for)) => {}
        () = distrusted => {}
    }
    drop(counted);
}

fn info(stream: &TlsStream<Whole>, workload: &Workload, identity: &str, from: SocketAddr) -> ConnectionInfo {
    let (tls, group) = cryptography(stream.get_ref().1);
    ConnectionInfo {
        direction: "inbound",
        workload: workload.key.clone(),
        identity: identity.to_owned(),
        peer: "".into(),
        address: from,
        tls,
        group,
        since_unix: 0,
        requests: 0,
    }
}

/// "namespace/service account" of a caller.
fn source(peer: &Peer) -> Arc<str> {
    peer.identity.as_ref().map_or_else(|| "".into(), |id| format!("{}/{}", id.namespace(), id.service_account()).into())
}

/// The Service that a connection to the workload counts for: that of its first port.
fn service(workload: &Workload) -> Arc<str> {
    workload.ports.first().map_or_else(|| workload.key.clone(), |port| port.service.clone())
}
