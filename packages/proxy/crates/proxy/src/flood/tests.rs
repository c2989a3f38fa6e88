use super::*;

const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

fn frame(kind: u8, flags: u8, length: u32) -> Frame {
    Frame { length, kind, flags }
}

fn bytes(frames: &[Frame]) -> Vec<u8> {
    let mut all = Vec::new();
    for frame in frames {
        all.extend_from_slice(&frame.length.to_be_bytes()[1..]);
        all.extend_from_slice(&[frame.kind, frame.flags, 0, 0, 0, 1]);
        all.extend(std::iter::repeat_n(0xff, frame.length as usize));
    }
    all
}

#[test]
fn frames_are_found_however_the_bytes_are_cut() {
    let sent = [frame(SETTINGS, 0, 0), frame(HEADERS, 4, 300), frame(DATA, 0, 70_000), frame(DATA, 1, 0), frame(PING, 0, 8)];
    let bytes = bytes(&sent);
    for cut in [1, 2, 8, 9, 10, 17, 1000, bytes.len()] {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(cut) {
            frames.feed(piece, |frame| found.push(frame));
        }
        assert_eq!(found, sent, "{cut} bytes at a time");
    }
}

#[test]
fn the_preface_is_no_frame() {
    let mut watched = Watched::new((), Credit::new(Of::Application));
    let mut found = Vec::new();
    watched.read.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", |frame| found.push(frame));
    watched.read.feed(&bytes(&[frame(SETTINGS, 0, 6)]), |frame| found.push(frame));
    assert_eq!(found, [frame(SETTINGS, 0, 6)]);
}

#[tokio::test(start_paused = true)]
async fn what_carries_nothing_is_spent_and_time_pays_it_back() {
    for (kind, flags, length) in [(SETTINGS, 0, 0), (PING, 0, 8), (WINDOW_UPDATE, 0, 4), (2, 0, 5), (200, 0, 0), (DATA, 0, 0)] {
        let credit = Credit::new(Of::Application);
        for _ in 0..MOST {
            credit.came(frame(kind, flags, length));
        }
        assert!(!credit.spent.get(), "{kind}");
        tokio::time::advance(Duration::from_secs(2)).await;
        for _ in 0..2 * EACH_SECOND {
            credit.came(frame(kind, flags, length));
        }
        assert!(!credit.spent.get(), "{kind}");
        credit.came(frame(kind, flags, length));
        assert!(credit.spent.get(), "{kind}");
        credit.spent().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_works_for_its_frames_may_send_them_for_ever() {
    for (name, came, left) in [
        ("a ping every ten seconds", vec![frame(PING, 0, 8)], vec![]),
        ("requests with priorities and updates", vec![frame(HEADERS, 5, 40), frame(2, 0, 5), frame(WINDOW_UPDATE, 0, 4)], vec![]),
        ("an upload", vec![frame(DATA, 0, 1)], vec![]),
        ("a download, each piece acknowledged twice", vec![frame(WINDOW_UPDATE, 0, 4); 2], vec![frame(DATA, 0, 1)]),
        ("empty ends", vec![frame(DATA, END_STREAM, 0)], vec![]),
    ] {
        let credit = Credit::new(Of::Application);
        for _ in 0..100 * MOST {
            left.iter().for_each(|frame| credit.left(*frame));
            came.iter().for_each(|frame| credit.came(*frame));
            if name.contains("ten seconds") {
                tokio::time::advance(Duration::from_secs(10)).await;
            }
        }
        assert!(!credit.spent.get(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_back_soon_are_a_flood_when_they_are_most() {
    for (name, every, after, flood) in [
        ("all, at once", 1, Duration::ZERO, true),
        ("two of three", 0, Duration::ZERO, true),
        ("a third", 3, Duration::ZERO, false),
        ("all, after their deadline", 1, SOON, false),
    ] {
        let credit = Credit::new(Of::Application);
        for number in 0..2000 {
            let began = Instant::now();
            credit.request(began);
            let back = match every {
                0 => number % 3 != 0,
                every => number % every == 0,
            };
            if back {
                tokio::time::advance(after).await;
                credit.taken_back(began);
            }
        }
        let noticed = tokio::time::timeout(Duration::from_millis(1), credit.restless()).await.is_ok();
        assert_eq!(noticed, flood, "{name}");
    }
}
