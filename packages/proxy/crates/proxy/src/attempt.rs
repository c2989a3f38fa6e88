//! Tries a plan until it has an answer: which endpoint, how long, and whether once more. Called by `request`.
//! Never tries again once the caller got a byte, nor what cannot be repeated safely.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::Poll,
    time::{Duration, SystemTime},
};

use plait_decide::{
    balance, deadline,
    limit::{self, Admitted, Full},
    outlier,
    retry::{self, Again, Ended},
    retry_after,
};
use plait_model::{Headers, Reason, RetryBudget};
use plait_plugins::Phase;
use plait_telemetry::Outcome;
use tokio::time::Instant;

use crate::{
    budgets::Retrying,
    call::{Call, Wish},
    exchange,
    failed::{Failed, Fault},
    filters::Tried,
    health,
    hop::Hop,
    patience::poll_alarm,
    plan::{Plan, Target},
    queue,
    reject::Reject,
    upstream, verdict,
    worker::Worker,
};

/// Carries the deadline of a caller of gRPC.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// What the tries of one request have in common.
#[derive(Debug)]
pub(crate) struct Tries {
    /// Those before this one.
    count: u32,
    /// Endpoints asked before that.
    tried: Vec<u64>,
    /// The one that is asked now.
    asked: Option<u64>,
    /// The next try takes no connection that was idle.
    fresh: bool,
    /// The caller was told to send its body.
    pub(crate) continued: bool,
    deadline: Option<Instant>,
    /// The caller told its own deadline.
    told: bool,
    retrying: Rc<Retrying>,
}

/// Whether a request can be sent once more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeatable {
    /// Its method may be repeated.
    pub(crate) idempotent: bool,
    /// What was sent of its body is at hand.
    pub(crate) whole: bool,
}

impl Repeatable {
    fn of(call: &Call) -> Self {
        Self { idempotent: call.head.method.is_idempotent(), whole: call.kept.is_whole() }
    }
}

/// How a try ended, as far as another one goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came<'h> {
    pub(crate) ended: Ended,
    /// The connection had been idle and was closed under the request.
    pub(crate) stale: bool,
    /// The fields of its answer.
    pub(crate) headers: Option<&'h Headers>,
    /// What plugins decided.
    pub(crate) said: Option<bool>,
}

/// Why a try did not end the request well.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed; whether it is tried again is not decided yet.
    Failed(Failed),
    /// It was decided to try again after a pause.
    Again(Duration),
    /// The request is over.
    Over(Fault),
}

