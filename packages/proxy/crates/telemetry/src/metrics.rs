//! Every metric of the data path: its name, kind, labels and meaning. A contract with dashboards and `plait`: docs/reference/metrics.md.

/// What a metric is, for its TYPE line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bound, a sum, a count.
    Histogram,
}

impl Kind {
    /// As Prometheus text has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as it is documented.
#[derive(Debug)]
pub struct Metric {
    /// Its name; a histogram has `_bucket`, `_sum` and `_count` of it.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The names of its labels, in order; without `le`.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident $name:literal $kind:ident [$($label:literal)*] $help:literal)*) => {
        $(pub(crate) const $constant: Metric = Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order of the text.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    REQUESTS "plait_requests_total" Counter ["direction" "source" "destination" "route" "code_class"]
        "Requests that ended; code_class is that of the status the caller got, or cancelled when it went away before."
    DURATION "plait_request_duration_seconds" Histogram ["direction" "source" "destination" "route"]
        "Time from the head of a request to the end of its answer."
    IN_FLIGHT "plait_requests_in_flight" Gauge ["direction"]
        "Requests and opaque connections that have begun and not ended."
    REJECTS "plait_rejects_total" Counter ["direction" "source" "destination" "route" "reason"]
        "Requests and opaque connections that the mesh answered or ended itself."
    RETRIES "plait_retries_total" Counter ["destination"]
        "Attempts of requests but the first."
    MET_CLOSING "plait_closing_connections_total" Counter ["destination"]
        "Requests that met an idle connection which its server was closing."
    WAITS "plait_connection_waits_total" Counter ["destination"]
        "Requests and opaque connections that found all connections in use that connections.max allows."
    MIRRORED "plait_mirrored_requests_total" Counter ["backend" "outcome"]
        "Copies of requests for mirror backends."
    EJECTIONS "plait_ejections_total" Counter ["backend"]
        "Endpoints that outlierDetection ejected."
    SESSIONS "plait_sessions_total" Counter ["backend"]
        "Sessions that began with an answer, where sessionAffinity or sessionPersistence is set."
    CROSS_ZONE "plait_cross_zone_attempts_total" Counter ["backend"]
        "Attempts of requests that left the caller's zone, where loadBalancer.zoneAware is set."
    CHECKS "plait_health_checks_total" Counter ["backend" "outcome"]
        "Health checks that ended."
    UNHEALTHY "plait_unhealthy_endpoints" Gauge ["backend"]
        "Endpoints that fail their health checks."
    PANICKING "plait_backend_panicking" Gauge ["backend"]
        "1 while so few endpoints are healthy that all are used."
    CONNECTIONS "plait_connections_total" Counter ["direction" "source" "destination" "protocol" "tls"]
        "Connections that were opened."
    CONNECTIONS_OPEN "plait_connections_open" Gauge ["direction" "source" "destination" "protocol" "tls"]
        "Connections that are open."
    CONNECTION_BYTES "plait_connection_bytes_total" Counter ["direction" "source" "destination" "protocol" "tls" "flow"]
        "Bytes passed on, towards the destination (sent) or the caller (received)."
    CUT "plait_connections_cut_total" Counter ["direction" "cause"]
        "Connections that the proxy ended for what their caller did, or did not do in time."
    DENIALS "plait_policy_denials_total" Counter ["source" "destination" "object"]
        "Calls that a policy, or the defaultPolicy of the Mesh, denied; counted beside the destination."
    DRY_RUNS "plait_policy_dry_run_total" Counter ["policy" "workload" "verdict"]
        "Calls that a policy in dry run would have denied."
    LABELLED "plait_labelled_requests_total" Counter ["direction" "destination" "label" "value" "code_class"]
        "Requests by each label that plugins gave them; of many values of a label those after the first 100 are counted as other."
    PLUGIN_CALLS "plait_plugin_calls_total" Counter ["plugin" "phase"]
        "Calls that a plugin was asked about."
    PLUGIN_VERDICTS "plait_plugin_verdicts_total" Counter ["plugin" "phase"]
        "Calls that a plugin answered or refused itself."
    PLUGIN_BYPASSES "plait_plugin_bypasses_total" Counter ["plugin" "phase"]
        "Calls that went on without a plugin that failed, its policy being Open."
    PLUGIN_FAILURES "plait_plugin_failures_total" Counter ["plugin" "phase" "cause"]
        "Calls that a plugin failed at, by what happened."
    PLUGIN_DURATION "plait_plugin_duration_seconds" Histogram ["plugin" "phase"]
        "Time from asking the plugins of a call to their answer."
    PLUGIN_BREAKER "plait_plugin_breaker_open" Gauge ["plugin"]
        "1 while a plugin is left out because it failed too often."
    GENERATION "plait_generation" Gauge []
        "Generation of the configuration in force; 0 = none."
    CERTIFICATES "plait_certificate_expiry_timestamp_seconds" Gauge ["workload"]
        "When the certificate of a workload ends, in seconds since 1970."
    PANICS "plait_panics_total" Counter []
        "Connections lost to a bug of the proxy."
    LOG_LINES "plait_access_log_lines_total" Counter []
        "Lines of the access log that were written."
    LOG_DROPPED "plait_access_log_dropped_total" Counter []
        "Lines of the access log that were lost because their reader did not keep up or went away."
    BUILD "plait_build_info" Gauge ["version"]
        "Always 1; the label says which build this is."
}
