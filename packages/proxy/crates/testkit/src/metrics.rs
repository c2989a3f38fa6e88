//! A number in a page of metrics.

/// The sum of all samples of `name` that carry each of `labels` (`key="value"`); 0 when there are none.
pub fn value(page: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (its_name, its_labels) = series.split_once('{').unwrap_or((series, ""));
        (its_name == name && labels.iter().all(|label| its_labels.contains(label))).then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}
