//! Resources in force. A change set is applied whole; a resource that cannot be right rejects only itself, its last good version stays.
//! What did not change is shared with the snapshot before. Called by `session` and for questions offline; how things are joined stands in
//! `join`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use plait_model::{Destination, DestinationKey, Snapshot};
use plait_wire::{ChangeSet, Resource, ResourceKind, ResourceVersion};
use prost::{Message, bytes::Bytes};

use crate::{
    convert::{self, Refused},
    held::{Held, Touched},
    join::Joined,
};

/// A resource of a change set that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its kind, as the contract numbers it.
    pub kind: i32,
    /// Its name.
    pub name: String,
    /// Where and why.
    pub refused: Refused,
}

/// A change set of an older world: the proxy goes on with what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("generation {offered} is older than {held}, which is in force")]
pub struct Stale {
    /// Of the change set.
    pub offered: u64,
    /// In force.
    pub held: u64,
}

/// The outcome of a change set.
#[derive(Debug)]
pub struct Applied {
    /// To be published.
    pub snapshot: Snapshot,
    /// Resources that were left out, or stay at their last good version.
    pub rejected: Vec<Rejected>,
}

/// Everything that the control plane has told this proxy.
#[derive(Debug, Default)]
pub struct Resources {
    generation: u64,
    /// As they came, so that they can be named after a reconnect and kept on disk. Only what is in force.
    sent: BTreeMap<(i32, String), Sent>,
    held: Held,
    joined: Joined,
    known: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

#[derive(Debug)]
struct Sent {
    version: Vec<u8>,
    body: Bytes,
}

/// What is known of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A Service of the mesh.
    Known,
    /// Not of the mesh.
    Unknown,
    /// It must be asked for again.
    Forgotten,
}

/// The snapshot of one serialised change set that holds a whole world, for static configuration and offline questions.
pub fn snapshot_of(bytes: &[u8]) -> Result<Applied, String> {
    let changes = ChangeSet::decode(bytes).map_err(|error| format!("not a serialised plait.v1.ChangeSet: {error}"))?;
    Resources::default().apply(changes).map_err(|stale| stale.to_string())
}

impl Resources {
    /// Applies a change set whole and makes the snapshot that follows.
    pub fn apply(&mut self, changes: ChangeSet) -> Result<Applied, Stale> {
        let ChangeSet { nonce: _, generation, upserts, removals, known, unknown } = changes;
        if generation < self.generation {
            return Err(Stale { offered: generation, held: self.generation });
        }
        self.generation = generation;
        let mut touched = Touched::default();
        let mut rejected = Vec::new();
        for resource in upserts {
            let (kind, name) = (resource.kind, resource.name.clone());
            if let Err(refused) = self.put(resource, &mut touched) {
                rejected.push(Rejected { kind, name, refused });
            }
        }
        for removal in removals {
            self.take(removal.kind, removal.name, &mut touched);
        }
        for key in known {
            self.note(key, Answer::Known, &mut touched);
        }
        for key in unknown {
            self.note(key, Answer::Unknown, &mut touched);
        }
        self.joined.rejoin(&self.held, &self.known, &touched);
        Ok(Applied { snapshot: self.snapshot(), rejected })
    }

