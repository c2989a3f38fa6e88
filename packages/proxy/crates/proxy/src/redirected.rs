//! Connections that the kernel redirected to us: the address that was dialled says what is called, never what is said inside. Called by
//! `connection`. What was not redirected is no call of an application: outbound it is closed, inbound only another proxy dials.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use plait_model::{DestinationKey, Egress, Lookup, Protocol, Workload};
use plait_telemetry::{Cut, Direction};
use tokio::net::TcpStream;

use crate::{
    answer::Opening,
    connection::{converse, plaintext},
    outbound,
    worker::Worker,
};

/// A call of our own workload.
pub(crate) async fn call(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr, workload: Arc<Workload>) {
    let Some(original) = plait_net::original_destination(&stream) else {
        // Passed on it would come back here.
        return worker.shared.telemetry.cut(Direction::Outbound, Cut::NotRedirected);
    };
    let (key, port) = (DestinationKey::of_address(original.ip()), original.port());
    let (mut call, record) = plaintext(worker, stream, from, workload, Direction::Outbound, Opening::Silent);
    let protocol = match outbound::discover(&call, &key).await {
        Ok((_, Lookup::Known(destination))) => match &destination.direct {
            Some(direct) => direct.protocol(port),
            None => destination.port(port).map_or(Protocol::Auto, |port| port.protocol_for(&call.workload.namespace)),
        },
        // Whatever it is, it is passed on as it came.
        Ok((snapshot, Lookup::Unknown)) if snapshot.mesh.egress == Egress::Allow => Protocol::Tcp,
        // It is refused; who speaks HTTP is told why.
        Ok((_, Lookup::Unknown)) | Err(_) => Protocol::Auto,
    };
    let authority = key.authority(port);
    (call.fixed, call.port) = (Some(key), Some(port));
    converse(call, record, protocol, &authority).await;
}

/// The port of the workload that a caller without proxy dialled; `None` = it dialled ours.
pub(crate) fn port(stream: &TcpStream) -> Option<u16> {
    plait_net::original_destination(stream).map(|original| original.port())
}
