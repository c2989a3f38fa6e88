//! Servers that speak first on a port whose protocol nobody declared: the first connection waits for a word of its client, the next do not.

use std::time::{Duration, Instant};

use plait_testkit::{Origin, Peer, Stage, Way, until};

/// A client that is listened to first waits at least so long.
const LISTENED: Duration = Duration::from_millis(100);

async fn greeted(stage: &Stage, origin: &Origin) -> Duration {
    let began = Instant::now();
    let mut caller = Peer::connect(stage.binds["any"].address).await;
    let mut process = origin.accept().await;
    let waited = began.elapsed();
    process.sends("220 ready\n").await;
    caller.reads("220 ready\n").await;
    caller.sends("quit\n").await;
    process.reads("quit\n").await;
    waited
}

fn learnt(stage: &Stage) -> Vec<(String, u16)> {
    stage.web.shared.speakers.list().into_iter().map(|speaker| (speaker.destination.to_string(), speaker.port)).collect()
}

#[tokio::test]
async fn only_the_first_connection_waits() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("any-1");
        assert_eq!(learnt(&stage), []);
        assert!(greeted(&stage, &origin).await >= LISTENED, "{way:?}");
        assert_eq!(learnt(&stage), [("shop/any".to_owned(), 9000)], "{way:?}");
        // The fastest of some: a machine may be busy, but who is listened to is never faster.
        let mut fastest = Duration::MAX;
        for _ in 0..10 {
            fastest = fastest.min(greeted(&stage, &origin).await);
        }
        assert!(fastest < LISTENED, "{way:?}: {fastest:?}");
    }
}

#[tokio::test]
async fn a_client_that_speaks_first_takes_the_verdict_back() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("any-1");
        greeted(&stage, &origin).await;
        let mut caller = Peer::connect(stage.binds["any"].address).await;
        let mut process = origin.accept().await;
        caller.sends("hello\n").await;
        process.reads("hello\n").await;
        until("the verdict is gone", || learnt(&stage).is_empty().then_some(())).await;
        process.sends("220 ready\n").await;
        caller.reads("220 ready\n").await;
        assert_eq!(learnt(&stage), [], "{way:?}: it answered, and did not speak first");
    }
}
