//! The listeners of a worker: those that the workloads of the snapshot ask for, opened and closed as it changes. Called by `worker`.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use plait_model::{Map, Workload};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    connection::{self, Entrance},
    shared::Listening,
    worker::Worker,
};

/// A listener that could not be opened is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// When no connection can be accepted (no descriptors are left), the next try waits so long instead of spinning.
const PAUSE: Duration = Duration::from_millis(50);

/// What an address is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Purpose {
    workload: Arc<str>,
    entrance: Entrance,
    /// Another listener has the same port of IPv4.
    twin: bool,
}

#[derive(Debug)]
struct Open {
    purpose: Purpose,
    accepting: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Follows the snapshot until the drain begins, then closes all listeners.
pub(crate) async fn follow(worker: &Rc<Worker>, share_ports: bool) {
    let mut changes = worker.shared.world.changes();
    let mut open: Map<SocketAddr, Open> = Map::default();
    loop {
        let snapshot = worker.shared.world.load_full();
        let wanted = wanted(snapshot.workloads.values());
        open.retain(|address, held| wanted.get(address) == Some(&held.purpose));
        let mut failed = Vec::new();
        for (address, purpose) in wanted {
            if open.contains_key(&address) {
                continue;
            }
            let listening = match address {
                SocketAddr::V6(beside) if purpose.twin => plait_net::listen_beside_ipv4(beside, share_ports),
                SocketAddr::V6(_) | SocketAddr::V4(_) => plait_net::listen(address, share_ports),
            };
            match listening {
                Ok(listener) => {
                    let accepting = tokio::task::spawn_local(accept(worker.clone(), listener, purpose.clone()));
                    open.insert(address, Open { purpose, accepting });
                }
                Err(error) => failed.push((address, error.to_string())),
            }
        }
        let again = !failed.is_empty();
        let listening = Listening { generation: snapshot.generation, open: open.keys().copied().collect(), failed };
        worker.shared.listening.send_if_modified(|before| std::mem::replace(before, listening.clone()) != listening);
        tokio::select! {
            // The world lives as long as we do.
            _ = changes.changed() => {}
            () = tokio::time::sleep(AGAIN), if again => {}
            () = worker.shared.drain.begun() => break,
        }
    }
    for held in open.values_mut() {
        // It fails only when it panicked; it has ended then, too.
        let _ = (&mut held.accepting).await;
    }
}

fn wanted<'w>(workloads: impl Iterator<Item = &'w Arc<Workload>>) -> Map<SocketAddr, Purpose> {
    let mut all = Map::default();
    for workload in workloads {
        let purpose = |entrance| Purpose { workload: workload.key.clone(), entrance, twin: false };
        let calls = workload.outbound.map(|address| (address, Entrance::Outbound));
        for (address, entrance) in calls.into_iter().chain([(workload.inbound, Entrance::Inbound)]) {
            if let Some(twin) = twin(address).filter(|_| workload.redirected) {
                all.insert(twin.into(), Purpose { twin: true, ..purpose(entrance.clone()) });
            }
            all.insert(address, purpose(entrance));
        }
        all.extend(workload.binds.iter().map(|bind| (bind.listen, purpose(Entrance::Bound(bind.clone())))));
    }
    all
}

/// What is redirected stays in its family of addresses: the same port there, where both are told by one address of IPv4.
fn twin(address: SocketAddr) -> Option<SocketAddrV6> {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv6Addr::UNSPECIFIED,
        IpAddr::V4(host) if host.is_loopback() => Ipv6Addr::LOCALHOST,
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    plait_net::has_ipv6().then(|| SocketAddrV6::new(host, address.port(), 0, 0))
}

/// Accepts until the drain begins; those who connected before it are not turned away.
async fn accept(worker: Rc<Worker>, listener: TcpListener, purpose: Purpose) {
    let mut draining = worker.shared.drain.watch();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = draining.begun() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(_) if worker.shared.drain.has_begun() => return,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let snapshot = worker.shared.world.load();
        let Some(workload) = snapshot.workloads.get(&*purpose.workload) else { continue };
        let admitted = worker.shared.admit(snapshot.mesh.limits.connections);
        let Some(admitted) = admitted.filter(|_| stream.set_nodelay(true).is_ok()) else {
            // Closed at once: the caller's sidecar goes elsewhere.
            continue;
        };
        worker.spawn(connection::serve(worker.clone(), (stream, from), (workload.clone(), purpose.entrance.clone()), admitted));
    }
}
