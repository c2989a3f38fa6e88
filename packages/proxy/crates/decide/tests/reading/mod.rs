//! The slow way to find a rule, which the index must agree with.

use std::{cmp::Reverse, sync::Arc};

use plait_decide::route;
use plait_model::{PathMatch, RequestHead, Rule};

/// The route that takes a request by reading every match of every rule; rules come with their age, names decide ties.
pub(crate) fn by_reading_all(rules: &[(u64, Arc<Rule>)], head: &RequestHead) -> Option<Box<str>> {
    let every = rules.iter().flat_map(|(age, rule)| {
        let all = rule.matches.iter().map(move |found| (*age, rule, Some(found)));
        all.chain(rule.matches.is_empty().then_some((*age, rule, None)))
    });
    let fitting = every.filter(|(_, _, found)| found.is_none_or(|found| route::mismatch(found, head).is_none()));
    // Written out again on purpose: the reference shares nothing with the index but the comparison of one match.
    let best = fitting.min_by_key(|(age, rule, found)| {
        let specificity = found.map_or((1, 1, false, 0, 0), |found| {
            let (kind, length) = match &found.path {
                PathMatch::Exact(path) => (3, path.len()),
                PathMatch::Regex(pattern) => (2, pattern.as_str().len()),
                PathMatch::Prefix(path) => (1, path.len()),
            };
            (kind, length, found.method.is_some(), found.headers.len(), found.query.len())
        });
        (Reverse(specificity), *age, rule.object.name.clone())
    });
    best.map(|(_, rule, _)| rule.object.name.clone())
}
