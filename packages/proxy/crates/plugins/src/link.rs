//! One worker process as one I/O thread sees it: its rings, the calls that wait for it, its deadlines, its death.

use std::{
    cell::{Cell, RefCell},
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use plait_frames::{CallWriter, Consumer, Direction, Map, Phase, Producer, PushError, RingBroken, Verdict, readdress};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::Notify,
};

use crate::{
    slots::{End, Slots},
    supervisor::Loaded,
    sweep::{Seen, sweep},
};

/// Calls that may wait for one worker; more would wait longer than their deadline.
const MOST_WAITING: usize = 1024;

/// What the supervisor hands over when a worker is ready.
#[derive(Debug)]
pub(crate) struct WorkerEnds {
    pub(crate) worker: u64,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) map: Arc<Map>,
    pub(crate) wake_worker: OwnedFd,
    pub(crate) wake_proxy: OwnedFd,
    pub(crate) process: Arc<OwnedFd>,
}

/// A worker, for one thread.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) worker: u64,
    pub(crate) loaded: Arc<Loaded>,
    map: Arc<Map>,
    wake_worker: OwnedFd,
    process: Arc<OwnedFd>,
    inner: RefCell<Inner>,
    /// Something is to be published, looked at anew, or the link is to end.
    turn: Notify,
    /// Verdicts came: the worker took calls, and gave their room back.
    room: Notify,
    dead: Cell<bool>,
    retired: Cell<bool>,
}

#[derive(Debug)]
struct Inner {
    calls: Producer,
    verdicts: Consumer,
    slots: Slots,
    /// Calls that were pushed: the ordinal of the last.
    pushed: u64,
    /// When calls must be looked at; may be too early.
    look: Option<Instant>,
    scratch: Vec<u8>,
}

/// A call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Too many calls wait already, or this one is too long for any ring.
    TooMuch,
    /// There is no room in the ring now.
    Full,
    /// The worker is gone.
    Gone,
}

impl Link {
    pub(crate) fn new(ends: WorkerEnds) -> (Rc<Self>, OwnedFd) {
        let WorkerEnds { worker, loaded, map, wake_worker, wake_proxy, process } = ends;
        let inner = Inner {
            calls: Producer::new(map.clone(), Direction::Calls),
            verdicts: Consumer::new(map.clone(), Direction::Verdicts),
            slots: Slots::default(),
            pushed: 0,
            look: None,
            scratch: Vec::new(),
        };
        let link = Self {
            worker,
            loaded,
            map,
            wake_worker,
            process,
            inner: RefCell::new(inner),
            turn: Notify::new(),
            room: Notify::new(),
            dead: Cell::new(false),
            retired: Cell::new(false),
        };
        (Rc::new(link), wake_proxy)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// Asks the worker; the answer comes by `poll`.
    pub(crate) fn submit(&self, frame: &mut [u8], skip: u64, limit: Duration) -> Result<u64, NotTaken> {
        if self.dead.get() {
            return Err(NotTaken::Gone);
        }
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        if inner.slots.waiting() >= MOST_WAITING || frame.len() > self.map.ring_bytes() {
            return Err(NotTaken::TooMuch);
        }
        let deadline = Instant::now() + limit;
        let id = inner.slots.open(inner.pushed + 1, deadline, limit);
        readdress(frame, id, skip);
        match inner.calls.push(frame) {
            Ok(()) => {}
            Err(error) => {
                inner.slots.withdraw(id);
                if let PushError::Broken(_) = error {
                    self.kill();
                }
                return Err(NotTaken::Full);
            }
        }
        inner.pushed += 1;
        inner.look = Some(inner.look.map_or(deadline, |look| look.min(deadline)));
        self.turn.notify_one();
        Ok(id)
    }

    /// Waits until there may be room in the ring again; room that comes before the first poll counts too.
    pub(crate) fn room(&self) -> impl Future<Output = ()> {
        self.room.notified()
    }

    /// The end of a call; None when it was never under way.
    pub(crate) fn poll(&self, id: u64, context: &mut Context<'_>) -> Poll<Option<End>> {
        let end = self.inner.borrow_mut().slots.poll(id, context);
        self.turn_if_idle();
        end
    }

    /// Nobody waits for this call any more.
    pub(crate) fn abandon(&self, id: u64) {
        let mut inner = self.inner.borrow_mut();
        if inner.slots.close(id) && !self.dead.get() {
            cancel(&mut inner, id);
            self.turn.notify_one();
        }
        drop(inner);
        self.turn_if_idle();
    }

    /// Takes no new calls, by the channel's word, and ends after the last.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.turn.notify_one();
    }

