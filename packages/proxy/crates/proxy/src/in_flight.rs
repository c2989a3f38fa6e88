//! What a request means to the load and the latency of its endpoint. Held by `exchange` while it is under way.

use plait_decide::balance;
use plait_model::Endpoint;

use crate::worker::Worker;

/// Counts a request at its endpoint from its start to its end, whatever that is.
#[derive(Debug)]
pub(crate) struct InFlight<'w> {
    worker: &'w Worker,
    endpoint: &'w Endpoint,
    began_nanos: u64,
    latency_nanos: Option<u64>,
}

impl<'w> InFlight<'w> {
    pub(crate) fn begin(worker: &'w Worker, endpoint: &'w Endpoint) -> Self {
        balance::started(endpoint);
        worker.tick();
        Self { worker, endpoint, began_nanos: worker.recent_nanos(), latency_nanos: None }
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self) {
        self.worker.tick();
        self.latency_nanos = Some(self.worker.recent_nanos().saturating_sub(self.began_nanos));
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        // What the latency says is of the moment when the head came.
        let at = self.began_nanos + self.latency_nanos.unwrap_or_default();
        balance::finished(self.endpoint, self.latency_nanos, at);
    }
}
