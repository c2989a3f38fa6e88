//! One call of one chain: asked at once, asked again where its worker died before it began, and every failure answered by its plugin's policy.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use plait_frames::{Effect, Outcome as WorkerOutcome, Phase};

use crate::{
    Cause, ChainId, Failure, Outcome, Verdict,
    asked::{ChainLine, Time},
    channel::Line,
    link::{Link, NotTaken},
    policy::{Next, after},
    slots::{End, ended_by},
};

/// Times that a call is asked again because workers died before they began it.
const MOST_REPLAYS: u32 = 3;

/// How long a call that was not begun waits for the next worker. One is forked in milliseconds; where a machine has no time, a little of the
/// caller's is better spent than a refusal for somebody else's fault.
const RESTART: Duration = Duration::from_secs(1);

/// A call under way.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) line: Rc<Line>,
    pub(crate) chain: Rc<ChainLine>,
    pub(crate) id: ChainId,
    pub(crate) phase: Phase,
    pub(crate) frame: Vec<u8>,
    pub(crate) skip: u64,
    pub(crate) failures: Vec<Failure>,
    began: Instant,
}

impl Asking {
    pub(crate) fn new(line: Rc<Line>, chain: Rc<ChainLine>, id: ChainId, phase: Phase, frame: Vec<u8>) -> Self {
        Self { line, chain, id, phase, frame, skip: 0, failures: Vec::new(), began: Instant::now() }
    }

    /// Asks the worker that is there now.
    pub(crate) fn submit(&mut self) -> Result<Waiter, NotTaken> {
        let link = self.line.current().ok_or(NotTaken::Gone)?;
        self.follow(&link);
        let id = link.submit(&mut self.frame, self.skip, self.chain.info.deadline)?;
        Ok(Waiter { link, id: Some(id) })
    }

    /// To the end, whatever happens to workers meanwhile.
    pub(crate) async fn finish(mut self, submitted: Result<Waiter, NotTaken>) -> Verdict {
        let (mut submitted, mut replays) = (submitted, 0);
        loop {
            let end = match submitted {
                Ok(waiter) => waiter.await,
                Err(NotTaken::Gone) => End::NotStarted,
                Err(NotTaken::Full) => {
                    submitted = self.submit_into_room().await;
                    continue;
                }
                Err(NotTaken::TooMuch) => match self.failed(None, Cause::Overload, "too much waits for its worker") {
                    Some(verdict) => return verdict,
                    None => End::NotStarted,
                },
            };
            let ended = match end {
                End::Answer(bytes) => self.answered(bytes),
                End::Timeout(plugin) => self.failed(plugin, Cause::Timeout, "no answer within its deadline"),
                End::Crash(plugin) => self.failed(plugin, Cause::Crash, "its worker died"),
                End::NotStarted => {
                    replays += 1;
                    let there = replays <= MOST_REPLAYS && self.line.wait(self.chain.info.deadline.max(RESTART)).await;
                    if there { None } else { self.failed(None, Cause::Crash, "no worker") }
                }
            };
            if let Some(verdict) = ended {
                return verdict;
            }
            submitted = self.submit();
        }
    }

    /// Asks as soon as the ring has room, until the call's time is over: bodies are longer than a ring when there are many.
    async fn submit_into_room(&mut self) -> Result<Waiter, NotTaken> {
        let until = self.began + self.chain.info.deadline;
        loop {
            let link = self.line.current().ok_or(NotTaken::Gone)?;
            // Before the ring is looked at: what is given back between the two would be missed, and the call waits for nobody.
            let room = link.room();
            match self.submit() {
                Err(NotTaken::Full) => tokio::time::timeout_at(until.into(), room).await.map_err(|_| NotTaken::TooMuch)?,
                taken => return taken,
            }
        }
    }

    /// The worker may be of another generation than the one that was asked before: the same plugins, perhaps in another order.
    fn follow(&mut self, link: &Link) {
        let Some(info) = link.loaded.chains.get(&self.id) else { return };
        if std::sync::Arc::ptr_eq(info, &self.chain.info) {
            return;
        }
        let left_out = self.chain.info.members.iter().enumerate().filter(|(index, _)| self.skip >> index & 1 == 1);
        let at = left_out.filter_map(|(_, member)| info.members.iter().position(|other| other.spec.name == member.spec.name));
        self.skip = at.fold(0, |skip, index| skip | 1 << index);
        if let Some(chain) = self.line.chain(self.id) {
            self.chain = chain;
        }
    }

