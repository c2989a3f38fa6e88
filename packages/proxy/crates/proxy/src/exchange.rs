//! One try, from its first byte to its last: the body goes up while the answer comes down. Called by `attempt`.
//! The answer may come before the body has gone; a caller that leaves ends it; what cannot be whole is visibly broken.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use plait_decide::{retry::Ended, rewrite, session};
use plait_http1::Framing;
use plait_model::{Reason, RequestHead, ResponseHead};
use plait_plugins::Phase;
use plait_telemetry::Outcome;

use crate::{
    answer::Answer,
    attempt::{Came, Repeatable, Stop, Tries},
    call::{Call, Wish},
    failed::{Failed, Fault},
    filters::{self, Instead, Moved, Passing, Tried, filtered},
    hop::Hop,
    in_flight::InFlight,
    inbound::{Revocable, revoked},
    plan::{Plan, Target},
    pump::{Stuck, pump},
    reject::Reject,
    sending::{Progress, Sent, Up, send},
    sink::Sink,
    source::Broken,
    upstream::{self, Arrived, Awaited, Begun, Outgoing, Response, Upstream},
    worker::{Worker, unix_seconds},
};

/// An open tunnel or upgrade through which nothing moves is closed after this.
const IDLE_TUNNEL: Duration = Duration::from_secs(3600);
/// A body of HTTP/2 that is all there may lack its end alone, which is a frame of its own. It is on its way, and comes within this.
const ITS_END: Duration = Duration::from_secs(1);

/// The upstream's half.
struct Down<'c> {
    worker: &'c Worker,
    plan: &'c Plan,
    hop: &'c Hop<'c>,
    wish: &'c Wish,
    progress: &'c Progress<'c>,
    /// The plugins that look at it, and what was asked.
    looked_at: Option<(&'c Passing, &'c RequestHead)>,
    response: &'c mut ResponseHead,
    answer: &'c mut Answer,
}

