//! W3C trace context: `traceparent` parsed, passed on, or begun. `proxy` writes it to what it sends on; `tracestate` is none of our business.
//!
//! What is passed on always has version 00, whatever came: so the specification wants it of those who know no other.

use std::iter;

/// Length of a `traceparent` of version 00: "00-" trace "-" parent "-" flags.
const LENGTH: usize = 55;
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// The caller recorded this trace.
const SAMPLED: u8 = 0b01;
/// The trace id is random, so that it can be sampled by its value.
const RANDOM: u8 = 0b10;

/// A trace, and the span in it that caused what is sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// All zero: none.
    pub trace_id: [u8; 16],
    /// All zero: none.
    pub parent_id: [u8; 8],
    /// Bit 0: sampled; bit 1: the id is random.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` when it is not valid.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let fields = header.get(..LENGTH)?;
        let [version] = bytes(&fields[..2])?;
        let separated = [2, 35, 52].iter().all(|&at| fields[at] == b'-');
        let ends = match version {
            0 => header.len() == LENGTH,
            0xff => false,
            // A later version may have more fields, and more flags: those we do not know are not passed on.
            _ => header.get(LENGTH).is_none_or(|next| *next == b'-'),
        };
        let [flags] = bytes(&fields[53..])?;
        let known = if version == 0 { SAMPLED | RANDOM } else { SAMPLED };
        let found = Self { trace_id: bytes(&fields[3..35])?, parent_id: bytes(&fields[36..52])?, flags: flags & known };
        (separated && ends && found.trace_id != [0; 16] && found.parent_id != [0; 8]).then_some(found)
    }

    /// A new trace; `sampling` (0 to 1) is the share of those with the sampled flag.
    pub fn begin(sampling: f64) -> Self {
        let flags = if fastrand::f64() < sampling { SAMPLED } else { 0 };
        let trace_id = not_zero(|| fastrand::u128(..)).to_be_bytes();
        Self { trace_id, parent_id: new_parent(), flags }
    }

    /// What to send on after `received`, all `traceparent` fields of a request: the same trace with a parent of ours.
    /// `None` when there is not exactly one valid: then begin a trace, and drop `tracestate`.
    pub fn pass_on<'a>(mut received: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let found = Self::parse(received.next()?)?;
        received.next().is_none().then_some(Self { parent_id: new_parent(), ..found })
    }

    /// True when there is a trace.
    pub fn is_set(&self) -> bool {
        self.trace_id != [0; 16]
    }

    /// The value of `traceparent`.
    pub fn header(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id, &mut text[3..35]);
        write_hex(&self.parent_id, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..]);
        text
    }
}

fn new_parent() -> [u8; 8] {
    not_zero(|| fastrand::u64(..)).to_be_bytes()
}

/// Zero means "none".
fn not_zero<T: Default + PartialEq>(draw: impl FnMut() -> T) -> T {
    iter::repeat_with(draw).find(|id| *id != T::default()).unwrap_or_default()
}

/// What each byte is worth as a hexadecimal digit, lower case alone.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xf0;

/// Bytes of hexadecimal digits, lower case alone. All are read before one is found wrong: every request through a pair has a trace to read.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let mut seen = 0;
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen < NO_DIGIT).then_some(out)
}

/// Two digits for each byte; `out` is twice as long as `bytes`.
pub(crate) fn write_hex(bytes: &[u8], out: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_read_and_written_back() {
        let context = TraceContext::parse(VALID.as_bytes()).unwrap();
        assert_eq!((context.trace_id[0], context.parent_id[7], context.flags), (0x4b, 0xb7, 1));
        assert_eq!(&context.header(), VALID.as_bytes());
        assert!(context.is_set() && !TraceContext::default().is_set());
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what-the-future-will-be",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{e9}",
        ] {
            assert_eq!(TraceContext::parse(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn a_later_version_is_passed_on_as_ours_without_what_we_do_not_know() {
        for (header, flags) in [
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 1),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe-what-the-future-will-be", 0),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", 3),
        ] {
            let context = TraceContext::parse(header.as_bytes()).unwrap();
            assert_eq!((context.flags, &context.header()[..36]), (flags, &VALID.as_bytes()[..36]), "{header}");
        }
    }

    #[test]
    fn a_trace_is_passed_on_with_a_parent_of_ours() {
        let sent = TraceContext::pass_on([VALID.as_bytes()].into_iter()).unwrap();
        let received = TraceContext::parse(VALID.as_bytes()).unwrap();
        assert_eq!((sent.trace_id, sent.flags), (received.trace_id, received.flags));
        assert_ne!(sent.parent_id, received.parent_id);
        assert_ne!(sent.parent_id, [0; 8]);
    }

    #[test]
    fn a_request_without_exactly_one_is_none() {
        for received in [&[][..], &["x"], &[VALID, VALID]] {
            assert_eq!(TraceContext::pass_on(received.iter().map(|text| text.as_bytes())), None, "{received:?}");
        }
    }

    #[test]
    fn a_new_trace_is_sampled_as_often_as_the_mesh_says() {
        let sampled = |share| (0..4000).filter(|_| TraceContext::begin(share).flags & SAMPLED != 0).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 4000));
        assert!((800..1200).contains(&sampled(0.25)));
        let begun = TraceContext::begin(1.0);
        assert_eq!(TraceContext::parse(&begun.header()), Some(begun));
        assert_ne!(begun.trace_id, TraceContext::begin(1.0).trace_id);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(header: Vec<u8>) {
            TraceContext::parse(&header);
        }

        #[test]
        fn what_is_written_is_read(trace_id: [u8; 16], parent_id: [u8; 8], flags in 0u8..4) {
            let context = TraceContext { trace_id, parent_id, flags };
            let valid = trace_id != [0; 16] && parent_id != [0; 8];
            assert_eq!(TraceContext::parse(&context.header()), valid.then_some(context));
        }
    }
}
