//! What happened, counted and written down: metrics in Prometheus text, the access log, trace context.
//!
//! `proxy` makes an [`Outcome`] first of all and fills it while the request runs; `app` hands in the writer of the access log,
//! sets the gauges and serves [`Telemetry::render`]. Must not decide anything, nor make a request wait or fail.

mod attempts;
mod connection;
mod cut;
mod denials;
mod dry_run;
mod histogram;
mod labelled;
mod log;
mod metrics;
mod outcome;
mod plugins;
mod record;
mod render;
mod requests;
mod series;
mod tap;
mod telemetry;
pub mod trace;

pub use attempts::{Checked, Mirrored};
pub use connection::Connection;
pub use cut::Cut;
pub use metrics::{Kind, METRICS, Metric};
pub use outcome::Outcome;
pub use plugins::PluginFigures;
pub use record::{Direction, Name, Protocol, Record};
pub use tap::Tap;
pub use telemetry::Telemetry;