    fn answered(&mut self, bytes: Bytes) -> Option<Verdict> {
        let verdict = match plait_frames::Verdict::parse(bytes.clone()) {
            Ok(verdict) => verdict,
            // Whose junk it is stands in the frame, if it says so in earnest.
            Err(error) => return self.failed(ended_by(&bytes), Cause::Junk, &error.to_string()),
        };
        if let Some((plugin, text)) = self.chain.info.undeclared(&verdict) {
            return self.failed(Some(plugin), Cause::Junk, &text);
        }
        if verdict.outcome() == WorkerOutcome::Error {
            let text = verdict.text().unwrap_or("it failed").to_owned();
            return self.failed(verdict.plugin(), Cause::Error, &text);
        }
        self.passed_over(&verdict);
        let failed = self.failed_bits();
        let time = Time { all: self.began.elapsed(), hooks: Duration::from_micros(u64::from(verdict.micros())) };
        self.chain.answered(self.phase, self.skip, failed, time);
        let outcome = self.outcome(&verdict)?;
        Some(Verdict::answered(outcome, verdict, self.chain.info.clone(), std::mem::take(&mut self.failures)))
    }

    /// Those that raised in the worker and were passed over there, as their policy says.
    fn passed_over(&mut self, verdict: &plait_frames::Verdict) {
        for (index, effect) in verdict.effects() {
            if let Effect::Failure(text) = effect {
                self.chain.failed(Some(index), self.phase, self.skip, Cause::Error);
                self.chain.bypassed(index, self.phase);
                self.failures.push(Failure { plugin: self.chain.info.name(index).cloned(), cause: Cause::Error, text: text.into() });
            }
        }
    }

    fn failed_bits(&self) -> u64 {
        let names = || self.chain.info.members.iter().map(|member| &member.spec.name);
        let failed = names().enumerate().filter(|(_, name)| self.failures.iter().any(|failure| failure.plugin.as_ref() == Some(name)));
        failed.fold(0, |bits, (index, _)| bits | 1 << index)
    }

    fn outcome(&self, verdict: &plait_frames::Verdict) -> Option<Outcome> {
        let Some(index) = verdict.plugin() else { return Some(Outcome::Continue) };
        self.chain.ended(index, self.phase);
        let (plugin, status) = (self.chain.info.name(index)?.clone(), verdict.status());
        match verdict.outcome() {
            WorkerOutcome::Reply => Some(Outcome::Reply { plugin, status, body: verdict.body().unwrap_or_default() }),
            WorkerOutcome::Deny => Some(Outcome::Deny { plugin, status, reason: verdict.text().unwrap_or_default().into() }),
            WorkerOutcome::Continue | WorkerOutcome::Error => Some(Outcome::Continue),
        }
    }

    /// What the policies say about a failure; None: the others are to be asked.
    fn failed(&mut self, culprit: Option<u8>, cause: Cause, text: &str) -> Option<Verdict> {
        self.chain.failed(culprit, self.phase, self.skip, cause);
        match after(&self.chain.info, self.phase, self.skip, culprit, cause, text) {
            Next::Refuse(failure) => Some(Verdict::refused(failure, std::mem::take(&mut self.failures))),
            Next::Pass(failed) => {
                for index in crate::policy::asked(&self.chain.info, self.phase, self.skip) {
                    self.chain.bypassed(index, self.phase);
                }
                self.failures.extend(failed);
                Some(Verdict::on(std::mem::take(&mut self.failures)))
            }
            Next::Ask { skip, failure } => {
                if let Some(index) = culprit {
                    self.chain.bypassed(index, self.phase);
                }
                self.skip = skip;
                self.failures.push(failure);
                None
            }
        }
    }
}

/// Waits for the end of one call; dropped, it gives the call up.
#[derive(Debug)]
pub(crate) struct Waiter {
    link: Rc<Link>,
    id: Option<u64>,
}

impl Future for Waiter {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<End> {
        let Some(id) = self.id else { return Poll::Ready(End::NotStarted) };
        let Poll::Ready(end) = self.link.poll(id, context) else { return Poll::Pending };
        self.id = None;
        Poll::Ready(end.unwrap_or(End::NotStarted))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.abandon(id);
        }
    }
}
