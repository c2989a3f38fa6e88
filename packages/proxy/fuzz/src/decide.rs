//! The promises of deciding: more bytes never change a verdict on the protocol, and the index of a route table finds what reading every rule finds.

use plait_decide::{
    detect::{Detected, protocol},
    route,
};
use plait_model::RouteTable;

#[path = "../../crates/decide/tests/reading/mod.rs"]
mod reading;
#[path = "../../crates/decide/tests/text/mod.rs"]
mod text;

/// Longer inputs find nothing new and make the reference slow.
const LONGEST: usize = 512;

/// Any bytes as the first of a connection.
pub fn decide_detection(input: &[u8]) {
    let input = &input[..input.len().min(LONGEST)];
    let whole = protocol(input);
    for end in 0..input.len() {
        let early = protocol(&input[..end]);
        assert!(early == Detected::NeedMore || early == whole, "{early:?} after {end} bytes, {whole:?} in the end: {input:?}");
    }
}

/// One match a line, each a route; the last line is the request. What is no such text says nothing.
pub fn decide_routing(input: &[u8]) {
    if input.len() <= LONGEST {
        routing(input);
    }
}

/// The same for a test, which wants to know whether the text was one.
pub fn routing(input: &[u8]) -> bool {
    let Some((matches, request)) = std::str::from_utf8(input).ok().and_then(|text| text.trim_end_matches('\n').rsplit_once('\n')) else {
        return false;
    };
    let Some(head) = text::head(request) else { return false };
    let rules: Option<Vec<_>> = matches
        .lines()
        .enumerate()
        .map(|(n, line)| text::matched(line).map(|found| (0, text::rule(&format!("r{n:04}"), 0, vec![found]))))
        .collect();
    let Some(rules) = rules else { return false };
    let table = RouteTable::new(rules.clone());
    let found = route::find(&table, &head).map(|choice| choice.rule.object.name.clone());
    assert_eq!(found, reading::by_reading_all(&rules, &head), "{matches} / {request}");
    true
}
