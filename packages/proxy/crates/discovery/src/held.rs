//! The resources that were converted, by name, before they are joined; and which of the joined things a change touches.
//! Written by `apply`, read by `join`.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use plait_model::{DestinationKey, Direct, Mesh, Plugin, Policy, Rule};

use crate::convert;

/// Converted resources.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) workloads: BTreeMap<String, convert::Workload>,
    pub(crate) services: BTreeMap<String, convert::Service>,
    pub(crate) endpoints: BTreeMap<String, convert::PortEndpoints>,
    routes: BTreeMap<String, convert::Route>,
    /// With a hash of its bytes: what tells a changed policy from the same one sent again.
    policies: BTreeMap<String, (u64, Arc<Policy>)>,
    /// Workloads by their own address.
    directs: BTreeMap<String, Arc<Direct>>,
    /// Services by the addresses at which they are called.
    addresses: BTreeMap<String, String>,
    pub(crate) plugins: BTreeMap<Arc<str>, Arc<Plugin>>,
    /// Names of the routes that bind a Service.
    bound: BTreeMap<String, BTreeSet<String>>,
}

/// What a change set touches: this and no more is joined anew.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) mesh: bool,
    pub(crate) workloads: BTreeSet<String>,
    pub(crate) policies: BTreeSet<String>,
    pub(crate) plugins: BTreeSet<Arc<str>>,
    /// Services whose backends are to be joined anew.
    pub(crate) backends: BTreeSet<String>,
    /// Services as their callers see them, by name; and addresses that may stand for something else now.
    pub(crate) destinations: BTreeSet<String>,
}

/// What a destination is.
#[derive(Debug)]
pub(crate) enum Called<'h> {
    /// A Service, and its name.
    Service(&'h str, &'h convert::Service),
    /// A workload, by its own address.
    Direct(&'h Arc<Direct>),
}

/// Rules with the age of their route.
pub(crate) type Aged = Vec<(u64, Arc<Rule>)>;

impl Held {
    pub(crate) fn put_mesh(&mut self, mesh: Mesh, touched: &mut Touched) {
        self.mesh = Arc::new(mesh);
        touched.mesh = true;
    }

    pub(crate) fn put_workload(&mut self, name: String, workload: convert::Workload, touched: &mut Touched) {
        touched.workloads.insert(name.clone());
        self.workloads.insert(name, workload);
    }

    pub(crate) fn take_workload(&mut self, name: &str, touched: &mut Touched) {
        touched.workloads.insert(name.to_owned());
        self.workloads.remove(name);
    }

    pub(crate) fn put_service(&mut self, name: String, service: convert::Service, touched: &mut Touched) {
        self.take_service(&name, touched);
        for address in service.addresses.iter().map(address) {
            touched.destinations.insert(address.clone());
            self.addresses.insert(address, name.clone());
        }
        self.services.insert(name, service);
    }

    pub(crate) fn take_service(&mut self, name: &str, touched: &mut Touched) {
        touched.service(name);
        for address in self.services.remove(name).into_iter().flat_map(|service| service.addresses).map(|one| address(&one)) {
            // It may have been given to another Service since.
            if self.addresses.get(&address).is_some_and(|holder| holder == name) {
                self.addresses.remove(&address);
            }
            touched.destinations.insert(address);
        }
    }

    pub(crate) fn put_direct(&mut self, name: String, direct: Direct, touched: &mut Touched) {
        touched.destinations.insert(name.clone());
        self.directs.insert(name, Arc::new(direct));
    }

    pub(crate) fn take_direct(&mut self, name: &str, touched: &mut Touched) {
        touched.destinations.insert(name.to_owned());
        self.directs.remove(name);
    }

