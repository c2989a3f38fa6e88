//! What the reference says is what the code does.

use std::{
    io::{self, Write},
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use plait_model::{AccessLog, AccessLogFilter, Mesh};
use plait_telemetry::{Direction, METRICS, Outcome, Protocol, Record, Telemetry};

const METRICS_PAGE: &str = include_str!("../../../../../docs/reference/metrics.md");
const LOG_PAGE: &str = include_str!("../../../../../docs/reference/access-log.md");

/// The cells of every table row whose first cell is a name in backticks that starts with `prefix`.
fn rows<'p>(page: &'p str, prefix: &'p str) -> impl Iterator<Item = Vec<String>> + 'p {
    let start = format!("| `{prefix}");
    let lines = page.lines().filter(move |line| line.starts_with(&start));
    lines.map(|line| line.trim_matches(['|', ' ']).split(" | ").map(|cell| cell.replace('`', "")).collect())
}

#[test]
fn the_metrics_page_lists_what_is_registered() {
    let documented: Vec<_> = rows(METRICS_PAGE, "plait_").collect();
    let registered: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let labels = if metric.labels.is_empty() { "–".to_owned() } else { metric.labels.join(", ") };
            vec![metric.name.into(), metric.kind.as_str().into(), labels, metric.help.into()]
        })
        .collect();
    assert_eq!(documented, registered);
}

struct Lines(Sender<Vec<u8>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_access_log_page_lists_the_fields_of_a_line() {
    let (sender, lines) = channel();
    let telemetry = Telemetry::new(Lines(sender));
    telemetry.configure(&Mesh { access_log: Some(AccessLog { filter: AccessLogFilter::All }), ..Mesh::default() });
    let mut record = Record::new(Direction::Outbound, Protocol::Http1, "".into());
    drop(Outcome::begin(&telemetry, &mut record));
    let line = String::from_utf8(lines.recv_timeout(Duration::from_secs(30)).unwrap()).unwrap();
    let written: Vec<_> = line.split("\":").map(|part| part.rsplit('"').next().unwrap()).collect();
    let documented: Vec<_> = rows(LOG_PAGE, "").map(|row| row[0].clone()).collect();
    assert_eq!(documented, &written[..written.len() - 1]);
}