    /// What is in force.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            generation: self.generation,
            mesh: self.held.mesh.clone(),
            workloads: self.joined.workloads.clone(),
            destinations: self.joined.destinations.clone(),
            unknown: self.unknown.iter().map(|key| DestinationKey::from_contract(key)).collect(),
            backends: self.joined.backends.clone(),
            plugins: self.held.plugins.clone(),
        }
    }

    /// The generation in force; 0 = nothing was ever applied.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything in force as one change set; what was answered with "unknown" is left out, since such answers are short-lived.
    pub fn to_change_set(&self) -> ChangeSet {
        let resource = |((kind, name), sent): (&(i32, String), &Sent)| Resource {
            kind: *kind,
            name: name.clone(),
            version: sent.version.clone(),
            body: sent.body.clone(),
        };
        ChangeSet {
            generation: self.generation,
            upserts: self.sent.iter().map(resource).collect(),
            known: self.known.iter().cloned().collect(),
            ..ChangeSet::default()
        }
    }

    pub(crate) fn versions(&self) -> Vec<ResourceVersion> {
        let version = |((kind, name), sent): (&(i32, String), &Sent)| ResourceVersion {
            kind: *kind,
            name: name.clone(),
            version: sent.version.clone(),
        };
        self.sent.iter().map(version).collect()
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(String::as_str)
    }

    pub(crate) fn destination(&self, key: &str) -> Option<&Arc<Destination>> {
        self.joined.destinations.get(key)
    }

    /// The world moved on without touching this proxy.
    pub(crate) fn move_to(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// Changes what is known of destinations, without a word of the control plane.
    pub(crate) fn answer(&mut self, keys: impl IntoIterator<Item = String>, answer: Answer) {
        let mut touched = Touched::default();
        for key in keys {
            self.note(key, answer, &mut touched);
        }
        self.joined.rejoin(&self.held, &self.known, &touched);
    }

    fn note(&mut self, key: String, answer: Answer, touched: &mut Touched) {
        self.unknown.remove(&key);
        match answer {
            Answer::Known if self.known.contains(&key) => return,
            Answer::Known => drop(self.known.insert(key.clone())),
            Answer::Unknown => {
                self.known.remove(&key);
                self.unknown.insert(key.clone());
            }
            Answer::Forgotten => drop(self.known.remove(&key)),
        }
        touched.destinations.insert(key);
    }

    fn put(&mut self, resource: Resource, touched: &mut Touched) -> Result<(), Refused> {
        let Resource { kind, name, version, body } = resource;
        let key = (kind, name);
        if let Some(sent) = self.sent.get_mut(&key).filter(|sent| sent.body == body) {
            sent.version = version;
            return Ok(());
        }
        let name = key.1.clone();
        match ResourceKind::try_from(kind) {
            Ok(ResourceKind::Mesh) => self.held.put_mesh(convert::mesh(read(&body)?)?, touched),
            Ok(ResourceKind::Workload) => self.held.put_workload(name, convert::workload(read(&body)?)?, touched),
            Ok(ResourceKind::Service) => self.held.put_service(name, convert::service(read(&body)?)?, touched),
            Ok(ResourceKind::Endpoints) => {
                let before = self.held.endpoints.get(&name);
                self.held.put_endpoints(name, convert::endpoints(read(&body)?, before)?, touched);
            }
            Ok(ResourceKind::Route) => self.held.put_route(name, convert::route(read(&body)?)?, touched),
            Ok(ResourceKind::Policy) => self.held.put_policy(name, convert::policy(read(&body)?)?, &body, touched),
            Ok(ResourceKind::Plugin) => self.held.put_plugin(convert::plugin(&name, &version, read(&body)?)?, touched),
            Ok(ResourceKind::Direct) => self.held.put_direct(name, convert::direct(read(&body)?)?, touched),
            Ok(ResourceKind::Unspecified) | Err(_) => return Err(Refused::new("kind", format_args!("unknown kind {kind}"))),
        }
        // A copy: the body is a window into its whole message, which would stay in memory with it.
        self.sent.insert(key, Sent { version, body: Bytes::copy_from_slice(&body) });
        Ok(())
    }

    fn take(&mut self, kind: i32, name: String, touched: &mut Touched) {
        match ResourceKind::try_from(kind) {
            Ok(ResourceKind::Workload) => self.held.take_workload(&name, touched),
            Ok(ResourceKind::Service) => self.held.take_service(&name, touched),
            Ok(ResourceKind::Endpoints) => self.held.take_endpoints(&name, touched),
            Ok(ResourceKind::Route) => self.held.take_route(&name, touched),
            Ok(ResourceKind::Policy) => self.held.take_policy(&name, touched),
            Ok(ResourceKind::Plugin) => self.held.take_plugin(&name, touched),
            Ok(ResourceKind::Direct) => self.held.take_direct(&name, touched),
            // There is always a Mesh; of kinds that this build does not know it holds nothing.
            Ok(ResourceKind::Mesh | ResourceKind::Unspecified) | Err(_) => return,
        }
        self.sent.remove(&(kind, name));
    }
}

fn read<T: Message + Default>(body: &[u8]) -> Result<T, Refused> {
    T::decode(body).map_err(|error| Refused::new("", error))
}
