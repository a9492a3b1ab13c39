//! Times and durations as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::Language;

/// A duration in its two largest units: `4m12s`, `4 分 12 秒`.
pub fn duration(language: Language, seconds: i64) -> String {
    let total = seconds.max(0);
    let units = [
        (86_400, "d", "天"),
        (3_600, "h", "小时"),
        (60, "m", "分"),
        (1, "s", "秒"),
    ];
    let first = units
        .iter()
        .position(|(length, ..)| total >= *length)
        .unwrap_or(units.len() - 1);
    let mut rest = total;
    let mut parts = Vec::new();
    for (at, (length, short, chinese)) in units.iter().enumerate().skip(first).take(2) {
        let count = rest / length;
        rest %= length;
        if count > 0 || at == first {
            parts.push(match language {
                Language::En => format!("{count}{short}"),
                Language::ZhCn => format!("{count} {chinese}"),
            });
        }
    }
    parts.join(match language {
        Language::En => "",
        Language::ZhCn => " ",
    })
}

/// A duration in milliseconds; below a minute with its fraction.
pub fn milliseconds(language: Language, ms: i64) -> String {
    if ms % 1000 == 0 || ms >= 60_000 {
        return duration(language, ms / 1000);
    }
    let seconds = ms as f64 / 1000.0;
    match language {
        Language::En => format!("{seconds}s"),
        Language::ZhCn => format!("{seconds} 秒"),
    }
}

/// An RFC 3339 time in a zone, to the second; anything else as it is.
pub(crate) fn time(zone: &TimeZone, text: &str) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => time
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (seconds, english, chinese) in [
            (0, "0s", "0 秒"),
            (59, "59s", "59 秒"),
            (60, "1m", "1 分"),
            (252, "4m12s", "4 分 12 秒"),
            (3_600, "1h", "1 小时"),
            (3_661, "1h1m", "1 小时 1 分"),
            (200_000, "2d7h", "2 天 7 小时"),
            (-5, "0s", "0 秒"),
        ] {
            assert_eq!(duration(Language::En, seconds), english);
            assert_eq!(duration(Language::ZhCn, seconds), chinese);
        }
        assert_eq!(milliseconds(Language::En, 300), "0.3s");
        assert_eq!(milliseconds(Language::ZhCn, 90_000), "1 分 30 秒");
    }

    #[test]
    fn times_in_a_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        assert_eq!(time(&zone, "2026-11-25T00:01:02.5Z"), "2026-11-25 08:01:02");
        assert_eq!(time(&zone, "soon"), "soon");
    }
}