    /// What stands behind the key of a destination.
    pub(crate) fn called(&self, key: &str) -> Option<Called<'_>> {
        let name = self.addresses.get(key).map_or(key, String::as_str);
        match self.services.get_key_value(name) {
            Some((name, service)) => Some(Called::Service(name, service)),
            None => self.directs.get(key).map(Called::Direct),
        }
    }

    pub(crate) fn put_endpoints(&mut self, name: String, endpoints: convert::PortEndpoints, touched: &mut Touched) {
        touched.backends.insert(name.clone());
        self.endpoints.insert(name, endpoints);
    }

    pub(crate) fn take_endpoints(&mut self, name: &str, touched: &mut Touched) {
        touched.backends.insert(name.to_owned());
        self.endpoints.remove(name);
    }

    pub(crate) fn put_route(&mut self, name: String, route: convert::Route, touched: &mut Touched) {
        self.take_route(&name, touched);
        for parent in &route.parents {
            touched.destinations.insert(parent.service.clone());
            self.bound.entry(parent.service.clone()).or_default().insert(name.clone());
        }
        self.routes.insert(name, route);
    }

    pub(crate) fn take_route(&mut self, name: &str, touched: &mut Touched) {
        for parent in self.routes.remove(name).into_iter().flat_map(|route| route.parents) {
            if let Some(routes) = self.bound.get_mut(&parent.service) {
                routes.remove(name);
                if routes.is_empty() {
                    self.bound.remove(&parent.service);
                }
            }
            touched.destinations.insert(parent.service);
        }
    }

    pub(crate) fn put_policy(&mut self, name: String, policy: Policy, body: &[u8], touched: &mut Touched) {
        touched.policies.insert(name.clone());
        self.policies.insert(name, (hash(body), Arc::new(policy)));
    }

    pub(crate) fn take_policy(&mut self, name: &str, touched: &mut Touched) {
        touched.policies.insert(name.to_owned());
        self.policies.remove(name);
    }

    pub(crate) fn put_plugin(&mut self, plugin: Plugin, touched: &mut Touched) {
        touched.plugins.insert(plugin.name.clone());
        self.plugins.insert(plugin.name.clone(), Arc::new(plugin));
    }

    pub(crate) fn take_plugin(&mut self, name: &str, touched: &mut Touched) {
        touched.plugins.insert(name.into());
        self.plugins.remove(name);
    }

    pub(crate) fn policy(&self, name: &str) -> Option<Arc<Policy>> {
        self.policies.get(name).map(|(_, policy)| policy.clone())
    }

    /// A number that changes when what calls to a workload are judged by changes.
    pub(crate) fn epoch(&self, policies: &[(String, Vec<u16>)]) -> u64 {
        let named: Vec<_> =
            policies.iter().map(|(name, ports)| (name, ports, self.policies.get(name).map(|(content, _)| content))).collect();
        hash((named, self.mesh.default_policy as u8, self.mesh.mtls_mode as u8))
    }

    /// Rules of the producer routes, and of the consumer routes by namespace, with their route's age.
    pub(crate) fn rules_for(&self, service: &str, port: u16) -> (Aged, BTreeMap<&str, Aged>) {
        let (mut producer, mut consumers) = (Aged::new(), BTreeMap::<_, Aged>::new());
        for route in self.bound.get(service).into_iter().flatten().filter_map(|name| self.routes.get(name)) {
            let aged = || route.rules.iter().map(|rule| (route.created, rule.clone()));
            let binds =
                route.parents.iter().filter(|parent| parent.service == service && (parent.port == 0 || parent.port == u32::from(port)));
            // A route may name a Service twice, with and without the port; it counts once.
            let namespaces: BTreeSet<_> = binds.map(|parent: &convert::Parent| parent.consumer_namespace.as_str()).collect();
            for namespace in namespaces {
                match namespace {
                    "" => producer.extend(aged()),
                    namespace => consumers.entry(namespace).or_default().extend(aged()),
                }
            }
        }
        (producer, consumers)
    }
}

impl Touched {
    fn service(&mut self, name: &str) {
        self.backends.insert(name.to_owned());
        self.destinations.insert(name.to_owned());
    }
}

fn address(address: &std::net::IpAddr) -> String {
    DestinationKey::of_address(*address).as_str().to_owned()
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
