//! The rules of the TLSRoutes of one Service port by server name, so that finding one does not grow with their number. Part of `RouteTable`.

use std::sync::Arc;

use crate::{Hostname, Map, Rule};

/// Rules by server name; each is an index into the table's rules.
#[derive(Debug, Default)]
pub(crate) struct ServerNames {
    exact: Map<Box<str>, usize>,
    /// By what follows "*.".
    below: Map<Box<str>, usize>,
}

impl ServerNames {
    /// Of rules that stand in their order: of two that take one name the first does.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = (usize, &'r Arc<Rule>)>) -> Self {
        let mut names = Self::default();
        for (at, rule) in rules {
            for hostname in &rule.hostnames {
                let (map, name) = match hostname {
                    Hostname::Exact(name) => (&mut names.exact, name),
                    Hostname::Below(name) => (&mut names.below, name),
                };
                map.entry(name.clone()).or_insert(at);
            }
        }
        names
    }

    /// The rule for a name in lower case: the whole name first, then the wildcard with the longest suffix.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        let suffixes = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
        self.exact.get(name).copied().or_else(|| suffixes.filter_map(|suffix| self.below.get(suffix)).next().copied())
    }
}