    /// Serves until the worker is dead or retired and idle.
    pub(crate) async fn run(&self, wake_proxy: OwnedFd) {
        let process = self.process.as_fd().try_clone_to_owned();
        let watched = process.and_then(|process| Ok((watch(wake_proxy)?, watch(process)?)));
        // Without descriptors to watch with nothing could ever come back.
        if let Ok((wake, process)) = watched {
            self.serve(&wake, &process).await;
        }
        self.kill();
        self.bury();
    }

    async fn serve(&self, wake: &AsyncFd<OwnedFd>, process: &AsyncFd<OwnedFd>) {
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        let mut set = None;
        while !(self.retired.get() && self.inner.borrow().slots.waiting() == 0) {
            let look = self.inner.borrow().look;
            if look != set {
                set = look;
                timer.as_mut().reset(look.unwrap_or_else(Instant::now).into());
            }
            let sound = tokio::select! {
                biased;
                () = self.turn.notified() => {
                    self.publish();
                    self.drain()
                }
                ready = wake.readable() => {
                    let Ok(mut ready) = ready else { return };
                    let _ = rustix::io::read(wake, &mut [0; 8]);
                    ready.clear_ready();
                    self.drain()
                }
                _ = process.readable() => return,
                () = timer.as_mut(), if set.is_some() => {
                    self.look();
                    Ok(())
                }
            };
            if sound.is_err() {
                return;
            }
        }
    }

    fn publish(&self) {
        if self.inner.borrow_mut().calls.publish() {
            let _ = rustix::io::write(&self.wake_worker, &1u64.to_ne_bytes());
        }
    }

    /// Hands out every verdict that is there, and says that this side sleeps.
    fn drain(&self) -> Result<(), RingBroken> {
        let mut inner = self.inner.borrow_mut();
        let Inner { verdicts, slots, scratch, .. } = &mut *inner;
        loop {
            while verdicts.next(scratch)? {
                if let Some(id) = Verdict::id_of(scratch) {
                    slots.finish(id, End::Answer(Bytes::copy_from_slice(scratch)));
                }
            }
            verdicts.release();
            self.room.notify_waiters();
            if verdicts.arm() {
                return Ok(());
            }
        }
    }

    /// Does what is to be done about calls whose time is over.
    fn look(&self) {
        let mut inner = self.inner.borrow_mut();
        let seen = Seen { mark: self.map.marked(), begun: self.map.begun() };
        let todo = sweep(&mut inner.slots, seen, Instant::now());
        inner.look = todo.next;
        for id in &todo.cancel {
            cancel(&mut inner, *id);
        }
        drop(inner);
        if !todo.cancel.is_empty() {
            self.publish();
        }
        if let Some(id) = todo.interrupt {
            self.map.interrupt(id);
            let _ = pidfd_send_signal(&self.process, Signal::USR1);
        }
        if todo.kill {
            self.kill();
        }
    }

    fn kill(&self) {
        self.dead.set(true);
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// After the worker's death: who was in a hook, who had begun, and who can be asked again.
    fn bury(&self) {
        let _ = self.drain();
        self.room.notify_waiters();
        let (mark, begun) = (self.map.marked(), self.map.begun());
        let mut inner = self.inner.borrow_mut();
        let ends: Vec<_> = inner
            .slots
            .all_waiting()
            .map(|(id, waiting)| {
                let marked = mark.filter(|mark| mark.id == id);
                let end = match marked {
                    Some(mark) => End::Crash(Some(mark.plugin)),
                    None if waiting.ordinal > begun => End::NotStarted,
                    None => End::Crash(None),
                };
                (id, end)
            })
            .collect();
        for (id, end) in ends {
            inner.slots.finish(id, end);
        }
    }

    fn turn_if_idle(&self) {
        if self.retired.get() {
            self.turn.notify_one();
        }
    }
}

#[expect(
    deprecated,
    reason = "sound for an OwnedFd, which is the same descriptor for as long as it lives; the new way is unsafe for all types"
)]
fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

fn cancel(inner: &mut Inner, id: u64) {
    let mut frame = Vec::new();
    if CallWriter::default().finish(id, Phase::Cancel, 0, 0, &mut frame).is_ok() {
        // A ring without room for it: the worker has more urgent trouble.
        let _ = inner.calls.push(&frame);
    }
}
