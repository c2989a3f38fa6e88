//! Deadlines that callers set themselves: `grpc-timeout`, read at the edge and written anew with the time that is left.

use std::time::Duration;

/// Digits that the header may have.
const DIGITS: usize = 8;
/// The largest number in so many digits.
const MOST: u128 = 99_999_999;

/// The span of a `grpc-timeout`; `None` when it is malformed, which sets no deadline.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes the span in the finest unit that holds it, rounded down: what is passed on is never longer than what is left.
pub fn write(span: Duration) -> String {
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let fits = units.into_iter().map(|(nanos, unit)| (span.as_nanos() / nanos, unit)).find(|(number, _)| *number <= MOST);
    let (number, unit) = fits.unwrap_or((MOST, 'M'));
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_allows_is_read_and_nothing_else() {
        for (value, millis) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3_000)),
            ("250m", Some(250)),
            ("5000u", Some(5)),
            ("7000000n", Some(7)),
            ("0S", Some(0)),
            ("99999999H", Some(359_999_996_400_000)),
            ("100000000m", None),
            ("", None),
            ("m", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("5 S", None),
            ("1.5S", None),
        ] {
            assert_eq!(parse(value.as_bytes()), millis.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_never_longer() {
        for (span, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_millis(250), "250000u"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::from_secs(200_000), "200000S"),
            (Duration::MAX, "99999999M"),
        ] {
            assert_eq!(write(span), text);
            assert!(parse(text.as_bytes()).unwrap() <= span);
        }
    }
}
