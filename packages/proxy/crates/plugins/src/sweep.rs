//! What is done about calls whose time is over. Pure: it says what to do, `link` does it.

use std::time::{Duration, Instant};

use plait_frames::Mark;

use crate::slots::{End, Overdue, Slots, Waiting};

/// How long an interrupted hook, or a call that was given up, may take to say so.
pub(crate) const GRACE: Duration = Duration::from_millis(2);

/// What the worker is seen to be at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) mark: Option<Mark>,
    /// The ordinal of the last call that was begun.
    pub(crate) begun: u64,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Todo {
    /// This call's hook is to be interrupted.
    pub(crate) interrupt: Option<u64>,
    /// These calls are to be given up by the worker.
    pub(crate) cancel: Vec<u64>,
    /// The hook did not heed: the worker must be killed.
    pub(crate) kill: bool,
    /// When to look again; None while nobody waits.
    pub(crate) next: Option<Instant>,
}

/// Looks at every call that waits.
pub(crate) fn sweep(slots: &mut Slots, seen: Seen, now: Instant) -> Todo {
    let mut todo = Todo::default();
    // The call that holds the worker, and whether its time is over: those behind it are then not to blame.
    let holder = seen.mark.and_then(|mark| {
        slots.all_waiting().find(|(id, _)| *id == mark.id).map(|(_, waiting)| waiting.deadline <= now || waiting.overdue != Overdue::No)
    });
    let mut over = Vec::new();
    for (id, waiting) in slots.all_waiting().filter(|(_, waiting)| waiting.deadline <= now) {
        match step(id, waiting, seen, holder == Some(true)) {
            Step::Interrupt(plugin) => {
                waiting.overdue = Overdue::Interrupted(plugin);
                waiting.deadline = now + GRACE;
                todo.interrupt = Some(id);
            }
            Step::Cancel => {
                waiting.overdue = Overdue::Cancelled;
                waiting.deadline = now + GRACE;
                todo.cancel.push(id);
            }
            Step::Extend => {
                waiting.extended = true;
                waiting.deadline = now + waiting.limit;
            }
            Step::Kill(plugin) => {
                todo.kill = true;
                over.push((id, End::Timeout(Some(plugin))));
            }
            Step::Over => over.push((id, End::Timeout(None))),
        }
    }
    for (id, end) in over {
        slots.finish(id, end);
    }
    todo.next = slots.all_waiting().map(|(_, waiting)| waiting.deadline).min();
    todo
}

enum Step {
    Interrupt(u8),
    Cancel,
    Extend,
    Kill(u8),
    Over,
}

fn step(id: u64, waiting: &Waiting, seen: Seen, held_up: bool) -> Step {
    let marked = seen.mark.filter(|mark| mark.id == id);
    match (waiting.overdue, marked) {
        (Overdue::Interrupted(plugin), Some(_)) => Step::Kill(plugin),
        // It came out of the hook, and its answer is on the way or lost; the deadline was passed either way.
        (Overdue::Interrupted(_) | Overdue::Cancelled, _) => Step::Over,
        (Overdue::No, Some(mark)) => Step::Interrupt(mark.plugin),
        (Overdue::No, None) if waiting.ordinal <= seen.begun => Step::Cancel,
        (Overdue::No, None) if held_up && !waiting.extended => Step::Extend,
        (Overdue::No, None) => Step::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    fn mark(id: u64) -> Option<Mark> {
        Some(Mark { id, plugin: 1 })
    }

    #[test]
    fn a_hook_that_hangs_is_interrupted_then_killed_and_those_behind_it_get_their_time_again() {
        let (mut slots, start) = (Slots::default(), Instant::now());
        let culprit = slots.open(1, start + LIMIT, LIMIT);
        let behind = slots.open(2, start + LIMIT, LIMIT);
        let seen = Seen { mark: mark(culprit), begun: 1 };

        let early = sweep(&mut slots, seen, start);
        assert_eq!((early.interrupt, early.kill, early.next), (None, false, Some(start + LIMIT)));

        let late = start + LIMIT;
        let first = sweep(&mut slots, seen, late);
        assert_eq!((first.interrupt, first.kill, first.next), (Some(culprit), false, Some(late + GRACE)));

        let second = sweep(&mut slots, seen, late + GRACE);
        assert_eq!((second.interrupt, second.kill), (None, true));
        assert_eq!(slots.waiting(), 1, "the one behind waits");
        assert!(slots.finish(behind, End::NotStarted));
    }

    #[test]
    fn a_call_that_waits_in_the_worker_is_given_up_there() {
        let (mut slots, start) = (Slots::default(), Instant::now());
        let id = slots.open(1, start + LIMIT, LIMIT);
        let seen = Seen { mark: None, begun: 1 };
        let first = sweep(&mut slots, seen, start + LIMIT);
        assert_eq!((first.cancel, first.kill), (vec![id], false));
        let second = sweep(&mut slots, seen, start + LIMIT + GRACE);
        assert_eq!((second.cancel, second.kill, second.next), (vec![], false, None));
        assert_eq!(slots.waiting(), 0);
    }

    #[test]
    fn more_time_is_given_once() {
        let (mut slots, start) = (Slots::default(), Instant::now());
        let culprit = slots.open(1, start + LIMIT, LIMIT);
        slots.open(2, start + LIMIT, LIMIT);
        sweep(&mut slots, Seen { mark: mark(culprit), begun: 1 }, start + LIMIT);
        // The worker came back, and is as slow with others.
        slots.finish(culprit, End::NotStarted);
        sweep(&mut slots, Seen { mark: None, begun: 1 }, start + LIMIT * 2);
        assert_eq!(slots.waiting(), 0);
    }
}
