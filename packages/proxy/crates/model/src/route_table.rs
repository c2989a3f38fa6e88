//! The rules of one Service port, indexed once when configuration is applied, so that finding one does not grow with their number.
//! Built by `discovery/apply`; read by `decide/route`. Precedence stands here and nowhere else.

use std::{cmp::Reverse, sync::Arc};

use crate::{Map, PathMatch, RouteKind, RouteMatch, Rule, server_names::ServerNames};

/// One match of one rule, in the order of precedence. A rule without matches has one candidate that matches everything.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Index into [`RouteTable::rules`].
    pub rule: usize,
    /// Index into `Rule::matches`; `None` = everything.
    pub index: Option<usize>,
    rank: usize,
}

impl Candidate {
    /// Whether it comes before `other` by precedence; both of one table.
    pub fn precedes(&self, other: &Self) -> bool {
        self.rank < other.rank
    }
}

/// Rules indexed by what chooses between them: path, or server name. `created` decides ties between routes.
#[derive(Debug, Default)]
pub struct RouteTable {
    kind: RouteKind,
    rules: Vec<Arc<Rule>>,
    names: ServerNames,
    exact: Map<Box<str>, Vec<Candidate>>,
    prefix: Map<Box<str>, Vec<Candidate>>,
    regex: Vec<Candidate>,
}

impl RouteTable {
    /// Indexes rules; each comes with its route's creation time (seconds, 0 = unknown), oldest winning ties.
    pub fn new(mut rules: Vec<(u64, Arc<Rule>)>) -> Self {
        rules.sort_by(|(created_a, a), (created_b, b)| {
            let name = |rule: &Rule| (rule.object.namespace.clone(), rule.object.name.clone(), rule.index);
            created_a.cmp(created_b).then_with(|| name(a).cmp(&name(b)))
        });
        let rules: Vec<_> = rules.into_iter().map(|(_, rule)| rule).collect();
        let kind = rules.iter().map(|rule| rule.kind).max().unwrap_or_default();
        // A port speaks one way: what belongs to a lesser kind of route takes nothing.
        let counts = |(_, rule): &(usize, &Arc<Rule>)| rule.kind == kind;
        if kind < RouteKind::Http {
            let names = ServerNames::new(rules.iter().enumerate().filter(counts));
            return Self { kind, names, rules, ..Self::default() };
        }
        let mut all: Vec<Candidate> = Vec::new();
        for (at, rule) in rules.iter().enumerate().filter(counts) {
            match rule.matches.len() {
                0 => all.push(Candidate { rule: at, index: None, rank: 0 }),
                n => all.extend((0..n).map(|index| Candidate { rule: at, index: Some(index), rank: 0 })),
            }
        }
        // A stable sort keeps age, name and rule order on ties.
        all.sort_by_key(|candidate| Reverse(Specificity::of(matched(&rules, candidate))));
        let mut table = Self { kind, rules, ..Self::default() };
        for (rank, mut candidate) in all.into_iter().enumerate() {
            candidate.rank = rank;
            match matched(&table.rules, &candidate).map(|found| &found.path) {
                None => table.prefix.entry("/".into()).or_default().push(candidate),
                Some(PathMatch::Exact(path)) => table.exact.entry(path.clone()).or_default().push(candidate),
                Some(PathMatch::Prefix(path)) => table.prefix.entry(path.clone()).or_default().push(candidate),
                Some(PathMatch::Regex(_)) => table.regex.push(candidate),
            }
        }
        table
    }

    /// The kind of its routes; of several kinds the one that the others give way to.
    pub fn kind(&self) -> RouteKind {
        self.kind
    }

    /// The rule for a connection of opaque bytes: that of a TCPRoute for each, that of a TLSRoute for `server_name`, in lower case.
    pub fn stream(&self, server_name: Option<&str>) -> Option<&Arc<Rule>> {
        match self.kind {
            RouteKind::Tcp => self.rules.iter().find(|rule| rule.kind == RouteKind::Tcp),
            RouteKind::Tls => server_name.and_then(|name| self.names.find(name)).map(|at| &self.rules[at]),
            RouteKind::Http | RouteKind::Grpc => None,
        }
    }

    /// All rules, oldest route first.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// What could match `path`: exact, then regex (not yet compared), then each prefix from the longest. That is the order of precedence but for
    /// GRPCRoutes, whose matches are ranked otherwise: see [`Candidate::precedes`].
    pub fn candidates<'a>(&'a self, path: &'a str) -> impl Iterator<Item = Candidate> + 'a {
        let exact = self.exact.get(path).into_iter().flatten();
        let regex = self.regex.iter();
        let prefixes = prefixes(path).filter_map(|prefix| self.prefix.get(prefix)).flatten();
        exact.chain(regex).chain(prefixes).copied()
    }

    /// Rule and match of a candidate.
    pub fn resolve(&self, candidate: Candidate) -> (&Arc<Rule>, Option<&RouteMatch>) {
        (&self.rules[candidate.rule], matched(&self.rules, &candidate))
    }
}

fn matched<'a>(rules: &'a [Arc<Rule>], candidate: &Candidate) -> Option<&'a RouteMatch> {
    candidate.index.and_then(|index| rules[candidate.rule].matches.get(index))
}

/// The segment prefixes of a path from the longest: "/a/b" gives "/a/b", "/a", "/". Whatever is no path ("*", empty) is below "/" too.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let whole = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
    std::iter::successors(Some(whole), |prefix| match prefix.rfind('/') {
        None => Some("/"),
        Some(0) if prefix.len() > 1 => Some("/"),
        Some(0) => None,
        Some(at) => Some(&prefix[..at]),
    })
}

/// How specific a match is, its fields in the standard's order: the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// Characters of service and method, where GRPCRoutes are compared; else both 0.
    pub grpc: (usize, usize),
    /// Exact (3), regex (2), prefix (1); 1 for gRPC.
    pub path_kind: u8,
    /// Bytes of the path or pattern; 1 for gRPC.
    pub path_length: usize,
    /// A method is named.
    pub method: bool,
    /// Number of header matches.
    pub headers: usize,
    /// Number of query parameter matches.
    pub query: usize,
}

impl Specificity {
    /// Of a match; `None` is a rule without matches, which is the prefix "/".
    pub fn of(found: Option<&RouteMatch>) -> Self {
        let Some(found) = found else {
            return Self { grpc: (0, 0), path_kind: 1, path_length: 1, method: false, headers: 0, query: 0 };
        };
        if let Some(length) = found.grpc {
            let grpc = (length.service, length.method);
            return Self { grpc, path_kind: 1, path_length: 1, method: false, headers: found.headers.len(), query: 0 };
        }
        let (path_kind, path_length) = match &found.path {
            PathMatch::Exact(path) => (3, path.len()),
            PathMatch::Regex(pattern) => (2, pattern.as_str().len()),
            PathMatch::Prefix(path) => (1, path.len()),
        };
        let (headers, query) = (found.headers.len(), found.query.len());
        Self { grpc: (0, 0), path_kind, path_length, method: found.method.is_some(), headers, query }
    }
}
