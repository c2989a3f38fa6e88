//! Plugins of users, and which calls pass them: chains, made when configuration is applied. A call without a chain costs nothing.
//! Written by `discovery`; run by `proxy` through the workers of `plait-plugins`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{Map, ObjectRef, Rule};

/// Code of a user's.
#[derive(Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Resource name, "namespace/name".
    pub name: Arc<str>,
    /// Of its resource: what a report about it names.
    pub revision: Box<[u8]>,
    /// The user's object.
    pub object: Arc<ObjectRef>,
    /// The Python distribution.
    pub package: Box<str>,
    /// Of the group `plait.plugins`; `None` = the only one of the package.
    pub entry_point: Option<Box<str>>,
    /// A version specifier; may be empty.
    pub version: Box<str>,
    /// SHA-256 of the wheel; `None` = the package of the Python environment.
    pub digest: Option<[u8; 32]>,
    /// A JSON object.
    pub config: Box<str>,
    /// Of each phase.
    pub deadline: Duration,
    /// Of the worker.
    pub memory_bytes: u64,
    /// Of a body that is buffered.
    pub body_bytes: usize,
    /// When its code raises, or says what cannot be.
    pub on_error: FailurePolicy,
    /// When it does not answer in time.
    pub on_timeout: FailurePolicy,
    /// As long as no version of it could be loaded.
    pub on_load_failure: FailurePolicy,
    /// Plugins of one group share workers.
    pub group: Arc<str>,
    /// Why it cannot be run, in the user's terms: what would pass it is refused.
    pub invalid: Option<Box<str>>,
}

/// What becomes of a call when the plugin does not say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It goes on as if the plugin were not there.
    Open,
    /// It is refused.
    Closed,
}

/// A plugin by its resource name. `None`: the control plane named a plugin that it did not send; every call is refused.
pub type Link = (Arc<str>, Option<Arc<Plugin>>);

/// The plugins that a call passes, in running order; never empty.
#[derive(Debug)]
pub struct Chain {
    /// Each with its resource name.
    pub links: Vec<Link>,
    /// The same, cut where the next plugin runs in another group: each run is one crossing.
    pub runs: Vec<Arc<Run>>,
}

/// Plugins of a chain that run in one worker, one after the other.
#[derive(Debug)]
pub struct Run {
    /// Their trust group.
    pub group: Arc<str>,
    /// Whether calls pass it that come to a workload, and not a workload's own.
    pub inbound: bool,
    /// In running order.
    pub plugins: Vec<Arc<Plugin>>,
    /// What those who run it call it.
    pub number: OnceLock<u32>,
}

impl Chain {
    /// Of at least one plugin.
    pub fn new(links: Vec<Link>, inbound: bool) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for plugin in links.iter().filter_map(|(_, plugin)| plugin.as_ref()) {
            match runs.last_mut() {
                Some(run) if run.group == plugin.group => run.plugins.push(plugin.clone()),
                _ => runs.push(Run { group: plugin.group.clone(), inbound, plugins: vec![plugin.clone()], number: OnceLock::new() }),
            }
        }
        Self { links, runs: runs.into_iter().map(Arc::new).collect() }
    }

    /// The first plugin that cannot be run, and why.
    pub fn broken(&self) -> Option<(&Arc<str>, &str)> {
        self.links.iter().find_map(|(name, plugin)| match plugin {
            None => Some((name, "it is not known here")),
            Some(plugin) => plugin.invalid.as_deref().map(|why| (name, why)),
        })
    }

    /// True when both name the same plugins, by their `Arc`.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |(name, plugin): &Link| (name.clone(), plugin.as_ref().map(Arc::as_ptr));
        self.links.iter().map(place).eq(other.links.iter().map(place))
    }
}

/// What became of a plugin in this proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginReport {
    /// Its name.
    pub name: Arc<str>,
    /// `Plugin::revision` of the version that this is said of.
    pub revision: Box<[u8]>,
    /// How far it came.
    pub stage: PluginStage,
    /// A version before it goes on serving.
    pub earlier_serves: bool,
}

