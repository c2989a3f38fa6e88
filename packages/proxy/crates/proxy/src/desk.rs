//! Work for tasks that stay: one that has done its work waits here for the next, for to make a task for each piece costs more than many a piece.
//! Used by `http2` for its streams; one for each worker. Knows nothing of what the work is.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

/// Tasks that wait at a time: what more were needed by a burst that is over.
const SEATS: usize = 64;

/// Where tasks wait for work.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    idle: RefCell<Vec<Rc<Seat<T>>>>,
    closed: Cell<bool>,
}

/// The place of a task, kept by it from piece to piece.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    work: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self { idle: RefCell::default(), closed: Cell::new(false) }
    }
}

impl<T> Default for Seat<T> {
    fn default() -> Self {
        Self { work: RefCell::new(None), waker: RefCell::new(None) }
    }
}

impl<T> Desk<T> {
    /// Gives the work to a task that waits; gives it back when there is none.
    pub(crate) fn hand(&self, work: T) -> Option<T> {
        let Some(seat) = self.idle.borrow_mut().pop() else { return Some(work) };
        *seat.work.borrow_mut() = Some(work);
        seat.wake();
        None
    }

    /// Waits for the next work; `None` = the task is not needed any more.
    pub(crate) async fn next(&self, seat: &Rc<Seat<T>>) -> Option<T> {
        if self.closed.get() || self.idle.borrow().len() >= SEATS {
            return None;
        }
        self.idle.borrow_mut().push(seat.clone());
        poll_fn(|cx| {
            let work = seat.work.borrow_mut().take();
            if work.is_some() || self.closed.get() {
                return Poll::Ready(work);
            }
            *seat.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Sends all away who wait, and whoever comes.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        for seat in self.idle.borrow_mut().drain(..) {
            seat.wake();
        }
    }
}

impl<T> Seat<T> {
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
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
    async fn no_more_wait_than_there_are_seats() {
        let (desk, done) = (Rc::<Desk<u8>>::default(), Rc::default());
        let run = async {
            let tasks: Vec<_> = (0..SEATS + 3).map(|_| task(&desk, &done, 'a', 0)).collect();
            yield_now().await;
            while tasks.iter().filter(|task| task.is_finished()).count() < 3 {
                yield_now().await;
            }
            assert_eq!((0..).take_while(|_| desk.hand(1).is_none()).count(), SEATS);
        };
        LocalSet::new().run_until(run).await;
    }
}
