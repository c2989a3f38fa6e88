//! What plugins say of the tries of a call: which endpoints come first, and whether there is another. Called by `attempt` and `exchange`.

use std::sync::Arc;

use plait_model::{Endpoint, RequestHead};
use plait_plugins::{Effect, Phase, Verdict};

use super::{
    candidates::Candidates,
    passing::Passing,
    refusal::Instead,
    seen::{Seen, Tried},
};

impl Passing {
    /// The order in which endpoints are to be tried, by their places: that of the first plugin that has one, else none.
    pub(crate) async fn rank<'e>(
        &self,
        request: &RequestHead,
        endpoints: impl Iterator<Item = (usize, &'e Arc<Endpoint>)>,
    ) -> Result<Vec<usize>, Instead> {
        let candidates = Candidates::of_endpoints(endpoints);
        if !candidates.are_several() {
            return Ok(Vec::new());
        }
        for passed in self.asked(Phase::Endpoints) {
            let seen = Seen { request: Some(request), candidates: Some(&candidates), ..Seen::default() };
            let verdict = self.ask(passed, Phase::Endpoints, seen).await?;
            self.keep(&verdict);
            match order(&verdict, &candidates) {
                Ok(order) if order.is_empty() => {}
                Ok(order) => return Ok(order),
                Err((plugin, why)) => self.misdeed((passed, Phase::Endpoints), plugin, why)?,
            }
        }
        Ok(Vec::new())
    }

    /// Whether there is to be another try; `None` leaves it to the route.
    pub(crate) async fn again(&self, request: &RequestHead, tried: &Tried) -> Result<Option<bool>, Instead> {
        for passed in self.asked(Phase::Retry) {
            let seen = Seen { request: Some(request), tried: Some(tried), ..Seen::default() };
            let verdict = self.ask(passed, Phase::Retry, seen).await?;
            self.keep(&verdict);
            let said = verdict.effects().find_map(|(_, effect)| match effect {
                Effect::Retry(retry) => Some(retry),
                _ => None,
            });
            if said.is_some() {
                return Ok(said);
            }
        }
        Ok(None)
    }
}

/// The places of the endpoints that a verdict names; else who named one that it was not shown.
fn order<'v>(verdict: &'v Verdict, candidates: &Candidates) -> Result<Vec<usize>, (&'v Arc<str>, String)> {
    let named = verdict.effects().filter_map(|(plugin, effect)| match effect {
        Effect::Endpoint(name) => Some(candidates.place(name).ok_or_else(|| (plugin, format!("it was shown no endpoint {name:?}")))),
        _ => None,
    });
    named.collect()
}
