//! A port whose protocol nobody declared: what is heard there is remembered. Where the server speaks first, the first connection waits for a word
//! of its client, the next do not.

use std::time::{Duration, Instant};

use plait_proxy_core::Spoken;
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

fn learnt(stage: &Stage) -> Vec<(String, u16, Spoken)> {
    let all = stage.web.shared.undeclared.list();
    all.into_iter().map(|heard| (heard.port.destination.to_string(), heard.port.port, heard.spoken)).collect()
}

fn any(spoken: Spoken) -> [(String, u16, Spoken); 1] {
    [("shop/any".to_owned(), 9000, spoken)]
}

#[tokio::test]
async fn only_the_first_connection_waits() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("any-1");
        assert_eq!(learnt(&stage), []);
        assert!(greeted(&stage, &origin).await >= LISTENED, "{way:?}");
        assert_eq!(learnt(&stage), any(Spoken::ServerFirst), "{way:?}");
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
        until("the verdict is another", || (learnt(&stage) == any(Spoken::Bytes)).then_some(())).await;
        process.sends("220 ready\n").await;
        caller.reads("220 ready\n").await;
        assert_eq!(learnt(&stage), any(Spoken::Bytes), "{way:?}: it answered, and did not speak first");
    }
}

#[tokio::test]
async fn what_a_client_speaks_is_remembered() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        for (first, spoken) in [
            ("GET / HTTP/1.1\r\nHost: any\r\n\r\n", Spoken::Http1),
            ("\u{16}\u{3}\u{1}", Spoken::Tls),
            ("SET key 1\r\n", Spoken::Bytes),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken::Http2),
        ] {
            let mut caller = Peer::connect(stage.binds["any"].address).await;
            caller.sends(first).await;
            until("it is heard", || (learnt(&stage) == any(spoken)).then_some(())).await;
        }
    }
}
