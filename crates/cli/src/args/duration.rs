//! Durations as Go writes them: `8s`, `1m30s`, `300ms`, `1.5h`, `0`.

use crate::args::{Bad, RequestTimeout};

/// Milliseconds of a Go duration; parts of a millisecond are rounded up, so that a deadline never becomes none.
pub(crate) fn milliseconds(text: &str) -> Result<u64, Bad> {
    let bad = || Bad::new("duration_invalid").with("text", text);
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    let (mut rest, mut total) = (unsigned, 0.0_f64);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .ok_or_else(bad)?;
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3_600e3,
            _ => return Err(bad()),
        };
        rest = &rest[end..];
        total += number * unit;
    }
    // Go's durations end at 292 years.
    if unsigned.is_empty() || total > 9.2e15 {
        Err(bad())
    } else {
        Ok(total.ceil() as u64)
    }
}

/// A Go duration longer than nothing.
pub(crate) fn positive(text: &str) -> Result<std::time::Duration, Bad> {
    match milliseconds(text)? {
        0 => Err(Bad::new("duration_invalid").with("text", text)),
        ms => Ok(std::time::Duration::from_millis(ms)),
    }
}

/// A time-out of a request: a Go duration, or a number of seconds; `None` for 0.
pub(crate) fn request_timeout(text: &str) -> Result<RequestTimeout, Bad> {
    let ms = match text.parse::<u32>() {
        Ok(seconds) => u64::from(seconds) * 1000,
        Err(_) => milliseconds(text)?,
    };
    Ok(RequestTimeout(
        (ms > 0).then(|| std::time::Duration::from_millis(ms)),
    ))
}

/// A duration for a command line.
pub(crate) fn text(ms: u64) -> String {
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("8s", 8_000),
            ("1m30s", 90_000),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("1h15m30.918s", 4_530_918),
            ("100us", 1),
            ("1ns", 1),
            ("+5s", 5_000),
            (".5s", 500),
        ] {
            assert_eq!(milliseconds(text).ok(), Some(ms), "{text}");
        }
        for text in [
            "",
            "8",
            "s",
            "8 s",
            "1m30",
            "-8s",
            "8x",
            "1..5s",
            "∞",
            "99999999999h",
        ] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn request_timeouts_may_be_seconds() {
        assert_eq!(request_timeout("0").ok(), Some(RequestTimeout(None)));
        assert_eq!(
            request_timeout("7").ok(),
            Some(RequestTimeout(Some(std::time::Duration::from_secs(7))))
        );
        assert!(request_timeout("7 seconds").is_err());
    }

    #[test]
    fn texts_are_read_back() {
        for ms in [0, 300, 1_000, 90_000, 120_000, 7_200_000] {
            assert_eq!(milliseconds(&text(ms)).ok(), Some(ms));
        }
    }
}
