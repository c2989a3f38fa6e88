//! `run --resources`: the whole world from a file, identities from a folder. For benchmarks, tests and a first look; nothing is followed or
//! renewed.

use std::{path::Path, sync::Arc};

use plait_discovery::snapshot_of;
use plait_identity::{Identities, Leaf};
use plait_model::{Snapshot, World};
use plait_proxy_core::Shared;
use plait_telemetry::Telemetry;

use super::{
    RunError, admin, follow,
    ready::Readiness,
    settings::Door,
    status::{Source, Status, say},
};

/// Everything in force as the files say; the workers are still to be started.
pub(crate) fn start(socket: &Path, resources: &Path, identity_dir: &Path, door: Option<Door>) -> Result<Arc<Shared>, RunError> {
    let snapshot = read(resources)?;
    let identities = Identities::new();
    for workload in snapshot.workloads.values() {
        let wrong = |why: String| RunError::Leaf(workload.key.to_string(), why);
        let leaf = leaf(identity_dir, workload.identity.service_account()).map_err(wrong)?;
        if *leaf.identity() != *workload.identity {
            return Err(wrong(format!("the one in {} is for {}", identity_dir.display(), leaf.identity())));
        }
        identities.set_leaf(workload.key.clone(), leaf);
    }
    // Nobody answers demands: what is not in the file stays unanswered, and its callers get 503.
    let (world, _) = World::new();
    let shared = Shared::new(world, identities, Telemetry::new(std::io::stdout()));
    let status = Arc::new(Status::default());
    status.set_source(Source::Static);
    let readiness = Readiness { shared: shared.clone(), status };
    admin::start(socket, readiness.clone())?;
    follow::start(readiness, door);
    shared.world.publish(snapshot);
    Ok(shared)
}

fn read(path: &Path) -> Result<Snapshot, RunError> {
    let bytes = std::fs::read(path).map_err(|error| RunError::Unreadable(path.to_owned(), error))?;
    let applied = snapshot_of(&bytes).map_err(|why| RunError::Resources(path.to_owned(), why))?;
    for rejected in &applied.rejected {
        say(format_args!("! {} was refused: {}", rejected.name, rejected.refused));
    }
    if applied.snapshot.workloads.is_empty() {
        return Err(RunError::Resources(path.to_owned(), "it holds no workload, or no Mesh: there is nothing to serve".to_owned()));
    }
    Ok(applied.snapshot)
}

/// The leaf of a service account: in a folder of its name, else in `folder` itself.
fn leaf(folder: &Path, account: &str) -> Result<Leaf, String> {
    let own = folder.join(account);
    let place = if own.is_dir() { &own } else { folder };
    Leaf::load(place).map_err(|error| error.to_string())
}
