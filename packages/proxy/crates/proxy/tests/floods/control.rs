//! Frames that carry nothing: each is cheap to send, and to be read by us.

use std::time::Duration;

use crate::{
    attacker::{Attacker, DATA, Door, End, PING, PRIORITY, SETTINGS, WINDOW_UPDATE, frame},
    scene::{Attack, PROMPTLY, attack},
};

/// Frames of one flood.
const MANY: usize = 1_000_000;
/// Sent at a time.
const BATCH: usize = 1000;

/// Sends a frame very often, behind a request that has only begun.
async fn repeats(mut attacker: Attacker, one: Vec<u8>) -> End {
    let request = attacker.request(1, "POST", 0);
    let batch = one.repeat(BATCH);
    attacker.floods(std::iter::once(request).chain(std::iter::repeat_n(batch, MANY / BATCH)), PROMPTLY).await
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let floods: [(&str, Attack); 6] = [
        ("empty DATA", |attacker| Box::pin(repeats(attacker, frame(DATA, 0, 1, b"")))),
        ("SETTINGS", |attacker| Box::pin(repeats(attacker, frame(SETTINGS, 0, 0, b"")))),
        ("PING", |attacker| Box::pin(repeats(attacker, frame(PING, 0, 0, b"12345678")))),
        ("PRIORITY", |attacker| Box::pin(repeats(attacker, frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")))),
        ("WINDOW_UPDATE", |attacker| Box::pin(repeats(attacker, frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")))),
        ("unknown", |attacker| Box::pin(repeats(attacker, frame(0xbe, 0, 0, b"")))),
    ];
    for door in Door::ALL {
        for (name, flood) in floods {
            for end in attack(name, door, 3, flood).await {
                assert_ne!(end, End::Open, "{name} {door:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_flood_that_nobody_reads_the_answers_to_is_held_back() {
    async fn deaf(mut attacker: Attacker, one: Vec<u8>) -> End {
        let batch = one.repeat(BATCH);
        for _ in 0..MANY / BATCH {
            match tokio::time::timeout(Duration::from_millis(500), attacker.send(&batch)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return End::Closed,
                Err(_) => return End::Open,
            }
        }
        panic!("all of it was taken");
    }
    for door in Door::ALL {
        attack("deaf PING", door, 3, |attacker| Box::pin(deaf(attacker, frame(PING, 0, 0, b"12345678")))).await;
        attack("deaf SETTINGS", door, 3, |attacker| Box::pin(deaf(attacker, frame(SETTINGS, 0, 0, b"")))).await;
    }
}
