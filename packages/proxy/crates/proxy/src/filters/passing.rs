//! One call that passes plugins: who is asked, and what they want kept from phase to phase. The same chain from its first phase to its last; what is
//! loaded meanwhile answers the phases that come after.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use plait_model::{Chain, FailurePolicy, Reason, RequestHead, ResponseHead, Run};
use plait_plugins::{BodyInterest, ChainInterest, Effect, OnFailure, Phase, Section, Verdict};
use plait_telemetry::{Direction, Outcome};

use super::{
    body,
    candidates::{Candidates, nothing_to_pick},
    effects::{self, Change, apply, change},
    refusal::{Instead, judge, refusal},
    runner::Runner,
    seen::{Ended, Facts, Seen, fill},
};
use crate::{
    call::{Call, Wish},
    failed::Fault,
    inbound, outbound,
    plan::Plan,
};

/// A call and its plugins.
#[derive(Debug)]
pub(crate) struct Passing {
    runs: Vec<Passed>,
    facts: Facts,
    /// Of the snapshot that named them.
    pub(super) generation: u64,
    attributes: RefCell<Vec<(Box<str>, Box<str>)>>,
    /// Changes of the answer's head that were asked for before it was there.
    later: RefCell<Vec<Change>>,
    /// The beginning of the answer's body, which was read before it began.
    pub(super) held: RefCell<Option<Bytes>>,
    /// The beginning of the request's body was read, and lies in `Call::kept`.
    pub(super) ahead: Cell<bool>,
}

/// Plugins of one group, and those who run them.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) run: Arc<Run>,
    chain: plait_plugins::Chain,
}

impl Passed {
    pub(super) fn interest(&self) -> &ChainInterest {
        self.chain.interest()
    }

    /// Whether they may change a body.
    pub(super) fn changes(&self, phase: Phase) -> bool {
        match phase {
            Phase::RequestBody => self.interest().changes_body,
            Phase::ResponseBody => self.interest().changes_response_body,
            _ => false,
        }
    }

    /// How much of a body they see, within what the user allows.
    pub(super) fn body(&self, phase: Phase) -> BodyInterest {
        let wanted = match phase {
            Phase::RequestBody => self.interest().body,
            Phase::ResponseBody => self.interest().response_body,
            _ => BodyInterest::None,
        };
        let most = self.run.plugins.iter().map(|plugin| plugin.body_bytes).min().unwrap_or_default();
        match wanted {
            BodyInterest::Buffer(bytes) => BodyInterest::Buffer(bytes.min(most)),
            BodyInterest::Peek(bytes) => BodyInterest::Peek(bytes.min(most)),
            other => other,
        }
    }
}

/// The request, or the beginning of a connection: everything before it is sent.
pub(crate) async fn enter(call: &mut Call, plan: &mut Plan, chain: &Arc<Chain>, outcome: &mut Outcome<'_>) -> Result<(), Fault> {
    let passing = Rc::new(open(call, plan, chain, outcome).await.map_err(Fault::Instead)?);
    if call.wish == Wish::Tunnel {
        passing.connect().await.map_err(Fault::Instead)?;
    } else {
        let changed = passing.request(&mut call.head, plan, outcome).await.map_err(Fault::Instead)?;
        match call.direction {
            // What reaches the process is what was judged.
            Direction::Inbound if changed => inbound::judge_again(call, plan)?,
            Direction::Inbound => {}
            Direction::Outbound => outbound::settle(call, plan),
        }
        body::take(call, &passing).await?;
    }
    call.passing = Some(passing);
    Ok(())
}

async fn open(call: &Call, plan: &Plan, chain: &Arc<Chain>, outcome: &Outcome<'_>) -> Result<Passing, Instead> {
    let generation = plan.snapshot.generation;
    if let Some((name, why)) = chain.broken() {
        return Err(refusal(Reason::PluginUnavailable, name, why.to_owned(), generation).into());
    }
    let mut runs = Vec::with_capacity(chain.runs.len());
    for run in &chain.runs {
        let Some(runner) = Runner::of(&call.worker) else {
            nobody_runs(run, generation)?;
            continue;
        };
        match runner.chain(run).await {
            Ok(chain) => runs.push(Passed { run: run.clone(), chain }),
            Err(verdict) => judge(&verdict, generation)?,
        }
    }
    let inbound = call.direction == Direction::Inbound;
    let facts = Facts {
        peer: call.peer.identity.clone(),
        address: inbound.then_some(call.peer.address),
        workload: call.workload.key.clone(),
        service: outcome.destination.clone(),
        route: outcome.route.clone(),
        port: call.port.unwrap_or_default(),
        protocol: outcome.protocol.as_str(),
    };
    let (attributes, later) = (RefCell::default(), RefCell::default());
    Ok(Passing { runs, facts, generation, attributes, later, held: RefCell::default(), ahead: Cell::default() })
}

/// A proxy without an interpreter loads nothing.
fn nobody_runs(run: &Run, generation: u64) -> Result<(), Instead> {
    match run.plugins.iter().find(|plugin| plugin.on_load_failure == FailurePolicy::Closed) {
        Some(plugin) => {
            let detail = "this proxy was started without --python, and runs no plugins".to_owned();
            Err(refusal(Reason::PluginUnavailable, &plugin.name, detail, generation).into())
        }
        None => Ok(()),
    }
}