impl From<Failed> for Stop {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Tries until there is an answer.
pub(crate) async fn run(call: &mut Call, plan: &Plan, outcome: &mut Outcome<'_>) -> Result<(), Fault> {
    if let Target::Backend(backend) = &plan.target {
        health::called(&call.worker, backend, &call.workload.key);
    }
    let traffic = plan.traffic();
    let began = Instant::from_std(outcome.began());
    let own = callers_deadline(call);
    let limit = traffic.and_then(|traffic| traffic.request_timeout).into_iter().chain(own).min();
    let retrying = call.worker.budgets.request(&outcome.destination, &budget_rules(plan), call.worker.at(outcome.began()));
    let mut tries = Tries {
        count: 0,
        tried: Vec::new(),
        asked: None,
        fresh: false,
        continued: false,
        // A limit that the clock cannot reach is none.
        deadline: limit.and_then(|limit| began.checked_add(limit)),
        told: own.is_some(),
        retrying,
    };
    loop {
        outcome.attempts += 1;
        let pause = match bounded(call, plan, &mut tries, outcome).await {
            Ok(()) => return Ok(()),
            Err(Stop::Over(fault)) => return Err(fault),
            Err(Stop::Again(pause)) => pause,
            Err(Stop::Failed(failed)) if call.answer.has_begun() => return Err(Fault::Truncated(failed.reject)),
            Err(Stop::Failed(failed)) => {
                let said = said(call, plan, &tries, &failed).await?;
                let came = Came { ended: failed.ended, stale: failed.stale, headers: None, said };
                match tries.again(&call.worker, plan, Repeatable::of(call), came) {
                    Some(pause) => pause,
                    None => return Err(finally(failed, plan)),
                }
            }
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        call.worker.tick();
    }
}

/// What plugins say to another try.
async fn said(call: &Call, plan: &Plan, tries: &Tries, failed: &Failed) -> Result<Option<bool>, Fault> {
    let Some(passing) = call.passing.as_deref().filter(|passing| passing.wants(Phase::Retry) && !failed.stale) else { return Ok(None) };
    let Some(number) = tries.is_open(plan, Repeatable::of(call), failed.ended) else { return Ok(None) };
    let tried = Tried { number, status: None, reason: Some(failed.reject.reason) };
    Box::pin(passing.again(&call.head, &tried)).await.map_err(Fault::Instead)
}

/// The deadline that a caller of gRPC sets itself.
fn callers_deadline(call: &Call) -> Option<Duration> {
    let told = call.head.headers.first(GRPC_TIMEOUT)?;
    deadline::parse(told).filter(|_| call.is_grpc())
}

/// One try: picked, made within the limits of time that the user set, and learnt from. What was opened for good (a tunnel, an upgrade) has
/// no limit.
async fn bounded(call: &mut Call, plan: &Plan, tries: &mut Tries, outcome: &mut Outcome<'_>) -> Result<(), Stop> {
    let _admitted = admitted(plan)?;
    let ranked = ranked(call, plan, tries).await?;
    let mut hop = chosen(call, plan, tries, &ranked)?;
    let turn = queue::turn(call, plan, &hop, tries.deadline).await.map_err(Stop::Over)?;
    if turn.waited {
        // It was long ago.
        call.worker.tick();
        hop = chosen(call, plan, tries, &ranked)?;
    }
    if let (true, Some(deadline)) = (tries.told, tries.deadline) {
        // What was spent here, and in tries before, is not there to be spent by those behind us.
        let left = deadline::write(deadline.saturating_duration_since(Instant::now()));
        call.head.headers.set(GRPC_TIMEOUT, left.as_bytes());
    }
    let ended = in_time(call, (plan, &hop), tries, outcome).await;
    learn(call, plan, &hop, (&ended, &tries.retrying));
    ended
}

/// Endpoints in the order of plugins; none where nobody wants one.
async fn ranked(call: &Call, plan: &Plan, tries: &mut Tries) -> Result<Vec<usize>, Stop> {
    let Target::Backend(backend) = &plan.target else { return Ok(Vec::new()) };
    let Some(passing) = call.passing.as_deref().filter(|passing| passing.wants(Phase::Endpoints)) else { return Ok(Vec::new()) };
    tries.tried.extend(tries.asked.take());
    let fit = balance::fit(backend, &tries.tried, call.worker.recent_nanos());
    let ranked = Box::pin(passing.rank(&call.head, fit)).await.map_err(|instead| Stop::Over(Fault::Instead(instead)))?;
    call.worker.tick();
    Ok(ranked)
}

/// Where this try goes.
fn chosen<'p>(call: &Call, plan: &'p Plan, tries: &mut Tries, ranked: &[usize]) -> Result<Hop<'p>, Stop> {
    tries.tried.extend(tries.asked.take());
    let mut hop =
        plan.hop(&call.workload, (&tries.tried, ranked), call.worker.recent_nanos()).map_err(|reject| Stop::Over(reject.into()))?;
    if let Target::Backend(backend) = &plan.target {
        hop.http2 = call.speaks_http2(backend.protocol);
    }
    Ok(hop)
}

/// A place among the requests that may be in flight to the backend at a time.
fn admitted(plan: &Plan) -> Result<Option<Admitted<'_>>, Stop> {
    let Target::Backend(backend) = &plan.target else { return Ok(None) };
    limit::admit(backend).map(Some).map_err(|Full { most, object }| {
        let detail = format!("{most} requests to {} are in flight already, as many as connections.maxRequests allows", backend.key);
        Stop::Over(Reject { object, detail, ..Reject::new(Reason::Overloaded, plan.snapshot.generation) }.into())
    })
}

/// What the end of a try says of its endpoint counts for the next picks.
fn learn(call: &Call, plan: &Plan, hop: &Hop<'_>, (ended, retrying): (&Result<(), Stop>, &Retrying)) {
    if let Err(Stop::Failed(Failed { stale: true, .. })) = ended {
        call.worker.pool.met_closing(hop.to(), std::time::Instant::now());
        call.worker.shared.telemetry.met_closing(&retrying.destination);
    }
    let (Target::Backend(backend), Some(endpoint)) = (&plan.target, hop.endpoint) else { return };
    // Asked first: without rules nobody needs the clock.
    if backend.traffic.outliers.is_some()
        && let Some(good) = verdict::of(ended, &call.wish, &call.response)
        && outlier::note(backend, endpoint, good, call.worker.now_nanos())
    {
        call.worker.shared.telemetry.ejected(&backend.key);
    }
}

