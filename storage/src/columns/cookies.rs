//! The columns of `cookies`: what each flush saw of each cookie.
//!
//! In: the Cookie and Set-Cookie lines of exchanges. Out: one row for each cookie, value and direction of a flush,
//! with how often it came. Lines that come again, which is nearly all of them, cost one look-up; what is new is
//! parsed when the flush ends.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use arrow::{
    array::{BooleanArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType, UInt64Type},
    error::ArrowError,
};
use hashbrown::HashTable;
use rustc_hash::FxSeededState;
use weir_engine::{
    content::display_text,
    cookie::{self, Refusal, SameSite, SetCookie, SetFrom, default_path},
    record::Exchange,
};

use super::{
    numbers::{Optionals, numbers, times},
    text::{Texts, Words, seed},
};
use crate::schema::{Table, schema};

/// A line as it was seen in this flush.
struct Line {
    /// Set-Cookie rather than Cookie.
    sets: bool,
    secure: bool,
    host: Box<str>,
    /// The default path; the request's own for Cookie lines is of no interest.
    path: Box<str>,
    value: Box<[u8]>,
    seen: Seen,
}

/// When something was seen, and how often.
#[derive(Clone, Copy)]
struct Seen {
    exchange: u64,
    first_us: i64,
    last_us: i64,
    count: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        // The last exchange that set it is the one that set it.
        if other.last_us >= self.last_us {
            self.exchange = other.exchange;
        }
        self.first_us = self.first_us.min(other.first_us);
        self.last_us = self.last_us.max(other.last_us);
        self.count += other.count;
    }
}

/// Lines of `cookies` being gathered.
pub(crate) struct Cookies {
    lines: HashTable<Line>,
    seed: FxSeededState,
    bytes: usize,
}

impl Default for Cookies {
    fn default() -> Self {
        Self { lines: HashTable::new(), seed: seed(), bytes: 0 }
    }
}

impl Cookies {
    /// Notes the cookies of an exchange.
    pub(crate) fn push(&mut self, exchange: &Exchange) {
        for value in exchange.request_headers.get_all("cookie") {
            self.note(exchange, false, "", value, exchange.started_us);
        }
        let mut answered_us = None;
        for value in exchange.response_headers.get_all("set-cookie") {
            let at_us = *answered_us.get_or_insert_with(|| {
                let taken = exchange.timings.duration_us.unwrap_or(0);
                exchange.started_us.saturating_add(i64::try_from(taken).unwrap_or(i64::MAX))
            });
            self.note(exchange, true, default_path(exchange.url.path()), value, at_us);
        }
    }

    fn note(&mut self, exchange: &Exchange, sets: bool, path: &str, value: &[u8], at_us: i64) {
        let host = exchange.url.domain();
        let secure = matches!(exchange.url.scheme(), "https" | "wss");
        let seen = Seen { exchange: exchange.id, first_us: at_us, last_us: at_us, count: 1 };
        let hash = hash(&self.seed, sets, secure, host, path, value);
        let same = |line: &Line| {
            line.sets == sets
                && line.secure == secure
                && *line.host == *host
                && *line.path == *path
                && *line.value == *value
        };
        if let Some(line) = self.lines.find_mut(hash, same) {
            line.seen.add(seen);
            return;
        }
        self.bytes += host.len() + path.len() + value.len() + 200;
        let line = Line { sets, secure, host: host.into(), path: path.into(), value: value.into(), seen };
        let seed = &self.seed;
        self.lines.insert_unique(hash, line, |line| {
            self::hash(seed, line.sets, line.secure, &line.host, &line.path, &line.value)
        });
    }

    pub(crate) fn rows(&self) -> usize {
        self.lines.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.bytes
    }

    /// The rows as a batch; nothing is left afterwards.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        let lines = std::mem::take(&mut self.lines);
        let mut columns = Columns::default();
        let mut sent: HashMap<(Box<str>, String, String), Seen> = HashMap::new();
        let mut set: Vec<(SetCookie, Seen)> = Vec::new();
        for line in lines {
            if line.sets {
                let from =
                    SetFrom { host: &line.host, path: &line.path, secure: line.secure, at_us: line.seen.last_us };
                // The path stands without its last segment here: with a slash after it, it is its own default.
                let path = format!("{}/", line.path.trim_end_matches('/'));
                let cookie = cookie::parse_set_cookie(&line.value, SetFrom { path: &path, ..from });
                set.extend(cookie.map(|cookie| (cookie, line.seen)));
                continue;
            }
            for (name, value) in cookie::pairs(&display_text(&line.value)) {
                sent.entry((line.host.clone(), name.to_owned(), value.to_owned()))
                    .and_modify(|seen| seen.add(line.seen))
                    .or_insert(line.seen);
            }
        }
        set.sort_by(|(a, first), (b, second)| (first.first_us, &a.name).cmp(&(second.first_us, &b.name)));
        for (cookie, seen) in &set {
            columns.push_set(cookie, *seen);
        }
        let mut sent: Vec<_> = sent.into_iter().collect();
        sent.sort_by(|(a, first), (b, second)| (first.first_us, a).cmp(&(second.first_us, b)));
        for ((host, name, value), seen) in &sent {
            columns.push_sent(host, name, value, *seen);
        }
        columns.finish()
    }
}

