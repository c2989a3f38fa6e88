//! Joins converted resources into what a snapshot holds: destinations with their route tables, backends with their endpoints, workloads
//! with their policies. A change joins only what it touches; the rest keeps its `Arc`, and with it what was learnt about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
};

use plait_model::{
    Backend, CallChains, CallScope, CallTraffic, Destination, DestinationKey, DestinationPort, Direct, Filters, HashTable, Map, ObjectRef,
    PolicyBinding, PortChains, RouteKind, RouteTable, Rule, Sessions, SpiffeId, WeightedBackend, Workload, Zones,
};

use crate::{
    convert,
    held::{Aged, Called, Held, Touched},
};

/// The children of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    pub(crate) workloads: Map<Box<str>, Arc<Workload>>,
    pub(crate) destinations: Map<DestinationKey, Arc<Destination>>,
    pub(crate) backends: Map<Arc<str>, Arc<Backend>>,
    /// Keys of the backends of a Service.
    backends_of: BTreeMap<String, Vec<Arc<str>>>,
}

impl Joined {
    /// Brings what was touched up to date.
    pub(crate) fn rejoin(&mut self, held: &Held, known: &BTreeSet<String>, touched: &Touched) {
        for (name, workload) in &held.workloads {
            let judged_anew = || workload.policies.iter().any(|(policy, _)| touched.policies.contains(policy));
            let passed_anew = || workload.plugins().any(|plugin| touched.plugins.contains(plugin));
            if touched.mesh || touched.workloads.contains(name) || judged_anew() || passed_anew() {
                match join_workload(held, workload, self.workloads.get(name.as_str())) {
                    Some(joined) => drop(self.workloads.insert(name.as_str().into(), Arc::new(joined))),
                    None => drop(self.workloads.remove(name.as_str())),
                }
            }
        }
        for gone in touched.workloads.iter().filter(|name| !held.workloads.contains_key(*name)) {
            self.workloads.remove(gone.as_str());
        }
        for service in &touched.backends {
            self.rejoin_backends(held, service);
        }
        let services = touched.destinations.iter().filter_map(|name| held.services.get(name));
        let addresses: BTreeSet<_> = services.flat_map(|service| &service.addresses).map(|one| DestinationKey::of_address(*one)).collect();
        for key in touched.destinations.iter().map(String::as_str).chain(addresses.iter().map(DestinationKey::as_str)) {
            let joined = match held.called(key).filter(|_| known.contains(key)) {
                Some(Called::Service(name, content)) => self.join_destination(held, (key, name), content),
                Some(Called::Direct(direct)) => self.join_direct(key, direct),
                None => {
                    self.destinations.remove(key);
                    continue;
                }
            };
            self.destinations.insert(DestinationKey::from_contract(key), joined);
        }
    }

    fn rejoin_backends(&mut self, held: &Held, service: &str) {
        let ports = held.services.get(service).map_or(&[][..], |content| &content.ports);
        let keys: Vec<Arc<str>> = ports.iter().map(|(_, port, _)| format!("{service}:{port}").into()).collect();
        for gone in self.backends_of.remove(service).into_iter().flatten().filter(|key| !keys.contains(key)) {
            self.backends.remove(&gone);
        }
        let Some(content) = held.services.get(service) else { return };
        for (key, (_, port, protocol)) in keys.iter().zip(ports) {
            let endpoints = held.endpoints.get(service).into_iter().flatten().find(|(its, _)| its == port).map_or(&[][..], |(_, all)| all);
            let before = self.backends.get(key);
            if before.is_some_and(|before| {
                same(&before.endpoints, endpoints) && before.protocol == *protocol && before.traffic == content.backend
            }) {
                continue;
            }
            let state = before.map(|before| before.state.clone()).unwrap_or_default();
            let (endpoints, traffic) = (endpoints.to_vec(), content.backend.clone());
            let (key, service) = (key.clone(), service.into());
            let backend = Backend {
                key: key.clone(),
                service,
                port: *port,
                protocol: *protocol,
                hash_table: HashTable::new(traffic.algorithm, &endpoints),
                sessions: Sessions::default(),
                zones: traffic.zone_aware.and_then(|_| Zones::new(traffic.algorithm, &endpoints)),
                endpoints,
                traffic,
                state,
            };
            self.backends.insert(key, Arc::new(backend));
        }
        self.backends_of.insert(service.to_owned(), keys);
    }

    fn join_direct(&self, key: &str, direct: &Arc<Direct>) -> Arc<Destination> {
        let last_used = self.last_used(key);
        let key = DestinationKey::from_contract(&direct.workload);
        Arc::new(Destination { key, direct: Some(direct.clone()), ports: Vec::new(), last_used })
    }

    /// When a destination was last dialled goes with its key, whatever that stands for.
    fn last_used(&self, key: &str) -> Arc<AtomicU64> {
        self.destinations.get(key).map(|before| before.last_used.clone()).unwrap_or_default()
    }

