//! Resources in force, and the snapshot made of them. A change set is applied whole; a resource that cannot be right rejects only itself,
//! its last good version stays. What did not change is shared with the snapshot before.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use plait_model::{
    Backend, Destination, DestinationKey, DestinationPort, Filters, Map, Mesh, ObjectRef, Policy, PolicyBinding, RouteTable, Rule,
    Snapshot, SpiffeId, WeightedBackend,
};
use plait_wire::{ChangeSet, Resource, ResourceKind};
use prost::Message;

use crate::convert::{self, Refused};

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
    mesh: Arc<Mesh>,
    workloads: BTreeMap<String, convert::Workload>,
    services: BTreeMap<String, convert::Service>,
    endpoints: BTreeMap<String, convert::PortEndpoints>,
    routes: BTreeMap<String, convert::Route>,
    /// With a hash of its bytes: what tells a changed policy from the same one sent again.
    policies: BTreeMap<String, (u64, Arc<Policy>)>,
    known: BTreeSet<String>,
    unknown: BTreeSet<String>,
    backends: Map<Arc<str>, Arc<Backend>>,
    destinations: Map<DestinationKey, Arc<Destination>>,
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
        let mut rejected = Vec::new();
        for resource in upserts {
            let (kind, name) = (resource.kind, resource.name.clone());
            if let Err(refused) = self.put(resource) {
                rejected.push(Rejected { kind, name, refused });
            }
        }
        for removal in removals {
            self.take(removal.kind, &removal.name);
        }
        for key in known {
            self.unknown.remove(&key);
            self.known.insert(key);
        }
        for key in unknown {
            self.known.remove(&key);
            self.unknown.insert(key);
        }
        Ok(Applied { snapshot: self.snapshot(), rejected })
    }

    fn put(&mut self, resource: Resource) -> Result<(), Refused> {
        let Resource { kind, name, version: _, body } = resource;
        fn read<T: Message + Default>(body: &[u8]) -> Result<T, Refused> {
            T::decode(body).map_err(|error| Refused::new("", error))
        }
        match ResourceKind::try_from(kind) {
            Ok(ResourceKind::Mesh) => self.mesh = Arc::new(convert::mesh(read(&body)?)?),
            Ok(ResourceKind::Workload) => drop(self.workloads.insert(name, convert::workload(read(&body)?)?)),
            Ok(ResourceKind::Service) => drop(self.services.insert(name, convert::service(read(&body)?)?)),
            Ok(ResourceKind::Endpoints) => {
                let new = convert::endpoints(read(&body)?, self.endpoints.get(&name))?;
                self.endpoints.insert(name, new);
            }
            Ok(ResourceKind::Route) => drop(self.routes.insert(name, convert::route(read(&body)?)?)),
            Ok(ResourceKind::Policy) => {
                let new = Arc::new(convert::policy(read(&body)?)?);
                self.policies.insert(name, (hash(&body), new));
            }
            Ok(ResourceKind::Unspecified) | Err(_) => return Err(Refused::new("kind", format_args!("unknown kind {kind}"))),
        }
        Ok(())
    }

    fn take(&mut self, kind: i32, name: &str) {
        match ResourceKind::try_from(kind) {
            Ok(ResourceKind::Workload) => drop(self.workloads.remove(name)),
            Ok(ResourceKind::Service) => drop(self.services.remove(name)),
            Ok(ResourceKind::Endpoints) => drop(self.endpoints.remove(name)),
            Ok(ResourceKind::Route) => drop(self.routes.remove(name)),
            Ok(ResourceKind::Policy) => drop(self.policies.remove(name)),
            // There is always a Mesh; of kinds that this build does not know it holds nothing.
            Ok(ResourceKind::Mesh | ResourceKind::Unspecified) | Err(_) => {}
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        self.backends = self
            .services
            .iter()
            .flat_map(|(name, service)| self.backends_of(name, service))
            .map(|backend| (backend.key.clone(), backend))
            .collect();
        self.destinations = self
            .known
            .iter()
            .filter_map(|name| self.services.get(name).map(|service| self.destination(name, service)))
            .map(|destination| (destination.key.clone(), destination))
            .collect();
        Snapshot {
            generation: self.generation,
            mesh: self.mesh.clone(),
            workloads: self
                .workloads
                .iter()
                .filter_map(|(name, held)| Some((name.as_str().into(), Arc::new(self.workload(held)?))))
                .collect(),
            destinations: self.destinations.clone(),
            unknown: self.unknown.iter().map(|key| DestinationKey::from_contract(key)).collect(),
            backends: self.backends.clone(),
        }
    }

    fn backends_of<'a>(&'a self, name: &'a str, service: &'a convert::Service) -> impl Iterator<Item = Arc<Backend>> + 'a {
        let held = self.endpoints.get(name);
        service.ports.iter().map(move |(_, port, _)| {
            let key: Arc<str> = format!("{name}:{port}").into();
            let endpoints = held.into_iter().flatten().find(|(its, _)| its == port).map_or_else(Vec::new, |(_, all)| all.clone());
            let turn = self.backends.get(&key).map(|before| before.turn.clone()).unwrap_or_default();
            Arc::new(Backend { key, service: name.into(), port: *port, endpoints, traffic: service.backend.clone(), turn })
        })
    }

    fn destination(&self, name: &str, service: &convert::Service) -> Arc<Destination> {
        let key = DestinationKey::from_contract(name);
        let last_used = self.destinations.get(&key).map(|before| before.last_used.clone()).unwrap_or_default();
        let ports = service.ports.iter().map(|(port_name, port, protocol)| {
            let (producer, consumers) = self.rules_for(name, *port);
            let implicit = || vec![(0, Arc::new(implicit_rule(name, service, *port)))];
            DestinationPort {
                name: port_name.as_str().into(),
                port: *port,
                protocol: *protocol,
                routes: Arc::new(RouteTable::new(if producer.is_empty() { implicit() } else { producer })),
                consumer_routes: consumers
                    .into_iter()
                    .map(|(namespace, rules)| (namespace.into(), Arc::new(RouteTable::new(rules))))
                    .collect(),
            }
        });
        Arc::new(Destination { ports: ports.collect(), key, last_used })
    }

    /// Rules of the producer routes, and of the consumer routes by namespace, with their route's age.
    fn rules_for(&self, service: &str, port: u16) -> (Aged, BTreeMap<&str, Aged>) {
        let (mut producer, mut consumers) = (Aged::new(), BTreeMap::<_, Aged>::new());
        for route in self.routes.values() {
            let aged = || route.rules.iter().map(|rule| (route.created, rule.clone()));
            let bound =
                route.parents.iter().filter(|parent| parent.service == service && (parent.port == 0 || parent.port == u32::from(port)));
            // A route may name a Service twice, with and without the port; it counts once.
            let namespaces: BTreeSet<_> = bound.map(|parent: &convert::Parent| parent.consumer_namespace.as_str()).collect();
            for namespace in namespaces {
                match namespace {
                    "" => producer.extend(aged()),
                    namespace => consumers.entry(namespace).or_default().extend(aged()),
                }
            }
        }
        (producer, consumers)
    }

    /// A number that changes when what calls to a workload are judged by changes.
    fn epoch(&self, policies: &[(String, Vec<u16>)]) -> u64 {
        let named: Vec<_> =
            policies.iter().map(|(name, ports)| (name, ports, self.policies.get(name).map(|(content, _)| content))).collect();
        hash((named, self.mesh.default_policy as u8, self.mesh.mtls_mode as u8))
    }

    /// `None` before the Mesh has told the trust domain: such a workload cannot be served at all.
    fn workload(&self, held: &convert::Workload) -> Option<plait_model::Workload> {
        let policies: Vec<_> = held
            .policies
            .iter()
            .map(|(name, ports)| PolicyBinding {
                name: name.as_str().into(),
                policy: self.policies.get(name).map(|(_, policy)| policy.clone()),
                ports: ports.clone(),
            })
            .collect();
        Some(plait_model::Workload {
            key: format!("{}/{}", held.namespace, held.name).into(),
            namespace: held.namespace.as_str().into(),
            name: held.name.as_str().into(),
            identity: Arc::new(SpiffeId::new(&self.mesh.trust_domain, &held.namespace, &held.service_account).ok()?),
            address: held.address,
            ports: held.model_ports(),
            inbound: held.inbound,
            outbound: held.outbound,
            binds: held.binds.clone(),
            zone: held.zone.as_str().into(),
            policy_epoch: self.epoch(&held.policies),
            policies,
        })
    }
}

type Aged = Vec<(u64, Arc<Rule>)>;

/// What a Service does that no route shapes: everything to itself.
fn implicit_rule(name: &str, service: &convert::Service, port: u16) -> Rule {
    let object = ObjectRef { kind: "Service".into(), namespace: service.namespace.as_str().into(), name: service.name.as_str().into() };
    Rule {
        object: Arc::new(object),
        index: 0,
        name: "".into(),
        label: "".into(),
        matches: Vec::new(),
        filters: Filters::default(),
        backends: vec![WeightedBackend { backend: format!("{name}:{port}").into(), invalid: None, weight: 1, filters: Filters::default() }],
        total_weight: 1,
        traffic: service.calls.clone(),
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
