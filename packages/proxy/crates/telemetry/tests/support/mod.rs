//! A strict reader of Prometheus text, version 0.0.4: what Prometheus would refuse or read differently, it refuses.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, `name{a="1"}`.
pub(crate) struct Page(pub(crate) BTreeMap<String, f64>);

impl Page {
    /// Reads a whole scrape.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end");
        let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
        let (mut helped, mut done) = (None, BTreeSet::new());
        let mut family = String::new();
        for line in text.split_terminator('\n') {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP has a text");
                assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE has a kind");
                assert_eq!(helped.take().as_deref(), Some(name), "HELP stands before TYPE");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
                family = name.to_owned();
                done.insert(name.to_owned());
            } else {
                let (series, value) = sample(line);
                let name = series.split('{').next().expect("a name");
                let base = match types[&family].as_str() {
                    "histogram" => {
                        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).expect("a part of a histogram")
                    }
                    _ => name,
                };
                assert_eq!(base, family, "samples stand below their TYPE");
                assert!(types[&family] != "counter" || value >= 0.0, "{line}");
                assert!(samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        let page = Self(samples);
        page.check_histograms();
        page
    }

    /// The value of a series; 0 when it is not there, as a rate would have it.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// The sum over all series of a metric.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }

    fn check_histograms(&self) {
        let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (series, count) in &self.0 {
            if let Some((name, labels)) = series.split_once("_bucket{") {
                let (others, le) = labels.rsplit_once("le=\"").expect("a bucket has le, last");
                let bound = le.strip_suffix("\"}").expect("le is the last label");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("le is a number") };
                buckets.entry(format!("{name}_count{{{}}}", others.trim_end_matches(','))).or_default().push((bound, *count));
            }
        }
        for (counted, mut found) in buckets {
            found.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(found.windows(2).all(|pair| pair[0].1 <= pair[1].1), "cumulative: {counted}");
            let (bound, total) = *found.last().expect("at least one");
            assert_eq!((bound, total), (f64::INFINITY, self.0[&counted]), "{counted}");
            assert!(self.0.contains_key(&counted.replace("_count{", "_sum{")), "{counted}");
        }
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(plain) && text.chars().all(|c| plain(c) || c.is_ascii_digit())
}

/// Series and value of a line.
fn sample(line: &str) -> (String, f64) {
    let end = match line.find('{') {
        None => line.find(' ').expect("a value"),
        Some(brace) => brace + labels(&line[brace..]),
    };
    let (series, value) = line.split_at(end);
    assert!(is_name(series.split('{').next().expect("a name")), "{line}");
    let value = value.strip_prefix(' ').expect("one space before the value");
    (series.to_owned(), value.parse().expect("a number"))
}

/// Length of `{a="1",b="2"}` at the start of a text.
fn labels(text: &str) -> usize {
    let (mut at, mut names) = (1, BTreeSet::new());
    loop {
        let name = text[at..].split('=').next().expect("a label");
        assert!(is_name(name) && names.insert(name), "{text}");
        at += name.len() + 2;
        assert!(text[..at].ends_with("=\""), "{text}");
        while !text[at..].starts_with('"') {
            let mut rest = text[at..].chars();
            let first = rest.next().expect("a closing quote");
            at += first.len_utf8();
            if first == '\\' {
                assert!(matches!(rest.next(), Some('\\' | '"' | 'n')), "{text}");
                at += 1;
            }
        }
        at += 1;
        at += 1;
        match &text[at - 1..at] {
            "}" => return at,
            after => assert_eq!(after, ",", "{text}"),
        }
    }
}
