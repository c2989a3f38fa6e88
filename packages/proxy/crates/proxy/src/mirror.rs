//! Copies of a request for the backends that its rule mirrors to. Their answers are read and dropped; the request never waits for them.
//! Called by `request` when a request has ended. A body that was too large to keep is not mirrored, and counted.

use std::{future::poll_fn, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use plait_model::{Backend, RequestHead, ResponseHead, Workload};
use plait_telemetry::Mirrored;

use crate::{
    call::{Call, Wish},
    health,
    plan::{Matched, Plan, Target},
    queue,
    source::Step,
    upstream::{self, Arrived, Begun, Outgoing},
    worker::Worker,
};

/// A mirror that has not answered by then is given up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends the copies that the plan asks for.
pub(crate) fn send(call: &Call, plan: &Plan) {
    if plan.mirrors.is_empty() || !matches!(call.wish, Wish::Answer { .. }) {
        return;
    }
    let telemetry = &call.worker.shared.telemetry;
    let body = call.kept.whole().filter(|_| call.body.is_over());
    for name in &plan.mirrors {
        match (plan.snapshot.backends.get(name), &body) {
            (Some(backend), Some(body)) => {
                let copy = Copy {
                    head: call.head.clone(),
                    wish: call.wish.clone(),
                    body: body.clone(),
                    backend: backend.clone(),
                    source: call.workload.clone(),
                };
                call.worker.spawn(run(call.worker.clone(), copy));
            }
            (Some(_), None) => telemetry.mirrored(name, Mirrored::TooLarge),
            (None, _) => telemetry.mirrored(name, Mirrored::Failed),
        }
    }
}

#[derive(Debug)]
struct Copy {
    head: Box<RequestHead>,
    wish: Wish,
    body: Bytes,
    backend: Arc<Backend>,
    source: Arc<Workload>,
}

async fn run(worker: Rc<Worker>, copy: Copy) {
    let name = copy.backend.key.clone();
    let outcome = match tokio::time::timeout(PATIENCE, deliver(&worker, copy)).await {
        Ok(Some(())) => Mirrored::Sent,
        Ok(None) | Err(_) => Mirrored::Failed,
    };
    worker.shared.telemetry.mirrored(&name, outcome);
}

/// `None` when it could not be delivered.
async fn deliver(worker: &Rc<Worker>, copy: Copy) -> Option<()> {
    let Copy { head, wish, body, backend, source } = copy;
    let snapshot = worker.shared.world.load_full();
    let generation = snapshot.generation;
    let limited = backend.clone();
    let _admitted = plait_decide::limit::admit(&limited).ok()?;
    health::called(worker, &limited, &source.key);
    // Copies follow nobody's session.
    let plan = Plan {
        snapshot,
        target: Target::Backend(backend),
        rule: None,
        share: 0,
        matched: Matched::default(),
        mirrors: Vec::new(),
        hash: None,
        session: None,
        chain: None,
    };
    worker.tick();
    let hop = plan.hop(&source, (&[], &[]), worker.recent_nanos()).ok()?;
    let _turn = queue::turn_of_a_copy(&plan, &hop, &wish)?;
    let asked = Outgoing { head: &head, wish: &wish, generation };
    let Begun { mut sink, mut awaited, _busy } = upstream::open(worker, &source, &hop, false).await.ok()?.begin(&hop, asked).ok()?;
    if !body.is_empty() {
        sink.bytes(body, true).await.ok()?;
    }
    sink.end(None).await.ok()?;
    let mut answer = ResponseHead::default();
    let mut response = loop {
        if let Arrived::Final(response) = awaited.next(asked, &worker.limits(), &mut answer).await.ok()? {
            break response;
        }
    };
    while poll_fn(|cx| response.body.poll_step(cx)).await.ok()? == Step::Data {
        response.body.consume();
    }
    if response.said.keep_alive {
        worker.tick();
        upstream::keep(worker, &hop, sink, response);
    }
    Some(())
}
