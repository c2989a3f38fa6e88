//! `/tap`: a line of the access log for each request and connection that ends from now on, until the asker goes away. Where lines were missed,
//! because more ended than anybody reads, a line `{"missed": N}` says so.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use tokio::time::{Instant, interval_at};

use super::refusal;
use crate::run::ready::Readiness;

/// Lines are gathered so long: to people that is at once.
const GATHER: Duration = Duration::from_millis(100);

pub(super) async fn tap(State(asked): State<Readiness>) -> Response {
    let Some(tap) = asked.shared.telemetry.tap() else {
        return refusal(StatusCode::TOO_MANY_REQUESTS, "too many look at this proxy already");
    };
    let ticks = interval_at(Instant::now() + GATHER, GATHER);
    let lines = stream::unfold((tap, ticks), |(tap, mut ticks)| async {
        loop {
            ticks.tick().await;
            let (mut lines, missed) = tap.take();
            if missed > 0 {
                lines.extend_from_slice(format!("{{\"missed\": {missed}}}\n").as_bytes());
            }
            if !lines.is_empty() {
                return Some((Ok::<_, Infallible>(Bytes::from(lines)), (tap, ticks)));
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response()
}
