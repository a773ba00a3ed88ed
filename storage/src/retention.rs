//! Retention: which sessions are too old, too many, or too large together.
//!
//! In: entries with their sizes, and what to keep. Out: those to delete. Running sessions always stay.

use std::{fmt, str::FromStr, time::Duration};

use crate::{catalogue::Catalogue, error::StorageError, session::SessionEntry, time::Timestamp};

/// What is kept: `30d`, `10GB`, `20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Sessions that ended within this time.
    Age(Duration),
    /// The latest sessions that together take no more than so many bytes.
    Bytes(u64),
    /// So many of the latest sessions.
    Count(usize),
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' says neither an age, a size nor a number; write 30d, 12h, 10GB, 500MiB or 20");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim());
        if unit.is_empty() {
            return number.parse().map(Self::Count).map_err(|_| wrong());
        }
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let age = |seconds: f64| Duration::try_from_secs_f64(number * seconds).map(Self::Age).map_err(|_| wrong());
        let bytes = |unit: f64| {
            let bytes = number * unit;
            if bytes < (1_u64 << 53) as f64 { Ok(Self::Bytes(bytes as u64)) } else { Err(wrong()) }
        };
        match unit.to_ascii_lowercase().as_str() {
            "m" | "min" => age(60.0),
            "h" => age(3_600.0),
            "d" => age(86_400.0),
            "w" => age(7.0 * 86_400.0),
            "y" => age(365.0 * 86_400.0),
            "kb" => bytes(1e3),
            "mb" => bytes(1e6),
            "gb" => bytes(1e9),
            "tb" => bytes(1e12),
            "kib" => bytes(1024.0),
            "mib" => bytes(1_048_576.0),
            "gib" | "g" => bytes(1_073_741_824.0),
            "tib" | "t" => bytes(1_099_511_627_776.0),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(age) => write!(f, "{} s", age.as_secs()),
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Count(count) => write!(f, "{count} sessions"),
        }
    }
}

impl Keep {
    /// The sessions not to be kept, of all of them with their bytes, at a time.
    fn surplus(self, mut sessions: Vec<(SessionEntry, u64)>, now: Timestamp) -> Vec<(SessionEntry, u64)> {
        // The latest first: those that are kept.
        sessions.sort_by_key(|(entry, _)| std::cmp::Reverse(entry.id));
        let mut bytes = 0_u64;
        let mut number = 0;
        sessions.retain(|(entry, size)| {
            bytes = bytes.saturating_add(*size);
            number += 1;
            let kept = match self {
                Self::Age(age) => {
                    let since = now.as_micros().saturating_sub(entry.ended.unwrap_or(now).as_micros());
                    i128::from(since) <= i128::try_from(age.as_micros()).unwrap_or(i128::MAX)
                }
                Self::Bytes(most) => bytes <= most,
                Self::Count(most) => number <= most,
            };
            !kept && !entry.state.is_open()
        });
        sessions.reverse();
        sessions
    }
}

impl Catalogue {
    /// The sessions that are not to be kept, the oldest first, with their bytes on disk.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn surplus(&self, keep: Keep) -> Result<Vec<(SessionEntry, u64)>, StorageError> {
        let mut sessions = Vec::new();
        for entry in self.list()? {
            let bytes = self.disk_bytes(&entry.id)?;
            sessions.push((entry, bytes));
        }
        Ok(keep.surplus(sessions, Timestamp::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionState;

    #[test]
    fn words() {
        assert_eq!("30d".parse(), Ok(Keep::Age(Duration::from_secs(30 * 86_400))));
        assert_eq!("10GB".parse(), Ok(Keep::Bytes(10_000_000_000)));
        assert_eq!("1.5GiB".parse(), Ok(Keep::Bytes(3 << 29)));
        assert_eq!("20".parse(), Ok(Keep::Count(20)));
        for wrong in ["", "d", "-1", "20 cats", "1e3"] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_latest_and_what_runs_are_kept() {
        let mut last = None;
        let mut entry = |seconds_ago: i64, state: SessionState| {
            // Ids are of now and need not ascend within a millisecond.
            let mut entry = loop {
                let entry = SessionEntry::new(format!("{seconds_ago}"), "proxy");
                if Some(entry.id) > last {
                    break entry;
                }
            };
            last = Some(entry.id);
            entry.state = state;
            entry.ended = (!state.is_open()).then(|| Timestamp(1_000_000_000 - seconds_ago * 1_000_000));
            (entry, 100)
        };
        let all = vec![
            entry(900, SessionState::Running),
            entry(500, SessionState::Stopped),
            entry(60, SessionState::Recovered),
            entry(5, SessionState::Stopped),
        ];
        let names = |keep: Keep| -> Vec<String> {
            keep.surplus(all.clone(), Timestamp(1_000_000_000)).into_iter().map(|(entry, _)| entry.name).collect()
        };
        assert_eq!(names(Keep::Count(1)), ["500", "60"]);
        assert_eq!(names(Keep::Bytes(250)), ["500"]);
        assert_eq!(names(Keep::Age(Duration::from_secs(100))), ["500"]);
        assert!(names(Keep::Count(9)).is_empty());
    }
}