/// Sends the request and brings the answer back.
pub(crate) async fn run(
    call: &mut Call,
    (upstream, hop): (Upstream, &Hop<'_>),
    plan: &Plan,
    tries: &mut Tries,
    outcome: &mut Outcome<'_>,
) -> Result<(), Stop> {
    let worker = Rc::clone(&call.worker);
    let mut in_flight = hop.endpoint.map(|endpoint| InFlight::begin(&worker, endpoint));
    let asked = Outgoing { head: &call.head, wish: &call.wish, generation: plan.snapshot.generation };
    let Begun { mut sink, mut awaited, _busy } = upstream.begin(hop, asked)?;
    bid_go_on(&call.wish, &mut call.answer, tries).await?;
    // What was sent before is sent again; a tunnel may have begun with bytes that were read already.
    let passing = call.passing.clone();
    let ahead = passing.as_ref().is_some_and(|passing| passing.is_ahead());
    let again = if tries.is_repeated() || call.wish == Wish::Tunnel || ahead { call.kept.whole() } else { None };
    let progress = Progress::new(call.onlooker.as_deref());
    let ended = {
        let looked_at = passing.as_deref().map(|passing| (passing, asked.head));
        let sending = pin!(send(&mut call.body, &mut sink, (&call.kept, again, looked_at), &progress, &call.wish));
        let mut up = Up { sending, open: true };
        let mut down = Down {
            worker: &worker,
            plan,
            hop,
            wish: &call.wish,
            progress: &progress,
            looked_at,
            response: &mut call.response,
            answer: &mut call.answer,
        };
        // Pinned here: what is moved into a future is copied with all the room that it needs.
        let mut lost = pin!(lost(&worker, plan, &call.workload.key, (&call.peer, call.port.unwrap_or_default()), asked));
        let brought = pin!(async {
            let mut response = down.head(&mut awaited, asked, &worker, &mut up).await?;
            if let Some(in_flight) = &mut in_flight {
                in_flight.answered();
            }
            let repeatable = Repeatable { idempotent: asked.head.method.is_idempotent(), whole: call.kept.is_whole() };
            let said = match looked_at.filter(|(passing, _)| passing.wants(Phase::Retry) && response.reject.is_none()) {
                Some(looked_at) => Box::pin(down.said(looked_at, repeatable, tries, &mut up)).await?,
                None => None,
            };
            down.judge(&mut response, (repeatable, said), tries, &worker)?;
            if worker.shared.drain.has_begun() {
                down.answer.close();
            }
            if let Some(looked_at) = looked_at {
                Box::pin(down.filter(looked_at, &mut response, &mut up)).await?;
            }
            down.begin(&response)?;
            down.body(&mut response, &mut up, lost.as_mut()).await?;
            if up.open && lacks_its_end(down.wish, &progress) {
                // A stream that we leave now is reset, and its caller may take that for the end of more than its own half.
                let _ = Box::pin(tokio::time::timeout(ITS_END, up.sending.as_mut())).await;
            }
            Ok(response)
        });
        brought.await
    };
    outcome.sent_bytes += progress.sent.get();
    outcome.received_bytes += progress.received.get();
    match ended {
        Ok(response) => {
            worker.tick();
            outcome.status = call.response.status;
            if progress.whole.get() && response.said.keep_alive && !response.opened {
                upstream::keep(&worker, hop, sink, response);
            }
            Ok(())
        }
        Err(stop) => {
            note_refusal(&stop, hop, &worker);
            sink.abort();
            Err(stop)
        }
    }
}

/// Tells a caller that waits for it to send its body, once.
async fn bid_go_on(wish: &Wish, answer: &mut Answer, tries: &mut Tries) -> Result<(), Stop> {
    if tries.continued || !matches!(wish, Wish::Answer { expects_continue: true, .. }) {
        return Ok(());
    }
    tries.continued = true;
    answer.interim(&ResponseHead { status: 100, ..Default::default() }).await.map_err(|_| Stop::Over(Fault::Caller))
}

/// An endpoint whose sidecar cannot reach its process is passed over for a while.
fn note_refusal(stop: &Stop, hop: &Hop<'_>, worker: &Worker) {
    if let (Stop::Failed(Failed { ended: Ended::Undelivered, reject, .. }), Some(endpoint)) = (stop, hop.endpoint)
        // One that has no more connections is at work.
        && reject.reason != Reason::ConnectionLimit
    {
        plait_decide::balance::refused(endpoint, worker.now_nanos());
    }
}

/// Resolves when the permit of the request no longer holds.
async fn lost(
    worker: &Worker,
    plan: &Plan,
    workload: &std::sync::Arc<str>,
    (peer, port): (&plait_model::Peer, u16),
    asked: Outgoing<'_>,
) -> Reject {
    let Target::Process { permit, .. } = &plan.target else { return std::future::pending().await };
    let head = (*asked.wish != Wish::Tunnel).then_some(asked.head);
    let given = Revocable { world: &worker.shared.world, workload, peer, port, head };
    revoked(given, permit).await
}

impl Down<'_> {
    /// Waits for the head of the answer; interim heads are passed on.
    async fn head<F: Future<Output = Sent>>(
        &mut self,
        awaited: &mut Awaited,
        asked: Outgoing<'_>,
        worker: &Worker,
        up: &mut Up<'_, F>,
    ) -> Result<Response, Stop> {
        let limits = worker.limits();
        if let Awaited::Http2(_) = awaited
            // Before anything was sent no answer is there, and to look for one costs as much as to send a body.
            && let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(up.sending.as_mut().poll(cx))).await
        {
            self.went(sent, up)?;
        }
        loop {
            tokio::select! {
                biased;
                arrived = awaited.next(asked, &limits, self.response) => match arrived? {
                    Arrived::Final(response) => return Ok(response),
                    // 100 was ours to give; 101 is final.
                    Arrived::Interim if self.response.status > 101 => {
                        self.answer.interim(self.response).await.map_err(|_| Stop::Over(Fault::Caller))?;
                    }
                    Arrived::Interim => {}
                },
                sent = up.sending.as_mut(), if up.open => self.went(sent, up)?,
                () = self.answer.taken_back() => return Err(Stop::Over(Fault::Caller)),
            }
        }
    }

    /// The caller's half ended before the answer began.
    fn went<F>(&mut self, sent: Sent, up: &mut Up<'_, F>) -> Result<(), Stop> {
        match sent {
            Sent::Whole | Sent::Refused(_) => {
                up.open = false;
                Ok(())
            }
            Sent::Broken(error) => {
                // Nobody knows where its next request would begin.
                self.answer.close();
                Err(Stop::Over(caller_broke(&error, self.plan)))
            }
            Sent::Slow => {
                self.answer.close();
                Err(Stop::Over(slow(self.plan).into()))
            }
            Sent::Gone => Err(Stop::Over(Fault::Caller)),
            Sent::Ended(instead) => {
                self.answer.close();
                Err(Stop::Over(Fault::Instead(instead)))
            }
        }
    }

    /// Shows the answer to plugins, while the caller's half goes on.
    async fn filter<F: Future<Output = Sent>>(
        &mut self,
        (passing, asked): (&Passing, &RequestHead),
        response: &mut Response,
        up: &mut Up<'_, F>,
    ) -> Result<(), Stop> {
        let mut head = std::mem::take(self.response);
        let filtered = self.meanwhile(filtered(passing, asked, (&mut head, response)), up).await?;
        *self.response = head;
        filtered.map_err(|instead| Stop::Over(Fault::Instead(instead)))
    }

    /// What plugins say to another try, where this answer is a failure.
    async fn said<F: Future<Output = Sent>>(
        &mut self,
        (passing, asked): (&Passing, &RequestHead),
        repeatable: Repeatable,
        tries: &Tries,
        up: &mut Up<'_, F>,
    ) -> Result<Option<bool>, Stop> {
        let status = self.response.status;
        let Some(number) = tries.is_open(self.plan, repeatable, Ended::Status(status)) else { return Ok(None) };
        let tried = Tried { number, status: Some(status), reason: None };
        self.meanwhile(passing.again(asked, &tried), up).await?.map_err(|instead| Stop::Over(Fault::Instead(instead)))
    }

    /// Waits for plugins, while the caller's half goes on.
    async fn meanwhile<F: Future<Output = Sent>, T>(&mut self, asking: impl Future<Output = T>, up: &mut Up<'_, F>) -> Result<T, Stop> {
        let mut asking = pin!(asking);
        loop {
            tokio::select! {
                biased;
                done = &mut asking => return Ok(done),
                sent = up.sending.as_mut(), if up.open => self.went(sent, up)?,
                () = self.answer.taken_back() => return Err(Stop::Over(Fault::Caller)),
            }
        }
    }

    /// Whether this answer is the one: not when another proxy made it and nothing was delivered, nor when the user wants it tried again.
    fn judge(
        &self,
        response: &mut Response,
        (repeatable, said): (Repeatable, Option<bool>),
        tries: &mut Tries,
        worker: &Worker,
    ) -> Result<(), Stop> {
        if let Some(reject) = response.reject.take().map(|reject| *reject) {
            // What went wrong behind the other proxy is as if it had gone wrong here.
            return Err(match (reject.reason.is_of_the_place(), reject.delivered) {
                (true, false) => Stop::Failed(Failed::undelivered(reject)),
                (true, true) => Stop::Failed(Failed::broken(reject)),
                (false, _) => Stop::Over(reject.into()),
            });
        }
        let came = Came { ended: Ended::Status(self.response.status), stale: false, headers: Some(&self.response.headers), said };
        match tries.again(worker, self.plan, repeatable, came) {
            Some(pause) => Err(Stop::Again(pause)),
            None => Ok(()),
        }
    }

    /// Applies the filters of the answer and begins it.
    fn begin(&mut self, response: &Response) -> Result<(), Stop> {
        for filters in self.plan.filters() {
            if let Some(modifier) = &filters.response_headers {
                rewrite::modify(modifier, &mut self.response.headers);
            }
        }
        self.tell_session();
        if !self.progress.whole.get() {
            // The rest of the caller's body is still on its way, and may never come: nothing may be read behind it.
            self.answer.close();
        }
        let begun = match self.wish {
            Wish::Upgrade(protocol) if response.opened => {
                self.progress.opened.notify_one();
                self.answer.upgraded(self.response, protocol)
            }
            Wish::Tunnel if response.opened => self.answer.tunnelled(),
            Wish::Answer { .. } | Wish::Upgrade(_) | Wish::Tunnel => {
                // Nobody reads the fields again but who judges the endpoint by them.
                let judged = self.plan.judges_endpoints().then(|| self.response.headers.clone());
                let begun = self.answer.head(self.response, response.said.framing, response.said.length);
                if let Some(judged) = judged {
                    self.response.headers = judged;
                }
                begun
            }
        };
        begun.map_err(|_| Stop::Over(Fault::Caller))
    }

    /// Who has no session, or one with another endpoint, gets one with this.
    fn tell_session(&mut self) {
        if *self.wish != Wish::Tunnel
            && let (Target::Backend(backend), Some(endpoint)) = (&self.plan.target, self.hop.endpoint)
            && let Some(affinity) = self.plan.new_session(endpoint)
        {
            session::begin(affinity, endpoint, self.plan.matched(), unix_seconds(), &mut self.response.headers);
            self.worker.shared.telemetry.session_begun(&backend.key);
        }
    }

    /// Moves the body of the answer, and what is left of the caller's half.
    async fn body<F: Future<Output = Sent>>(
        &mut self,
        response: &mut Response,
        up: &mut Up<'_, F>,
        mut lost: Pin<&mut impl Future<Output = Reject>>,
    ) -> Result<(), Stop> {
        let (plan, progress, opened) = (self.plan, self.progress, response.opened);
        let Some(sink) = self.answer.sink() else { return Err(Stop::Over(Fault::Caller)) };
        let mut receiving = pin!(receive(self.looked_at, response, sink, progress));
        let mut idle = pin!(stalled(progress, opened));
        let mut received = false;
        loop {
            tokio::select! {
                biased;
                moved = &mut receiving, if !received => match moved {
                    Ok(()) if !opened || !up.open => return Ok(()),
                    Ok(()) => received = true,
                    Err(Moved::Stuck(Stuck::Source(error))) => return Err(truncated(*upstream::broke(&error, plan.snapshot.generation).reject)),
                    Err(Moved::Stuck(Stuck::Sink(_))) => return Err(Stop::Over(Fault::Caller)),
                    Err(Moved::Ended(instead)) => return Err(cut(instead, plan)),
                },
                sent = up.sending.as_mut(), if up.open => match sent {
                    Sent::Whole if received => return Ok(()),
                    Sent::Whole => up.open = false,
                    // An answer may go on without the rest of its request; opaque bytes may not.
                    Sent::Refused(error) if opened => return Err(truncated(*upstream::broke(&error, plan.snapshot.generation).reject)),
                    Sent::Refused(_) => up.open = false,
                    Sent::Slow => return Err(truncated(slow(plan))),
                    Sent::Ended(instead) => return Err(cut(instead, plan)),
                    Sent::Broken(_) | Sent::Gone => return Err(Stop::Over(Fault::Caller)),
                },
                reject = &mut lost => return Err(truncated(reject)),
                () = &mut idle => {
                    let detail = format!("nothing moved for {IDLE_TUNNEL:?}");
                    return Err(truncated(Reject { detail, ..Reject::new(Reason::UpstreamReset, plan.snapshot.generation) }));
                }
            }
        }
    }
}