    fn join_destination(&self, held: &Held, (key, name): (&str, &str), service: &convert::Service) -> Arc<Destination> {
        let before = self.destinations.get(key).filter(|before| before.key.as_str() == name);
        let ports = service.ports.iter().map(|(port_name, port, protocol)| {
            let before = before.and_then(|before| before.port(*port));
            let (producer, consumers) = held.rules_for(name, *port);
            let consumer = |(namespace, rules): (&str, Aged)| {
                let before = before.and_then(|before| before.consumer_routes.get(namespace));
                (namespace.into(), table(rules, before))
            };
            DestinationPort {
                name: port_name.as_str().into(),
                port: *port,
                protocol: *protocol,
                routes: match producer.is_empty() {
                    true => implicit_table(name, service, *port, before),
                    false => table(producer, before.map(|before| &before.routes)),
                },
                consumer_routes: consumers.into_iter().map(consumer).collect(),
            }
        });
        let (ports, last_used) = (ports.collect(), self.last_used(key));
        Arc::new(Destination { key: DestinationKey::from_contract(name), direct: None, ports, last_used })
    }
}

/// True when both are the same in the same order, by their `Arc`.
fn same<T>(one: &[Arc<T>], other: &[Arc<T>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// The table of these rules: the one before, when it was made of the same. A route that changes brings new rules, its age included.
fn table(rules: Aged, before: Option<&Arc<RouteTable>>) -> Arc<RouteTable> {
    let place = |rule: &Arc<Rule>| Arc::as_ptr(rule);
    let reusable = before.filter(|before| {
        let wanted: BTreeSet<_> = rules.iter().map(|(_, rule)| place(rule)).collect();
        before.rules().len() == rules.len() && before.rules().iter().all(|rule| wanted.contains(&place(rule)))
    });
    reusable.map_or_else(|| Arc::new(RouteTable::new(rules)), Arc::clone)
}

/// What a Service does that no route shapes: everything to itself.
fn implicit_table(name: &str, service: &convert::Service, port: u16, before: Option<&DestinationPort>) -> Arc<RouteTable> {
    let unchanged = |before: &&DestinationPort| match before.routes.rules() {
        [rule] => rule.is_implicit() && rule.traffic == service.calls,
        _ => false,
    };
    if let Some(before) = before.filter(unchanged) {
        return before.routes.clone();
    }
    Arc::new(RouteTable::new(vec![(0, Arc::new(implicit_rule(name, service, port)))]))
}

fn implicit_rule(name: &str, service: &convert::Service, port: u16) -> Rule {
    let object = ObjectRef { kind: "Service".into(), namespace: service.namespace.as_str().into(), name: service.name.as_str().into() };
    Rule {
        object: Arc::new(object),
        kind: RouteKind::Http,
        index: 0,
        name: "".into(),
        label: "".into(),
        hostnames: Vec::new(),
        matches: Vec::new(),
        filters: Filters::default(),
        backends: vec![WeightedBackend { backend: format!("{name}:{port}").into(), invalid: None, weight: 1, filters: Filters::default() }],
        total_weight: 1,
        traffic: CallTraffic::clone(&service.calls),
        sessions: None,
    }
}

/// `None` before the Mesh has told the trust domain: such a workload cannot be served at all.
fn join_workload(held: &Held, content: &convert::Workload, before: Option<&Arc<Workload>>) -> Option<Workload> {
    let binding =
        |(name, ports): &(String, Vec<u16>)| PolicyBinding { name: name.as_str().into(), policy: held.policy(name), ports: ports.clone() };
    Some(Workload {
        key: format!("{}/{}", content.namespace, content.name).into(),
        namespace: content.namespace.as_str().into(),
        name: content.name.as_str().into(),
        identity: Arc::new(SpiffeId::new(&held.mesh.trust_domain, &content.namespace, &content.service_account).ok()?),
        address: content.address,
        ports: content.ports.iter().map(|port| port.joined(before)).collect(),
        inbound: content.inbound,
        outbound: content.outbound,
        binds: content.binds.clone(),
        redirected: content.redirected,
        zone: content.zone.as_str().into(),
        policies: content.policies.iter().map(binding).collect(),
        policy_epoch: held.epoch(&content.policies),
        arrivals: arrivals(held, content, before),
        calls: calls(held, content, before),
    })
}

fn arrivals(held: &Held, content: &convert::Workload, before: Option<&Arc<Workload>>) -> PortChains {
    let plugin = |named: &convert::Named<u16>| (named.name.clone(), held.plugins.get(&named.name).cloned(), named.what.clone());
    let plugins: Vec<_> = content.inbound_plugins.iter().map(plugin).collect();
    PortChains::new(&plugins, before.map(|before| &before.arrivals))
}

fn calls(held: &Held, content: &convert::Workload, before: Option<&Arc<Workload>>) -> CallChains {
    let plugin = |named: &convert::Named<CallScope>| (named.name.clone(), held.plugins.get(&named.name).cloned(), named.what.clone());
    let plugins: Vec<_> = content.outbound_plugins.iter().map(plugin).collect();
    CallChains::new(&plugins, before.map(|before| &before.calls))
}
