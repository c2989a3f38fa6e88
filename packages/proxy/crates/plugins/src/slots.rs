//! The calls that wait for a worker: one slot each, used again under a new number, so that a late verdict meets nobody.

use std::{
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use plait_frames::MAX_PLUGINS;

/// How a call ended, as seen from the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With these bytes, which nobody has looked into.
    Answer(Bytes),
    /// Its time ran out, in the hook of this plugin where that is known.
    Timeout(Option<u8>),
    /// The worker died, in the hook of this plugin where that is known.
    Crash(Option<u8>),
    /// The worker died before it began: it can be asked again.
    NotStarted,
}

/// What was done about a call whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It is not over.
    No,
    /// The hook of this plugin is being interrupted.
    Interrupted(u8),
    /// The worker was asked to give it up.
    Cancelled,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The how-manieth call of its worker it is.
    pub(crate) ordinal: u64,
    pub(crate) deadline: Instant,
    pub(crate) limit: Duration,
    pub(crate) overdue: Overdue,
    /// Nobody waits for it any more, but the worker may be at it: it can still hang there.
    pub(crate) orphan: bool,
    /// It got more time once, because another call held the worker up.
    pub(crate) extended: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum State {
    Free,
    Waiting(Waiting),
    Done(End),
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

/// All slots of one worker.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    waiting: usize,
}

impl Slots {
    /// A slot for a new call: its id.
    pub(crate) fn open(&mut self, ordinal: u64, deadline: Instant, limit: Duration) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Free });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        // Never 0: an id of 0 marks nothing.
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.state =
            State::Waiting(Waiting { ordinal, deadline, limit, overdue: Overdue::No, orphan: false, extended: false, waker: None });
        self.waiting += 1;
        u64::from(slot.generation) << 32 | u64::from(index)
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Ends a call; false when nobody waits for this id.
    pub(crate) fn finish(&mut self, id: u64, end: End) -> bool {
        let Some(slot) = find(&mut self.slots, id) else { return false };
        let State::Waiting(waiting) = &mut slot.state else { return false };
        // An answer that was forced by the deadline is still a deadline passed.
        let end = match (waiting.overdue, end) {
            (Overdue::Interrupted(plugin), End::Answer(_) | End::Crash(_)) => End::Timeout(Some(plugin)),
            // Given up as it was asked to, and saying in whose hook.
            (Overdue::Cancelled, End::Answer(bytes)) => End::Timeout(ended_by(&bytes)),
            (_, end) => end,
        };
        let (waker, orphan) = (waiting.waker.take(), waiting.orphan);
        self.waiting -= 1;
        if orphan {
            slot.state = State::Free;
            self.free.push(id as u32);
            return false;
        }
        slot.state = State::Done(end);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The end of a call, once; the slot is free afterwards.
    pub(crate) fn poll(&mut self, id: u64, context: &mut Context<'_>) -> Poll<Option<End>> {
        let Some(slot) = find(&mut self.slots, id) else { return Poll::Ready(None) };
        match std::mem::replace(&mut slot.state, State::Free) {
            State::Waiting(mut waiting) => {
                match &mut waiting.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                slot.state = State::Waiting(waiting);
                Poll::Pending
            }
            State::Done(end) => {
                self.free.push(id as u32);
                Poll::Ready(Some(end))
            }
            State::Free => Poll::Ready(None),
        }
    }

    /// Nobody waits for this call any more; true when it is still under way: its slot is free when it ends.
    pub(crate) fn close(&mut self, id: u64) -> bool {
        let Some(slot) = find(&mut self.slots, id) else { return false };
        match &mut slot.state {
            State::Waiting(waiting) => {
                waiting.orphan = true;
                waiting.waker = None;
                true
            }
            State::Done(_) => {
                slot.state = State::Free;
                self.free.push(id as u32);
                false
            }
            State::Free => false,
        }
    }

    /// A call was not even asked: its slot is free at once.
    pub(crate) fn withdraw(&mut self, id: u64) {
        if self.close(id) {
            self.finish(id, End::NotStarted);
        }
    }

    /// All calls that wait, with their ids.
    pub(crate) fn all_waiting(&mut self) -> impl Iterator<Item = (u64, &mut Waiting)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let id = u64::from(slot.generation) << 32 | index as u64;
            if let State::Waiting(waiting) = &mut slot.state { Some((id, waiting)) } else { None }
        })
    }
}

/// The index of the plugin that a verdict says ended it; a stranger's word.
pub(crate) fn ended_by(verdict: &[u8]) -> Option<u8> {
    verdict.get(5).copied().filter(|plugin| usize::from(*plugin) < MAX_PLUGINS)
}

fn find(slots: &mut [Slot], id: u64) -> Option<&mut Slot> {
    slots.get_mut((id & 0xffff_ffff) as usize).filter(|slot| u64::from(slot.generation) == id >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(slots: &mut Slots, ordinal: u64) -> u64 {
        slots.open(ordinal, Instant::now(), Duration::from_secs(1))
    }

    fn poll(slots: &mut Slots, id: u64) -> Poll<Option<End>> {
        slots.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_late_verdict_meets_nobody() {
        let mut slots = Slots::default();
        let first = open(&mut slots, 1);
        assert!(slots.close(first));
        assert_eq!(slots.waiting(), 1, "the worker may be at it");
        assert!(!slots.finish(first, End::NotStarted), "nobody waits");
        let second = open(&mut slots, 2);
        assert_eq!(first & 0xffff_ffff, second & 0xffff_ffff, "the same slot");
        assert!(!slots.finish(first, End::NotStarted));
        assert_eq!(poll(&mut slots, second), Poll::Pending);
        assert!(slots.finish(second, End::Crash(None)));
        assert!(!slots.finish(second, End::NotStarted), "the first end counts");
        assert_eq!(poll(&mut slots, second), Poll::Ready(Some(End::Crash(None))));
        assert_eq!(poll(&mut slots, second), Poll::Ready(None));
        assert_eq!(slots.waiting(), 0);
    }

    #[test]
    fn an_id_that_was_never_given_is_nobody_s() {
        let mut slots = Slots::default();
        let id = open(&mut slots, 1);
        for wrong in [0, 7, id + 1, id | 1 << 63, u64::MAX] {
            assert!(!slots.finish(wrong, End::NotStarted), "{wrong}");
            assert!(!slots.close(wrong));
        }
        assert_eq!(slots.waiting(), 1);
        slots.withdraw(id);
        assert_eq!(slots.waiting(), 0);
    }

    #[test]
    fn an_interrupted_call_is_late_whatever_the_worker_says() {
        let mut slots = Slots::default();
        let id = open(&mut slots, 1);
        slots.all_waiting().next().unwrap().1.overdue = Overdue::Interrupted(3);
        slots.finish(id, End::Answer(Bytes::new()));
        assert_eq!(poll(&mut slots, id), Poll::Ready(Some(End::Timeout(Some(3)))));
    }
}