/// Moves the body of an answer, by the plugins that look at it.
async fn receive(
    looked_at: Option<(&Passing, &RequestHead)>,
    response: &mut Response,
    sink: &mut Sink,
    progress: &Progress<'_>,
) -> Result<(), Moved> {
    let Some((passing, asked)) = looked_at else {
        return pump(&mut response.body, sink, None, &progress.received).await.map_err(Moved::Stuck);
    };
    if let Some(held) = passing.held() {
        progress.received.add(held.len());
        sink.bytes(held, false).await.map_err(|error| Moved::Stuck(Stuck::Sink(error)))?;
    }
    if passing.streams_down() && !response.opened {
        let by = (passing, Phase::ResponseBody, asked);
        return Box::pin(filters::pump(by, &mut response.body, sink, None, &progress.received)).await;
    }
    pump(&mut response.body, sink, None, &progress.received).await.map_err(Moved::Stuck)
}

/// A plugin ended an answer that has begun.
fn cut(instead: Instead, plan: &Plan) -> Stop {
    match instead {
        Instead::Reject(reject) => truncated(*reject),
        Instead::Reply(_) => {
            let detail = "a plugin answers, and the answer has begun already".to_owned();
            truncated(Reject { detail, delivered: true, ..Reject::new(Reason::PluginError, plan.snapshot.generation) })
        }
    }
}