/// How far a version of a plugin came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginStage {
    /// It is being loaded.
    Loading,
    /// Calls pass it.
    Live,
    /// It cannot be loaded: what its code said last.
    Failed(Box<str>),
}

/// Calls that a plugin sees: to a Service, or those that a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallScope {
    /// "namespace/name".
    Service(Box<str>),
    /// A route, or one rule of it.
    Route {
        /// The route.
        route: ObjectRef,
        /// Name of the rule; empty = all.
        rule: Box<str>,
    },
}

impl CallScope {
    fn takes(&self, service: &str, rule: Option<&Rule>) -> bool {
        match self {
            Self::Service(name) => **name == *service,
            Self::Route { route, rule: name } => rule.is_some_and(|rule| *rule.object == *route && (name.is_empty() || rule.name == *name)),
        }
    }
}

/// The chains of calls that come to a workload, by the port of its process; it may have ports that nobody declared.
#[derive(Debug, Default)]
pub struct PortChains {
    named: Map<u16, Arc<Chain>>,
    /// Of every other port.
    others: Option<Arc<Chain>>,
}

/// A plugin of the calls to a workload: its name, itself, and the ports that it covers (none named = every port).
pub type PortPlugin = (Arc<str>, Option<Arc<Plugin>>, Vec<u16>);

impl PortChains {
    /// All chains; those of `before` that are the same stay.
    pub fn new(plugins: &[PortPlugin], before: Option<&Self>) -> Self {
        let chain = |port: Option<u16>| {
            let covers = |ports: &Vec<u16>| ports.is_empty() || port.is_some_and(|port| ports.contains(&port));
            let links: Vec<_> = plugins.iter().filter(|(_, _, ports)| covers(ports)).map(|(n, p, _)| (n.clone(), p.clone())).collect();
            let chain = (!links.is_empty()).then(|| Chain::new(links, true))?;
            let same = before.and_then(|before| port.map_or(before.others.as_ref(), |port| before.chain(port)));
            Some(same.filter(|same| same.is_same(&chain)).cloned().unwrap_or_else(|| Arc::new(chain)))
        };
        let named = plugins.iter().flat_map(|(_, _, ports)| ports).filter_map(|port| Some((*port, chain(Some(*port))?)));
        Self { named: named.collect(), others: chain(None) }
    }

    /// What a call to that port must pass.
    pub fn chain(&self, port: u16) -> Option<&Arc<Chain>> {
        self.named.get(&port).or(self.others.as_ref())
    }

    /// Every chain.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.named.values().chain(&self.others)
    }
}

/// The chains of a workload's own calls.
#[derive(Debug, Default)]
pub struct CallChains {
    scopes: Vec<Vec<CallScope>>,
    /// By the plugins in it: a bit each.
    chains: Map<u64, Arc<Chain>>,
}

/// A plugin of a workload's calls: its name, itself, and what it sees (nothing named = every call).
pub type CallPlugin = (Arc<str>, Option<Arc<Plugin>>, Vec<CallScope>);

impl CallChains {
    /// Plugins of one direction at one workload, at most.
    pub const MOST: usize = 64;

    /// All chains that calls can have, for at most [`Self::MOST`] plugins; those of `before` that are the same stay.
    pub fn new(plugins: &[CallPlugin], before: Option<&Self>) -> Self {
        let scopes: Vec<_> = plugins.iter().map(|(_, _, scopes)| scopes.clone()).collect();
        let named = || scopes.iter().flatten();
        let services: Vec<Option<&CallScope>> =
            std::iter::once(None).chain(named().filter(|scope| matches!(scope, CallScope::Service(_))).map(Some)).collect();
        let routes: Vec<Option<&CallScope>> =
            std::iter::once(None).chain(named().filter(|scope| matches!(scope, CallScope::Route { .. })).map(Some)).collect();
        let mut chains = Map::default();
        for service in &services {
            for route in &routes {
                let bits = mask(&scopes, |scope| covers(scope, *service) || covers(scope, *route));
                if bits == 0 || chains.contains_key(&bits) {
                    continue;
                }
                let of = |index: &usize| bits & (1 << index) != 0;
                let links = (0..plugins.len()).filter(of).map(|index| (plugins[index].0.clone(), plugins[index].1.clone())).collect();
                let chain = Chain::new(links, false);
                let same = before.and_then(|before| before.chains.values().find(|one| one.is_same(&chain)));
                chains.insert(bits, same.cloned().unwrap_or_else(|| Arc::new(chain)));
            }
        }
        Self { scopes, chains }
    }

