//! Every wait ends: by its condition, or with a failure.

use std::{future::Future, time::Duration};

/// Far more than anything here takes, also on a machine that compiles beside it.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// What is looked at again and again is given this much rest between.
const GLANCE: Duration = Duration::from_millis(2);

/// Waits for `future`; panics with `what` when it hangs.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("it hangs: {what}"))
}

/// Waits until `condition` gives something; panics with `what` when it never does.
pub async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    in_time(what, async {
        loop {
            match condition() {
                Some(found) => return found,
                None => tokio::time::sleep(GLANCE).await,
            }
        }
    })
    .await
}