impl Passing {
    /// Whether anybody is to be asked in a phase.
    pub(crate) fn wants(&self, phase: Phase) -> bool {
        self.runs.iter().any(|passed| passed.interest().wants(phase))
    }

    /// Those to be asked in a phase.
    pub(super) fn asked(&self, phase: Phase) -> impl Iterator<Item = &Passed> {
        self.runs.iter().filter(move |passed| passed.interest().wants(phase))
    }

    /// One crossing. What ends the call is an error.
    pub(super) async fn ask(&self, passed: &Passed, phase: Phase, seen: Seen<'_>) -> Result<Verdict, Instead> {
        let verdict = self.begin(passed, phase, seen).verdict().await;
        judge(&verdict, self.generation)?;
        Ok(verdict)
    }

    fn begin(&self, passed: &Passed, phase: Phase, seen: Seen<'_>) -> plait_plugins::Call {
        passed.chain.call(phase, |writer| {
            fill(writer, passed.interest(), &self.facts, seen);
            for (name, value) in &*self.attributes.borrow() {
                writer.attribute(name, value);
            }
        })
    }

    async fn connect(&self) -> Result<(), Instead> {
        for passed in self.asked(Phase::Connect) {
            let verdict = self.ask(passed, Phase::Connect, Seen::default()).await?;
            self.keep(&verdict);
        }
        Ok(())
    }

    /// True when the request is not as it was.
    async fn request(&self, head: &mut RequestHead, plan: &mut Plan, outcome: &mut Outcome<'_>) -> Result<bool, Instead> {
        let (mut changed, mut candidates) = (false, self.candidates(plan));
        for passed in self.asked(Phase::Request) {
            let seen =
                Seen { request: Some(head), candidates: candidates.as_ref().filter(|_| passed.interest().candidates), ..Seen::default() };
            let verdict = self.ask(passed, Phase::Request, seen).await?;
            self.keep(&verdict);
            for (plugin, effect) in verdict.effects() {
                let done = match effect {
                    Effect::Label(name, value) => {
                        outcome.label(name, value);
                        Ok(false)
                    }
                    // Whoever is asked first decides: those behind are shown nothing to pick from.
                    Effect::Backend(name) => candidates.take().ok_or_else(nothing_to_pick).and_then(|them| them.pick(name, plan, outcome)),
                    _ => match change(&effect, Section::Response) {
                        Some(change) => {
                            self.later.borrow_mut().push(change);
                            Ok(false)
                        }
                        None => effects::of_request(&effect, head),
                    },
                };
                match done {
                    Ok(did) => changed |= did,
                    Err(why) => self.misdeed((passed, Phase::Request), plugin, why)?,
                }
            }
        }
        Ok(changed)
    }

    /// What may be picked from, where somebody wants to.
    fn candidates(&self, plan: &Plan) -> Option<Candidates> {
        self.runs.iter().any(|passed| passed.interest().candidates).then(|| Candidates::of(plan)).flatten()
    }

    /// The head of the answer.
    pub(super) async fn response(&self, request: &RequestHead, head: &mut ResponseHead) -> Result<(), Instead> {
        for change in self.later.take() {
            // One that is not free was the misdeed of a plugin that nobody knows any more: it is left out.
            let _ = apply(&change, &mut head.headers);
        }
        for passed in self.asked(Phase::Response) {
            let seen = Seen { request: Some(request), response: Some(head), ..Seen::default() };
            let verdict = self.ask(passed, Phase::Response, seen).await?;
            self.keep(&verdict);
            for (plugin, effect) in verdict.effects() {
                if let Err(why) = effects::of_response(&effect, head) {
                    self.misdeed((passed, Phase::Response), plugin, why)?;
                }
            }
        }
        Ok(())
    }

    /// Remembers what later phases are to know.
    pub(super) fn keep(&self, verdict: &Verdict) {
        for (_, effect) in verdict.effects() {
            if let Effect::Attribute(name, value) = effect {
                let mut attributes = self.attributes.borrow_mut();
                attributes.retain(|(known, _)| **known != *name);
                attributes.push((name.into(), value.into()));
            }
        }
    }

    /// A plugin asked for what cannot be: its onError says what follows.
    pub(super) fn misdeed(&self, (passed, phase): (&Passed, Phase), name: &str, why: String) -> Result<(), Instead> {
        match passed.chain.junk(phase, name) {
            OnFailure::Open => Ok(()),
            OnFailure::Closed => Err(refusal(Reason::PluginError, name, why, self.generation).into()),
        }
    }

    /// The end of the call; nobody waits for what they say to it.
    pub(crate) fn over(&self, call: &Call, outcome: &Outcome<'_>) {
        let phases: &[Phase] = if call.wish == Wish::Tunnel { &[Phase::Disconnect] } else { &[Phase::Complete, Phase::Log] };
        let ended = Ended {
            status: outcome.status,
            reason: outcome.reason,
            took: outcome.began().elapsed(),
            sent: outcome.sent_bytes,
            received: outcome.received_bytes,
        };
        let seen = Seen { request: Some(&call.head), ended: Some(&ended), ..Seen::default() };
        let asked = phases.iter().flat_map(|phase| self.asked(*phase).map(|passed| self.begin(passed, *phase, seen)));
        let asked: Vec<_> = asked.collect();
        if asked.is_empty() {
            return;
        }
        call.worker.spawn(async move {
            for asking in asked {
                // An answer to an end changes nothing.
                drop(asking.verdict().await);
            }
        });
    }
}
