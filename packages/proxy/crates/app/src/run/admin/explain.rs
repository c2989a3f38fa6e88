//! `/explain?from=NS/NAME&method=GET&url=URL&header=NAME: VALUE&sni=NAME`: what would happen to a request, by the engine that serves.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use plait_decide::explain::{Unanswerable, explain as ask};
use plait_model::DestinationKey;
use plait_proxy_core::{Port, Spoken};

use super::refusal;
use crate::{
    decide::{DecideError, Request},
    run::ready::Readiness,
};

/// As long as a request waits for the control plane to say what a destination is.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn explain(State(asked): State<Readiness>, Query(query): Query<Vec<(String, String)>>) -> Response {
    match decision(&asked, &query).await {
        Ok(answer) => answer,
        Err(error @ DecideError::Unanswerable(_)) => refusal(StatusCode::NOT_FOUND, error),
        Err(error) => refusal(StatusCode::BAD_REQUEST, error),
    }
}

async fn decision(asked: &Readiness, query: &[(String, String)]) -> Result<Response, DecideError> {
    let one = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let headers = query.iter().filter(|(key, _)| key == "header").map(|(_, value)| value.clone()).collect();
    let sni = query.iter().find(|(key, _)| key == "sni").map(|(_, value)| value.clone());
    let request = Request { from: one("from"), method: one("method"), url: one("url"), sni, headers };
    let question = request.question()?;
    let world = &asked.shared.world;
    let now = || asked.shared.now().as_nanos() as u64;
    let mut found = ask(&world.load(), &question, now());
    if let Err(Unanswerable::NotHeld(key)) = &found {
        // What was never called is asked for as a call would do it.
        let _ = world.destination(&DestinationKey::from_contract(key), PATIENCE).await;
        found = ask(&world.load(), &question, now());
    }
    let mut found = found?;
    // Where a protocol is declared nothing is listened for.
    if let Some(called) = found.destination.as_mut().filter(|called| called.protocol == "auto") {
        let port = Port { destination: called.service.as_str().into(), port: called.port };
        called.heard = asked.shared.undeclared.heard(&port).map(Spoken::as_str);
    }
    Ok(Json(found).into_response())
}
