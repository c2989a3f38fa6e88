//! The open loop: requests of HTTP/1.1 at a fixed rate, whatever became of those before. Called by `main`.
//!
//! A request's time runs from when it was due, so that one that waited behind a slow answer counts as slow itself. A connection is a thread that
//! sleeps until its next request is due: timers of a runtime are as coarse as what is measured.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::PATIENCE;

const READ_BYTES: usize = 16 << 10;
const MOST_FIELDS: usize = 64;
/// Until all threads stand ready.
const READY: Duration = Duration::from_millis(100);

/// Which requests, and how many a second.
#[derive(Debug, clap::Args)]
pub(crate) struct Latency {
    /// Where the proxy listens
    address: SocketAddr,
    /// Requests a second, of all connections together
    #[arg(long)]
    rate: f64,
    /// Connections that stay open
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// How long requests are sent
    #[arg(long)]
    seconds: f64,
    /// Whom to ask for
    #[arg(long, default_value = "origin")]
    host: String,
    /// How long the body of each answer must be
    #[arg(long, default_value_t = 100)]
    answer: usize,
}

/// The times of the answers, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Times {
    requests: usize,
    failed: u64,
    why: Option<String>,
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Runs all connections to the end of the time.
pub(crate) fn run(latency: &Latency) -> io::Result<Times> {
    let mut streams = Vec::new();
    for _ in 0..latency.connections {
        let mut stream = TcpStream::connect(latency.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // What a connection costs to open is not measured.
        once(&mut stream, latency)?;
        streams.push(stream);
    }
    let start = Instant::now() + READY;
    let ended: Vec<_> = thread::scope(|scope| {
        let spawn = |(number, stream)| scope.spawn(move || connection(stream, latency, start, number));
        let threads: Vec<_> = (0..).zip(streams).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| (Vec::new(), Err(io::Error::other("a panic"))))).collect()
    });
    let (mut times, mut failed, mut why) = (Vec::new(), 0, None);
    for (some, end) in ended {
        times.extend(some);
        if let Err(error) = end {
            failed += 1;
            why = Some(error.to_string());
        }
    }
    times.sort_unstable();
    let at = |share| percentile(&times, share);
    Ok(Times { requests: times.len(), failed, why, p50: at(0.5), p99: at(0.99), p999: at(0.999) })
}

/// Times of one connection's requests; an error ends it.
fn connection(mut stream: TcpStream, latency: &Latency, start: Instant, number: u32) -> (Vec<Duration>, io::Result<()>) {
    let mut times = Vec::new();
    for turn in 0.. {
        let place = f64::from(turn) * f64::from(latency.connections) + f64::from(number);
        let after = place / latency.rate;
        if after >= latency.seconds {
            break;
        }
        let due = start + Duration::from_secs_f64(after);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Err(error) = once(&mut stream, latency) {
            return (times, Err(error));
        }
        times.push(due.elapsed());
    }
    (times, Ok(()))
}

fn once(stream: &mut TcpStream, latency: &Latency) -> io::Result<()> {
    // Formatted first: a request leaves in one piece.
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", latency.host).as_bytes())?;
    let mut answer = Vec::with_capacity(READ_BYTES);
    let mut buffer = [0; READ_BYTES];
    loop {
        let count = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..count]);
        match whole(&answer)? {
            Some(length) if length == latency.answer => return Ok(()),
            Some(length) => return Err(io::Error::other(format!("an answer of {length} bytes"))),
            None if count == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

/// The length of the body of a whole answer.
fn whole(answer: &[u8]) -> io::Result<Option<usize>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(body) = head.parse(answer).map_err(io::Error::other)? else { return Ok(None) };
    if head.code != Some(200) {
        return Err(io::Error::other(format!("status {:?}", head.code)));
    }
    let length = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| str::from_utf8(field.value).ok()?.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without its length"))?;
    Ok((answer.len() - body >= length).then_some(answer.len() - body))
}

/// Of sorted times.
fn percentile(times: &[Duration], share: f64) -> f64 {
    let place = (times.len() as f64 * share) as usize;
    times.get(place.min(times.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_nanos() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_this_share_stayed_below() {
        let times: Vec<_> = (1..=1000).map(Duration::from_micros).collect();
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|share| percentile(&times, share)), [501.0, 991.0, 1000.0, 1000.0]);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        let cases = [("", None), ("ab", None), ("abc", Some(3)), ("abcd", Some(4))];
        for (body, expected) in cases {
            assert_eq!(whole(format!("{head}{body}").as_bytes()).unwrap(), expected, "{body}");
        }
        assert!(whole(head.replace("200", "503").as_bytes()).is_err());
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_stall_counts_for_all_that_were_due_meanwhile() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stall = Duration::from_millis(300);
        let origin = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            for turn in 0.. {
                if stream.read(&mut buffer).unwrap() == 0 {
                    return;
                }
                // The first was sent before the clock started.
                if turn == 1 {
                    thread::sleep(stall);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").unwrap();
            }
        });
        let latency = Latency { address, rate: 100.0, connections: 1, seconds: 0.2, host: "o".into(), answer: 1 };
        let times = run(&latency).unwrap();
        origin.join().unwrap();
        // The last of the twenty was due 110 ms before the stall ended: a closed loop would have found one slow answer.
        assert_eq!((times.requests, times.failed), (20, 0), "{times:?}");
        assert!(times.p50 > 150_000.0, "{times:?}");
    }
}