    /// What a call to `service` ("namespace/name"; empty outside the mesh) that `rule` takes must pass.
    pub fn chain(&self, service: &str, rule: Option<&Rule>) -> Option<&Arc<Chain>> {
        if self.scopes.is_empty() {
            return None;
        }
        self.chains.get(&mask(&self.scopes, |scope| scope.takes(service, rule)))
    }

    /// Every chain.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.chains.values()
    }
}

/// A bit for each plugin that sees a call.
fn mask(scopes: &[Vec<CallScope>], takes: impl Fn(&CallScope) -> bool) -> u64 {
    let sees = |scopes: &Vec<CallScope>| scopes.is_empty() || scopes.iter().any(&takes);
    scopes.iter().take(CallChains::MOST).enumerate().fold(0, |bits, (index, scopes)| bits | u64::from(sees(scopes)) << index)
}

/// Whether a call that is just what `other` names is one that `scope` takes.
fn covers(scope: &CallScope, other: Option<&CallScope>) -> bool {
    match (scope, other) {
        (CallScope::Route { route, rule }, Some(CallScope::Route { route: its, rule: of })) => {
            route == its && (rule.is_empty() || rule == of)
        }
        (scope, Some(other)) => scope == other,
        (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallTraffic, Filters, RouteKind};

    fn route(name: &str) -> ObjectRef {
        ObjectRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: name.into() }
    }

    fn rule(object: &str, name: &str) -> Rule {
        Rule {
            object: Arc::new(route(object)),
            kind: RouteKind::Http,
            index: 0,
            name: name.into(),
            label: "".into(),
            hostnames: Vec::new(),
            matches: Vec::new(),
            filters: Filters::default(),
            backends: Vec::new(),
            total_weight: 0,
            traffic: CallTraffic::default(),
            sessions: None,
        }
    }

    fn chains() -> CallChains {
        let scope = |name: &str, rule: &str| CallScope::Route { route: route(name), rule: rule.into() };
        let one = |name: &str, scopes| (Arc::<str>::from(name), None, scopes);
        CallChains::new(
            &[
                one("beta", vec![scope("books", "beta")]),
                one("books", vec![scope("books", ""), CallScope::Service("shop/ledger".into())]),
                one("catalog", vec![CallScope::Service("shop/catalog".into())]),
                one("all", Vec::new()),
            ],
            None,
        )
    }

    #[test]
    fn a_call_passes_what_sees_it_in_order() {
        let chains = chains();
        let names = |service: &str, rule: Option<&Rule>| {
            chains.chain(service, rule).unwrap().links.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("", None), "all");
        assert_eq!(names("shop/ledger", None), "books all");
        assert_eq!(names("shop/catalog", Some(&rule("books", "other"))), "books catalog all");
        assert_eq!(names("shop/catalog", Some(&rule("books", "beta"))), "beta books catalog all");
        assert_eq!(names("shop/web", Some(&rule("other", "beta"))), "all");
    }

    #[test]
    fn what_nobody_sees_has_no_chain() {
        assert!(CallChains::default().chain("shop/web", None).is_none());
        let one = [(Arc::from("a"), None, vec![CallScope::Service("shop/web".into())])];
        let chains = CallChains::new(&one, None);
        assert!(chains.chain("shop/other", None).is_none());
        assert!(chains.chain("shop/web", None).is_some_and(|chain| chain.broken().is_some()), "a plugin that is not known refuses");
    }

    #[test]
    fn a_chain_that_is_the_same_stays() {
        let one = [(Arc::from("a"), None, Vec::new())];
        let before = CallChains::new(&one, None);
        let after = CallChains::new(&one, Some(&before));
        assert!(Arc::ptr_eq(before.chain("", None).unwrap(), after.chain("", None).unwrap()));
    }
}