/// Whether all bytes of the caller's half went up, and its end did not come.
fn lacks_its_end(wish: &Wish, progress: &Progress<'_>) -> bool {
    let all = matches!(wish, Wish::Answer { framing: Framing::Length(length), .. } if *length == progress.sent.get());
    all && !progress.whole.get()
}

/// Resolves when nothing moved through an open tunnel for long; never for an answer.
async fn stalled(progress: &Progress<'_>, opened: bool) {
    if !opened {
        return std::future::pending().await;
    }
    loop {
        let before = (progress.sent.get(), progress.received.get());
        tokio::time::sleep(IDLE_TUNNEL).await;
        if before == (progress.sent.get(), progress.received.get()) {
            return;
        }
    }
}

fn truncated(reject: Reject) -> Stop {
    Stop::Over(Fault::Truncated(Box::new(reject)))
}

fn slow(plan: &Plan) -> Reject {
    let detail = "hardly anything came of the body that was announced".into();
    Reject { detail, delivered: true, ..Reject::new(Reason::SlowCaller, plan.snapshot.generation) }
}

/// What is no body is told so; a caller that is gone is told nothing.
fn caller_broke(error: &Broken, plan: &Plan) -> Fault {
    match error {
        Broken::Framing(plait_http1::Error::Truncated) | Broken::Io(_) | Broken::Stream(_) => Fault::Caller,
        Broken::Framing(error) => {
            let reason = if error.status() == 431 { Reason::HeadTooLarge } else { Reason::BadRequest };
            Reject { detail: error.to_string(), delivered: true, ..Reject::new(reason, plan.snapshot.generation) }.into()
        }
    }
}