async fn in_time(call: &mut Call, (plan, hop): (&Plan, &Hop<'_>), tries: &mut Tries, outcome: &mut Outcome<'_>) -> Result<(), Stop> {
    let attempt = plan.traffic().and_then(|traffic| traffic.attempt_timeout).and_then(|limit| Instant::now().checked_add(limit));
    let deadline = tries.deadline;
    let Some(limit) = earliest(deadline, attempt).filter(|_| matches!(call.wish, Wish::Answer { .. })) else {
        return once(call, (plan, hop), tries, outcome).await;
    };
    let generation = plan.snapshot.generation;
    let mut alarm = call.alarm.take().unwrap_or_else(|| Box::pin(tokio::time::sleep_until(limit)));
    let done = {
        // Pinned here: what is moved into a future is copied with all the room that it needs.
        let mut trying = pin!(once(call, (plan, hop), tries, outcome));
        let in_time = poll_fn(|cx| match trying.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => poll_alarm(alarm.as_mut(), limit, cx).map(|()| None),
        });
        in_time.await
    };
    call.alarm = Some(alarm);
    if let Some(done) = done {
        return done;
    }
    let whole = deadline.is_some_and(|deadline| deadline <= limit);
    let reason = if whole { Reason::RequestTimeout } else { Reason::AttemptTimeout };
    let object = plan.rule.as_deref().map(|rule| (*rule.object).clone());
    let reject = Reject { object, delivered: true, detail: "it took longer than the limit".into(), ..Reject::new(reason, generation) };
    Err(match (call.answer.has_begun(), whole) {
        (true, _) => Stop::Over(Fault::Truncated(Box::new(reject))),
        (false, true) => Stop::Over(reject.into()),
        (false, false) => Stop::Failed(Failed { ended: Ended::Broken, reject: reject.into(), stale: false }),
    })
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// One try: open, exchange.
async fn once(call: &mut Call, (plan, hop): (&Plan, &Hop<'_>), tries: &mut Tries, outcome: &mut Outcome<'_>) -> Result<(), Stop> {
    if let Some(endpoint) = hop.endpoint {
        outcome.endpoint.set(&endpoint.workload);
        tries.asked = plan.has_choice().then_some(endpoint.id);
        if let Some(backend) = plan.crosses_zones(&call.workload, endpoint) {
            call.worker.shared.telemetry.crossed_zones(&backend.key);
        }
    }
    // Opaque bytes never follow what another caller said before.
    let fresh = tries.fresh || call.wish == Wish::Tunnel;
    let upstream = upstream::open(&call.worker, &call.workload, hop, fresh).await?;
    exchange::run(call, (upstream, hop), plan, tries, outcome).await
}

impl Tries {
    /// The pause before the next try; `None` = the end.
    pub(crate) fn again(&mut self, worker: &Worker, plan: &Plan, repeatable: Repeatable, came: Came<'_>) -> Option<Duration> {
        let Came { ended, stale, headers, said } = came;
        if !repeatable.whole {
            return None;
        }
        if stale && repeatable.idempotent && !self.fresh {
            // The far end had closed the idle connection: no fault of anybody's, and no retry in the user's sense.
            self.fresh = true;
            self.asked = None;
            return Some(Duration::ZERO);
        }
        // The process beside us is the only one of its kind: what it refused it would refuse again.
        if ended == Ended::Undelivered && !plan.has_choice() {
            return None;
        }
        let retries = plan.traffic().and_then(|traffic| traffic.retries.as_ref());
        let one = retry::Try { number: self.count, idempotent: repeatable.idempotent, ended };
        let Again::After(pause) = retry::again(retries, one, said, fastrand::f64()) else { return None };
        let pause = retry::no_sooner(pause, headers.and_then(|headers| retry_after::asked(headers, SystemTime::now())))?;
        if self.deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return None;
        }
        if !self.retrying.budget.take(&budget_rules(plan), worker.now()) {
            return None;
        }
        self.count += 1;
        worker.shared.telemetry.retried(&self.retrying.destination);
        Some(pause)
    }

    /// The number of the try that ended so, where plugins may decide about another: 1 is the first.
    pub(crate) fn is_open(&self, plan: &Plan, repeatable: Repeatable, ended: Ended) -> Option<u32> {
        let retries = plan.traffic().and_then(|traffic| traffic.retries.as_ref());
        let one = retry::Try { number: self.count, idempotent: repeatable.idempotent, ended };
        (repeatable.whole && plan.has_choice() && retry::is_open(retries, one)).then_some(self.count + 1)
    }

    /// Whether this is another try of what was begun before.
    pub(crate) fn is_repeated(&self) -> bool {
        self.count > 0 || self.fresh
    }
}

fn budget_rules(plan: &Plan) -> RetryBudget {
    let retries = plan.traffic().and_then(|traffic| traffic.retries.as_ref());
    retries.map(|retries| retries.budget.clone()).unwrap_or_default()
}

/// The last try's reject, in the terms of the request.
fn finally(Failed { reject, stale, .. }: Failed, plan: &Plan) -> Fault {
    let generation = if reject.generation == 0 { plan.snapshot.generation } else { reject.generation };
    let reason = if stale { Reason::UpstreamClosing } else { reject.reason };
    Reject { generation, reason, ..*reject }.into()
}
