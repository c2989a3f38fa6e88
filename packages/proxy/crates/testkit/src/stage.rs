//! A small mesh that stands: "web" calls, "reviews", "reviews-v2", "ledger" and "any" are called.
//!
//! | Service | port | protocol |
//! |---|---|---|
//! | reviews, reviews-v2 | 80 | http |
//! | ledger | 7000 | tcp |
//! | any | 9000 | found out |
//!
//! The mesh does not know "nowhere.example.org", nor the addresses of this machine.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use plait_identity::Identities;
use plait_wire as wire;

use crate::{
    authority::{Authority, DOMAIN, identity},
    contract::{self, Sent, endpoints, key, object, service},
    origin::Origin,
    peer::Peer,
    port::Port,
    proxy::Proxy,
};

/// How calls travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the caller's sidecar alone, in plaintext to the process.
    Hop,
    /// Through two sidecars and mutual TLS between them.
    Pair,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Hop, Self::Pair];
}

/// One place of a Service.
#[derive(Debug)]
pub struct Place {
    /// Name of the workload.
    pub workload: String,
    /// Where its process listens.
    pub process: Port,
    /// The inbound listener of its sidecar.
    pub inbound: Port,
}

const SERVICES: [(&str, u32, wire::Protocol); 4] = [
    ("reviews", 80, wire::Protocol::Http),
    ("reviews-v2", 80, wire::Protocol::Http),
    ("ledger", 7000, wire::Protocol::Tcp),
    ("any", 9000, wire::Protocol::Auto),
];

/// What the mesh does not have, and says so.
const UNKNOWN: [&str; 4] = ["nowhere.example.org", "127.0.0.1", "0.0.0.0", "shop/localhost"];

/// Addresses that a test may give to a Service or to a workload.
const ADDRESSES: [&str; 3] = ["10.96.0.7", "fd00::7", "10.244.0.7"];

/// The mesh of a test.
#[derive(Debug)]
pub struct Stage {
    /// How calls travel.
    pub way: Way,
    /// Signs all leaves.
    pub authority: Authority,
    /// The sidecar of shop/web-1.
    pub web: Proxy,
    /// The sidecar of all that is called; only with a pair.
    pub far: Option<Proxy>,
    /// Where applications of web send their calls.
    pub outbound: Port,
    /// Where web itself is called.
    pub inbound: Port,
    /// Local ports of web for one destination each: reviews, ledger, any.
    pub binds: BTreeMap<&'static str, Port>,
    /// The places of what is called, by workload.
    pub places: BTreeMap<String, Place>,
    origins: RefCell<BTreeMap<String, Origin>>,
    generation: Cell<u64>,
}

impl Stage {
    /// Everything up, each Service with one place and no route.
    pub async fn new(way: Way) -> Self {
        let authority = Authority::new();
        let (web, far) = (Identities::new(), Identities::new());
        web.set_leaf(key("web-1").into(), authority.leaf("web"));
        let far = (way == Way::Pair).then(|| Proxy::start(far));
        let binds = [("reviews", Port::new()), ("ledger", Port::new()), ("any", Port::new())].into();
        let (places, origins) = (BTreeMap::new(), RefCell::default());
        let (outbound, inbound, generation) = (Port::new(), Port::new(), Cell::new(0));
        let web = Proxy::start(web);
        let mut stage = Self { way, authority, web, far, outbound, inbound, binds, places, origins, generation };
        let mesh = contract::mesh(&[&stage.authority.root]);
        let mut resources = vec![mesh.resource(), stage.caller().resource()];
        for (name, port, protocol) in SERVICES {
            let workload = stage.add_place(name, 1).await;
            resources.push(service(name, port, protocol).resource());
            resources.push(endpoints(name, port, vec![stage.endpoint(&workload)]).resource());
            resources.push(stage.workload(&workload, &[]).resource());
        }
        stage.apply(resources).await;
        stage
    }

    /// One more place of a Service, with a process; gives the workload's name. It serves once it is applied.
    pub async fn add_place(&mut self, service: &str, number: usize) -> String {
        let workload = format!("{service}-{number}");
        let process = Port::new();
        let origin = Origin::new(&process).await;
        if let Some(far) = &self.far {
            far.shared.identities.set_leaf(key(&workload).into(), self.authority.leaf(service));
        }
        self.places.insert(workload.clone(), Place { workload: workload.clone(), process, inbound: Port::new() });
        self.origins.borrow_mut().insert(workload.clone(), origin);
        workload
    }

    /// The process of a workload, to be taken in hand once.
    pub fn origin(&self, workload: &str) -> Origin {
        self.origins.borrow_mut().remove(workload).unwrap_or_else(|| panic!("no process of {workload} is left"))
    }

