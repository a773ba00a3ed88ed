//! Numbers as people read them: counts, bytes, durations, rates, times.

use jiff::{Timestamp, tz::TimeZone};

/// `12,345`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `12,345 requests`.
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// `517 B`, `1.4 KiB`, `23 MiB`.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 and more would be printed as 1024.0.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(scaled), UNITS[unit])
}

/// `870 µs`, `12.3 ms`, `1.24 s`, `2m 05s`, `1h 02m`, `3d 04h`.
pub(crate) fn duration_us(us: u64) -> String {
    if us < 1_000 {
        return format!("{us} µs");
    }
    if us < 999_500 {
        return format!("{} ms", three_digits(us as f64 / 1e3));
    }
    if us < 59_995_000 {
        return format!("{} s", three_digits(us as f64 / 1e6));
    }
    let seconds = (us + 500_000) / 1_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if hours == 0 {
        format!("{minutes}m {:02}s", seconds % 60)
    } else if days == 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else {
        format!("{days}d {:02}h", hours % 24)
    }
}

/// `01:02:03`, for a clock that ticks.
pub(crate) fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// `1,240/s`, `3.5/s`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 100.0 {
        format!("{}/s", count(per_second.round() as u64))
    } else {
        format!("{}/s", three_digits(per_second))
    }
}

/// `12.3 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// Three digits at most, and no zeros that say nothing: `123`, `12.3`, `1.23`, `16`, `1`.
fn three_digits(value: f64) -> String {
    let (text, zeros) = if value >= 99.95 {
        (format!("{value:.0}"), "")
    } else if value >= 9.995 {
        (format!("{value:.1}"), ".0")
    } else {
        (format!("{value:.2}"), ".00")
    };
    match text.strip_suffix(zeros) {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// An RFC 3339 time as date and time of day where the user is; as it stands when it is none.
pub(crate) fn local_time(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => super::text::one_line(rfc3339).into_owned(),
    }
}

/// An RFC 3339 time as time of day with milliseconds, where the user is.
pub(crate) fn local_time_of_day(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string(),
        Err(_) => super::text::one_line(rfc3339).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "request", "requests"), "1 request");
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1024), bytes(1_500), bytes(1 << 20), bytes((1 << 20) - 1), bytes(u64::MAX)],
            ["0 B", "1023 B", "1 KiB", "1.46 KiB", "1 MiB", "1 MiB", "16 EiB"]
        );
        assert_eq!([rate(0.0), rate(3.5), rate(1_240.4)], ["0/s", "3.50/s", "1,240/s"]);
        assert_eq!([percent(1, 8), percent(1, 0)], ["12.5 %", "–"]);
    }

    #[test]
    fn durations_read_well() {
        let printed = [870, 1_000, 12_345, 999_600, 1_240_000, 59_999_000, 125_000_000, 3_720_000_000, 273_600_000_000]
            .map(duration_us);
        assert_eq!(printed, ["870 µs", "1 ms", "12.3 ms", "1 s", "1.24 s", "1m 00s", "2m 05s", "1h 02m", "3d 04h"]);
        assert_eq!(clock(3_723), "01:02:03");
    }
}
