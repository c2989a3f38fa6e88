//! `Retry-After`: how long a destination asks to be left alone. Read where a retry is decided.

use std::time::{Duration, SystemTime};

use plait_model::Headers;

/// How long from `now` the answer asks to wait; `None` when it does not ask, or what it says is no time.
pub fn asked(headers: &Headers, now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(headers.first("retry-after")?).ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than fit is for ever.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(date(value)?);
    Some(at.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of "Sun, 06 Nov 1994 08:49:37 GMT", the one form of a date that may be sent (RFC 9110, 5.6.7).
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_once(", ")?.1.split(' ');
    let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next() != Some("GMT") || parts.next().is_some() {
        return None;
    }
    let number = |digits: &str, length: usize| digits.parse::<u64>().ok().filter(|_| digits.len() == length);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (day, year) = (number(day, 2).filter(|day| (1..=31).contains(day))?, number(year, 4).filter(|year| *year >= 1970)?);
    let mut clock = clock.split(':').map(|part| number(part, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970 of a date of the Gregorian calendar; a year begins in March here, so that the leap day is its last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // Of 0000-03-01 to 1970-01-01 there are 719,468 days.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_nothing_else() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
            ("Thu, 29 Feb 1996 00:00:00 GMT", Some(825_552_000 - 784_111_777)),
            ("Fri, 01 Mar 1996 00:00:00 GMT", Some(825_638_400 - 784_111_777)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 24:00:00 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 0001 08:49:37 GMT", None),
        ] {
            let mut headers = Headers::default();
            headers.append("retry-after", value.as_bytes());
            assert_eq!(asked(&headers, now), seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(asked(&Headers::default(), now), None);
    }
}
