//! Rings: what goes in comes out, whole and in order, and memory that the other side scribbles over is an error.

use std::{
    collections::VecDeque,
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
    sync::Arc,
};

use plait_frames::*;
use proptest::prelude::*;

const RING: usize = 4096;

fn frame(length: usize, fill: u8) -> Vec<u8> {
    let mut frame = vec![fill; length];
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    frame
}

/// Both sides of one ring, and the memory as a file to scribble on.
fn ring(direction: Direction) -> (Producer, Consumer, File) {
    let (ours, memory) = Map::create(RING).expect("memory");
    let theirs = Map::open(memory.as_fd(), RING).expect("the same memory");
    (Producer::new(Arc::new(ours), direction), Consumer::new(Arc::new(theirs), direction), File::from(memory))
}

#[test]
fn a_full_ring_says_so_at_once_and_takes_more_when_room_was_given_back() {
    let (mut producer, mut consumer, _) = ring(Direction::Calls);
    let mut pushed = 0;
    while producer.push(&frame(500, 1)) == Ok(()) {
        pushed += 1;
    }
    assert_eq!(pushed, RING / 504);
    assert_eq!(producer.push(&frame(RING + 8, 1)), Err(PushError::Full));
    producer.publish();
    let mut read = Vec::new();
    assert_eq!(consumer.next(&mut read), Ok(true));
    assert_eq!(producer.push(&frame(500, 2)), Err(PushError::Full), "room that was not given back");
    consumer.release();
    assert_eq!(producer.push(&frame(500, 2)), Ok(()));
}

#[test]
fn only_a_sleeper_is_woken_and_only_once() {
    let (mut producer, mut consumer, _) = ring(Direction::Verdicts);
    let mut read = Vec::new();
    producer.push(&frame(24, 1)).unwrap();
    assert!(!producer.publish(), "nobody sleeps");
    assert!(!consumer.arm(), "there is something to read");
    while consumer.next(&mut read).unwrap() {}
    assert!(consumer.arm());
    assert!(!producer.publish(), "nothing new");
    producer.push(&frame(24, 1)).unwrap();
    assert!(producer.publish());
    producer.push(&frame(24, 1)).unwrap();
    assert!(!producer.publish(), "woken already");
}

#[test]
fn two_threads_lose_nothing() {
    let (mut producer, mut consumer, _) = ring(Direction::Calls);
    const COUNT: u32 = 20_000;
    let writer = std::thread::spawn(move || {
        for number in 0..COUNT {
            let mut frame = frame(24 + (number % 300) as usize, 3);
            frame[4..8].copy_from_slice(&number.to_le_bytes());
            while producer.push(&frame).is_err() {
                std::thread::yield_now();
            }
            producer.publish();
        }
    });
    let (mut read, mut expected) = (Vec::new(), 0);
    while expected < COUNT {
        if consumer.next(&mut read).unwrap() {
            assert_eq!(u32::from_le_bytes(*read[4..].first_chunk().unwrap()), expected);
            assert_eq!(read.len(), 24 + (expected % 300) as usize);
            expected += 1;
            consumer.release();
        } else {
            std::thread::yield_now();
        }
    }
    writer.join().unwrap();
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(steps in prop::collection::vec((24usize..900, any::<u8>(), 0usize..4), 1..200)) {
        let (mut producer, mut consumer, _) = ring(Direction::Calls);
        let (mut inside, mut read) = (VecDeque::new(), Vec::new());
        for (length, fill, reads) in steps {
            let frame = frame(length, fill);
            if producer.push(&frame).is_ok() {
                inside.push_back(frame);
            }
            producer.publish();
            for _ in 0..reads {
                let more = consumer.next(&mut read).unwrap();
                prop_assert_eq!(more.then(|| read.clone()), inside.pop_front());
            }
            consumer.release();
        }
    }

    #[test]
    fn scribbled_memory_is_an_error_and_never_a_panic(
        scribbles in prop::collection::vec((0u64..(4096 + 2 * RING as u64 - 8) / 8, any::<u64>(), any::<bool>()), 1..40),
    ) {
        let (ours, memory) = Map::create(RING).unwrap();
        let ours = Arc::new(ours);
        let (mut producer, mut consumer) = (Producer::new(ours.clone(), Direction::Calls), Consumer::new(ours.clone(), Direction::Verdicts));
        let memory = File::from(memory);
        let mut read = Vec::new();
        for (word, value, small) in scribbles {
            // Small values at the first words are what hurts: heads, tails and lengths that could be true.
            let (word, value) = if small { (word % 260, value % 1200) } else { (word, value) };
            memory.write_all_at(&value.to_le_bytes(), word * 8).unwrap();
            let _ = producer.push(&frame(100, 1));
            producer.publish();
            let _ = (ours.marked(), ours.begun(), ours.interrupted(), consumer.arm());
            for _ in 0..4 {
                if consumer.next(&mut read).unwrap_or(false) {
                    prop_assert!(read.len() <= RING);
                    let _ = Verdict::parse(read.clone().into());
                }
            }
            consumer.release();
        }
    }
}
