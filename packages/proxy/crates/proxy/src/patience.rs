//! The wait for more of a connection: until bytes come, its peer closes, a limit of time passes, or the proxy stops. Used by `http1`.
//! Made once for a connection: to set a timer and to enlist for the drain with every request costs more than to parse one. Its alarm serves
//! `attempt` too.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

use crate::io::Input;

/// What a connection waits with.
pub(crate) struct Patience<'c> {
    alarm: Pin<&'c mut Sleep>,
    draining: Pin<&'c mut dyn Future<Output = ()>>,
    stopping: bool,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// More bytes.
    Bytes,
    /// The end: the peer closed, or the connection broke.
    Closed,
    /// Nothing in time.
    Late,
    /// Word that the proxy stops; it comes once.
    Drain,
}

impl<'c> Patience<'c> {
    /// `alarm`: a timer of any time to come. `draining` resolves when the proxy stops.
    pub(crate) fn new(alarm: Pin<&'c mut Sleep>, draining: Pin<&'c mut dyn Future<Output = ()>>) -> Self {
        Self { alarm, draining, stopping: false }
    }

    /// Whether word of the drain has come.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Waits for more in `input`, which holds at most `most` bytes. `heeds_drain`: word of it ends the wait.
    pub(crate) async fn more(&mut self, input: &mut Input, most: usize, until: Instant, heeds_drain: bool) -> Came {
        std::future::poll_fn(|cx| self.poll_more(cx, (&mut *input, most), until, heeds_drain)).await
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, (input, most): (&mut Input, usize), until: Instant, heeds_drain: bool) -> Poll<Came> {
        if let Poll::Ready(filled) = input.poll_fill(cx, most) {
            return Poll::Ready(if filled.is_ok_and(|count| count > 0) { Came::Bytes } else { Came::Closed });
        }
        if heeds_drain && !self.stopping && self.draining.as_mut().poll(cx).is_ready() {
            self.stopping = true;
            return Poll::Ready(Came::Drain);
        }
        poll_alarm(self.alarm.as_mut(), until, cx).map(|()| Came::Late)
    }
}

/// Resolves at `until`, or later. The alarm is moved only when it would ring too late: one that rings too early was set for an earlier wait, and is
/// set again. So what hardly ever takes too long sets no timer.
pub(crate) fn poll_alarm(mut alarm: Pin<&mut Sleep>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if until < alarm.deadline() {
        alarm.as_mut().reset(until);
    }
    while alarm.as_mut().poll(cx).is_ready() {
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        alarm.as_mut().reset(until);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use tokio::{
        io::AsyncWriteExt,
        net::{TcpListener, TcpStream},
        sync::Notify,
        time::sleep,
    };

    use super::*;
    use crate::io::halves;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);

    async fn connection() -> (Input, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (halves(near.unwrap()).0, far.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_first_ends_the_wait() {
        let (mut input, mut far) = connection().await;
        let drain = Notify::new();
        let (alarm, draining) = (pin!(sleep(LONG)), pin!(drain.notified()));
        let mut patience = Patience::new(alarm, draining);
        far.write_all(b"a").await.unwrap();
        assert_eq!(patience.more(&mut input, 0, Instant::now() + LONG, true).await, Came::Bytes);
        assert_eq!(patience.more(&mut input, 0, Instant::now() + SHORT, true).await, Came::Late);
        drain.notify_waiters();
        assert_eq!(patience.more(&mut input, 0, Instant::now() + LONG, true).await, Came::Drain);
        assert!(patience.is_stopping());
        // It is told once.
        assert_eq!(patience.more(&mut input, 0, Instant::now() + SHORT, true).await, Came::Late);
        drop(far);
        assert_eq!(patience.more(&mut input, 0, Instant::now() + LONG, true).await, Came::Closed);
    }

    #[tokio::test]
    async fn an_alarm_of_an_earlier_wait_ends_no_later_one() {
        let (mut input, mut far) = connection().await;
        let (alarm, draining) = (pin!(sleep(SHORT)), pin!(std::future::pending()));
        let mut patience = Patience::new(alarm, draining);
        let writes = async {
            sleep(3 * SHORT).await;
            far.write_all(b"a").await.unwrap();
        };
        let (came, ()) = tokio::join!(patience.more(&mut input, 0, Instant::now() + LONG, true), writes);
        assert_eq!(came, Came::Bytes);
    }
}
