//! Work for tasks that stay: one that has done its work waits here for the next, for to make a task for each piece costs more than many a piece.
//! Used by `http2` for its streams; one for each worker. Knows nothing of what the work is.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Where tasks wait for work.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    idle: RefCell<Vec<Rc<Seat<T>>>>,
    /// The fewest that waited at a time since it was swept.
    fewest: Cell<usize>,
    closed: Cell<bool>,
}

/// The place of a task, kept by it from piece to piece.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    work: RefCell<Option<T>>,
    dismissed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self { idle: RefCell::default(), fewest: Cell::new(0), closed: Cell::new(false) }
    }
}

impl<T> Default for Seat<T> {
    fn default() -> Self {
        Self { work: RefCell::new(None), dismissed: Cell::new(false), waker: RefCell::new(None) }
    }
}

impl<T> Desk<T> {
    /// Gives the work to a task that waits; gives it back when there is none.
    pub(crate) fn hand(&self, work: T) -> Option<T> {
        let mut idle = self.idle.borrow_mut();
        let seat = idle.pop();
        self.fewest.set(self.fewest.get().min(idle.len()));
        let Some(seat) = seat else { return Some(work) };
        *seat.work.borrow_mut() = Some(work);
        seat.wake();
        None
    }

    /// Waits for the next work; `None` = the task is not needed any more.
    pub(crate) async fn next(&self, seat: &Rc<Seat<T>>) -> Option<T> {
        if self.closed.get() {
            return None;
        }
        self.idle.borrow_mut().push(seat.clone());
        poll_fn(|cx| {
            let work = seat.work.borrow_mut().take();
            if work.is_some() || seat.dismissed.get() {
                return Poll::Ready(work);
            }
            seat.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends those away whom nobody needed since this was asked last: a burst is over.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        // Who waits longest comes first, and is called last.
        idle.drain(..self.fewest.get()).for_each(|seat| seat.dismiss());
        self.fewest.set(idle.len());
    }

    /// Sends all away who wait, and whoever comes.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.fewest.set(0);
        self.idle.borrow_mut().drain(..).for_each(|seat| seat.dismiss());
    }
}

impl<T> Seat<T> {
    fn dismiss(&self) {
        self.dismissed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// A task that notes its name with each work.
    fn task(desk: &Rc<Desk<u8>>, done: &Rc<RefCell<Vec<(char, u8)>>>, name: char, first: u8) -> tokio::task::JoinHandle<()> {
        let (desk, done) = (desk.clone(), done.clone());
        spawn_local(async move {
            let seat = Rc::default();
            let mut work = Some(first);
            while let Some(now) = work {
                done.borrow_mut().push((name, now));
                work = desk.next(&seat).await;
            }
        })
    }

    #[tokio::test]
    async fn a_task_that_is_done_takes_the_next_work_until_the_desk_closes() {
        let (desk, done) = (Rc::<Desk<u8>>::default(), Rc::default());
        let run = async {
            assert_eq!(desk.hand(1), Some(1), "nobody waits");
            let first = task(&desk, &done, 'a', 1);
            yield_now().await;
            assert_eq!(desk.hand(2), None);
            // It was called, and has not come yet.
            assert_eq!(desk.hand(3), Some(3));
            yield_now().await;
            let second = task(&desk, &done, 'b', 3);
            yield_now().await;
            assert_eq!(*done.borrow(), [('a', 1), ('a', 2), ('b', 3)]);
            desk.close();
            first.await.unwrap();
            second.await.unwrap();
            let late = task(&desk, &done, 'c', 4);
            late.await.unwrap();
            assert_eq!(desk.hand(5), Some(5));
        };
        LocalSet::new().run_until(run).await;
    }

    #[tokio::test]
    async fn those_whom_nobody_needs_are_sent_away() {
        let (desk, done) = (Rc::<Desk<u8>>::default(), Rc::default());
        let run = async {
            let tasks: Vec<_> = (0..10).map(|_| task(&desk, &done, 'a', 0)).collect();
            let settled = async |waiting: usize| {
                while desk.idle.borrow().len() != waiting || tasks.iter().filter(|task| !task.is_finished()).count() != waiting {
                    yield_now().await;
                }
            };
            settled(10).await;
            // They came since it was swept last.
            desk.sweep();
            settled(10).await;
            for needed in [3, 2] {
                (0..needed).for_each(|_| assert_eq!(desk.hand(1), None));
                settled(if needed == 3 { 10 } else { 3 }).await;
                desk.sweep();
                settled(needed).await;
            }
            desk.sweep();
            settled(0).await;
            assert_eq!(desk.hand(1), Some(1));
        };
        LocalSet::new().run_until(run).await;
    }
}