    /// Tells all proxies what is new, and waits until it is in force.
    pub async fn apply(&self, resources: Vec<wire::Resource>) {
        self.generation.set(self.generation.get() + 1);
        let own = (wire::ResourceKind::Workload as i32, key("web-1"));
        let is_workload = |resource: &wire::Resource| resource.kind == own.0;
        let serves_web = |resource: &wire::Resource| resource.name == own.1;
        let changes = |upserts| wire::ChangeSet {
            generation: self.generation.get(),
            upserts,
            known: SERVICES.iter().map(|(name, ..)| key(name)).chain(ADDRESSES.map(Into::into)).collect(),
            unknown: UNKNOWN.map(Into::into).into(),
            ..wire::ChangeSet::default()
        };
        let of_web = resources.iter().filter(|one| !is_workload(one) || serves_web(one)).cloned().collect();
        self.web.apply(changes(of_web)).await;
        if let Some(far) = &self.far {
            let of_far = resources.into_iter().filter(|one| !is_workload(one) || !serves_web(one)).collect();
            far.apply(changes(of_far)).await;
        }
    }

    /// The generation in force.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Shapes calls to reviews by one route, "shop/r".
    pub async fn route(&self, rules: Vec<wire::RouteRule>) {
        self.apply(vec![self.reviews_route(rules).resource()]).await;
    }

    /// The route "shop/r" of reviews.
    pub fn reviews_route(&self, rules: Vec<wire::RouteRule>) -> wire::Route {
        let parent = wire::RouteParent { service: key("reviews"), port: 0, consumer_namespace: String::new() };
        wire::Route { object: Some(object("HTTPRoute", "r")), parents: vec![parent], rules, ..wire::Route::default() }
    }

    /// Puts policies in force at the place "reviews-1", "ledger-1", ... that `workload` names.
    pub async fn policies(&self, workload: &str, policies: Vec<wire::Policy>) {
        let names: Vec<_> = policies.iter().map(|policy| policy.key().1).collect();
        let mut resources: Vec<_> = policies.iter().map(Sent::resource).collect();
        resources.push(self.workload(workload, &names).resource());
        self.apply(resources).await;
    }

    /// The mesh object, to be changed and applied.
    pub fn mesh(&self) -> wire::Mesh {
        contract::mesh(&[&self.authority.root])
    }

    /// The calling workload.
    pub fn caller(&self) -> wire::Workload {
        let bind = |(name, listen): (&&'static str, &Port)| {
            let port = SERVICES.iter().find(|(its, ..)| its == name).map_or(0, |(_, port, _)| *port);
            wire::Bind { listen: listen.address.to_string(), destination: key(name), port, authority: format!("{name}:{port}") }
        };
        wire::Workload {
            namespace: "shop".into(),
            name: "web-1".into(),
            service_account: "web".into(),
            address: "127.0.0.1".into(),
            inbound: self.inbound.address.to_string(),
            outbound: self.outbound.address.to_string(),
            binds: self.binds.iter().map(bind).collect(),
            ..wire::Workload::default()
        }
    }

    /// A called workload, with the names of its policies.
    pub fn workload(&self, workload: &str, policies: &[String]) -> wire::Workload {
        let place = &self.places[workload];
        let (name, _, protocol) = self.service_of(workload);
        let port = wire::WorkloadPort {
            name: "main".into(),
            port: place.process.address.port().into(),
            protocol: protocol.into(),
            service: key(name),
            connections: None,
        };
        wire::Workload {
            namespace: "shop".into(),
            name: workload.into(),
            service_account: name.into(),
            address: "127.0.0.1".into(),
            ports: vec![port],
            inbound: place.inbound.address.to_string(),
            policies: policies.iter().map(|name| wire::PolicyRef { name: name.clone(), ports: Vec::new() }).collect(),
            ..wire::Workload::default()
        }
    }

    /// A place as callers are told of it.
    pub fn endpoint(&self, workload: &str) -> wire::Endpoint {
        let place = &self.places[workload];
        let port = place.process.address.port().into();
        match self.way {
            Way::Hop => wire::Endpoint {
                workload: key(workload),
                address: place.process.address.to_string(),
                target_port: port,
                ..wire::Endpoint::default()
            },
            Way::Pair => wire::Endpoint {
                workload: key(workload),
                address: place.inbound.address.to_string(),
                identity: identity(self.service_of(workload).0),
                server_name: format!("{workload}.shop.{DOMAIN}"),
                target_port: port,
                zone: String::new(),
            },
        }
    }

    /// The places of a Service, as callers are told of them, in this order.
    pub fn endpoints(&self, workloads: &[&str]) -> wire::Endpoints {
        let (name, port, _) = self.service_of(workloads[0]);
        endpoints(name, port, workloads.iter().map(|workload| self.endpoint(workload)).collect())
    }

    fn service_of(&self, workload: &str) -> (&'static str, u32, wire::Protocol) {
        let service = workload.rsplit_once('-').map_or(workload, |(service, _)| service);
        SERVICES.into_iter().find(|(name, ..)| *name == service).unwrap_or_else(|| panic!("no Service of {workload}"))
    }

    /// A connection of an application of web to its sidecar.
    pub async fn caller_connects(&self) -> Peer {
        Peer::connect(self.outbound.address).await
    }
}