fn hash(seed: &FxSeededState, sets: bool, secure: bool, host: &str, path: &str, value: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u8(u8::from(sets) << 1 | u8::from(secure));
    hasher.write(host.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(path.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(value);
    hasher.finish()
}

#[derive(Default)]
struct Columns {
    exchange: Vec<u64>,
    at: Vec<i64>,
    direction: Words,
    domain: Words,
    path: Words,
    name: Words,
    value: Texts,
    expires: Optionals<TimestampMicrosecondType>,
    max_age_s: Optionals<Int64Type>,
    secure: Vec<bool>,
    http_only: Vec<bool>,
    same_site: Words,
    host_only: Vec<Option<bool>>,
    last_seen: Vec<i64>,
    count: Vec<u64>,
    refused: Words,
}

impl Columns {
    fn push_set(&mut self, cookie: &SetCookie, seen: Seen) {
        self.push_seen("received", seen);
        self.domain.push(&cookie.domain);
        self.path.push(&cookie.path);
        self.name.push(&cookie.name);
        self.value.push(&cookie.value);
        self.expires.push(cookie.expires_us);
        self.max_age_s.push(cookie.max_age_s);
        self.secure.push(cookie.secure);
        self.http_only.push(cookie.http_only);
        self.same_site.push_option(cookie.same_site.map(SameSite::as_str));
        self.host_only.push(Some(cookie.host_only));
        self.refused.push_option(cookie.refusal.map(Refusal::as_str));
    }

    /// What a client sends says neither where else it would nor for how long.
    fn push_sent(&mut self, host: &str, name: &str, value: &str, seen: Seen) {
        self.push_seen("sent", seen);
        self.domain.push(host);
        self.path.push("/");
        self.name.push(name);
        self.value.push(value);
        self.expires.push(None);
        self.max_age_s.push(None);
        self.secure.push(false);
        self.http_only.push(false);
        self.same_site.push_option(None);
        self.host_only.push(None);
        self.refused.push_option(None);
    }

    fn push_seen(&mut self, direction: &str, seen: Seen) {
        self.direction.push(direction);
        self.exchange.push(seen.exchange);
        self.at.push(seen.first_us);
        self.last_seen.push(seen.last_us);
        self.count.push(seen.count);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns = vec![
            numbers::<UInt64Type>(&mut self.exchange),
            times(&mut self.at),
            self.direction.finish()?,
            self.domain.finish()?,
            self.path.finish()?,
            self.name.finish()?,
            self.value.finish()?,
            self.expires.finish_times(),
            self.max_age_s.finish(),
            Arc::new(BooleanArray::from(self.secure)),
            Arc::new(BooleanArray::from(self.http_only)),
            self.same_site.finish()?,
            Arc::new(BooleanArray::from(self.host_only)),
            times(&mut self.last_seen),
            numbers::<UInt64Type>(&mut self.count),
            self.refused.finish()?,
        ];
        RecordBatch::try_new(schema(Table::Cookies), columns)
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray, datatypes::Int32Type};
    use weir_engine::record::{Headers, Url};

    use super::*;

    #[test]
    fn a_cookie_of_a_flush_is_one_row() {
        let mut cookies = Cookies::default();
        for id in 1..=3_u64 {
            cookies.push(&Exchange {
                id,
                started_us: id as i64,
                url: Url::parse("https://a.example/x/y?1".into()).expect("parses"),
                request_headers: Headers::from_pairs([("Cookie", "b=2; c=3"), ("cookie", "b=2")]),
                response_headers: Headers::from_pairs([
                    ("Set-Cookie", "id=1; Secure"),
                    ("Set-Cookie", "u=1; Domain=com"),
                ]),
                ..Exchange::default()
            });
        }
        assert_eq!(cookies.rows(), 4);
        let batch = cookies.finish().expect("fits the schema");
        assert_eq!((batch.num_rows(), cookies.rows(), cookies.byte_len()), (4, 0, 0));
        let numbers = |name: &str| batch[name].as_primitive::<UInt64Type>().values().to_vec();
        assert_eq!((numbers("count"), numbers("exchange")), (vec![3, 3, 6, 3], vec![3, 3, 3, 3]));
        let words = |name: &str| -> Vec<Option<String>> {
            let column = batch[name].as_dictionary::<Int32Type>();
            let text = |key: usize| column.values().as_string::<i32>().value(key).to_owned();
            (0..4).map(|row| column.key(row).map(text)).collect()
        };
        assert_eq!(words("path")[0].as_deref(), Some("/x"));
        assert_eq!(words("refused"), [None, Some("public_suffix".to_owned()), None, None]);
        assert_eq!(words("direction")[2].as_deref(), Some("sent"));
    }
}
