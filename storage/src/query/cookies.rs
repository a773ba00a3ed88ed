//! The cookies of a session: what its flushes saw, gathered into one row a cookie.
//!
//! A cookie is its domain, path and name. The last Set-Cookie decides what it is; what clients sent afterwards says
//! that it is in use. A cookie that was only ever sent is listed with the host it was sent to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_engine::{cookie::domain_matches, record::host::canonical};

use super::{file::guarded, lookup::Listing, rows::SeenCookie, scan::read, source::Source};
use crate::{
    error::StorageError,
    time::Timestamp,
    tombstones::{CookieKey, Tombstones},
};

/// Cookies held at once; more are left out with a warning.
const MOST: usize = 200_000;

/// Which cookies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CookieQuery {
    /// For this domain or what is under it.
    pub domain: Option<String>,
    /// With this name.
    pub name: Option<String>,
    /// With this text in name, value or domain, without regard to case.
    pub search: Option<String>,
    /// Those that a browser would not keep, too.
    pub refused: bool,
}

impl CookieQuery {
    fn takes(&self, cookie: &CookieRow) -> bool {
        let holds = |text: &str, part: &str| text.to_lowercase().contains(part);
        self.domain.as_deref().is_none_or(|domain| {
            let domain = canonical(domain.trim_start_matches("*.").trim_start_matches('.'));
            domain_matches(&cookie.domain, &domain)
        }) && self.name.as_deref().is_none_or(|name| cookie.name == name)
            && (self.refused || cookie.refused.is_none())
            && self.search.as_deref().is_none_or(|text| {
                let text = text.to_lowercase();
                [&cookie.name, &cookie.value, &cookie.domain].into_iter().any(|field| holds(field, &text))
            })
    }
}

/// A cookie of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieRow {
    /// Its name.
    pub name: String,
    /// Its last value.
    pub value: String,
    /// Host or domain it is for.
    pub domain: String,
    /// Path it is for.
    pub path: String,
    /// When it ends; none: with the browser's session.
    pub expires: Option<Timestamp>,
    /// Only over TLS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// `Strict`, `Lax`, `None`, or as browsers see fit.
    pub same_site: Option<String>,
    /// For that host alone; not known of a cookie that was only sent.
    pub host_only: Option<bool>,
    /// First seen, set or sent.
    pub first_seen: Timestamp,
    /// Last seen, set or sent.
    pub last_seen: Timestamp,
    /// The exchange that set it last; none: it was only sent.
    pub exchange: Option<u64>,
    /// How often it was set.
    pub set: u64,
    /// How often it was sent.
    pub sent: u64,
    /// Why a browser would not keep it, a stable code.
    pub refused: Option<String>,
}

impl CookieRow {
    fn new(seen: SeenCookie) -> Self {
        let is_set = seen.direction == "received";
        Self {
            name: seen.name,
            value: seen.value,
            domain: seen.domain,
            path: seen.path,
            expires: seen.expires,
            secure: seen.secure,
            http_only: seen.http_only,
            same_site: seen.same_site,
            host_only: seen.host_only,
            first_seen: seen.at,
            last_seen: seen.last_seen,
            exchange: is_set.then_some(seen.exchange),
            set: if is_set { seen.count } else { 0 },
            sent: if is_set { 0 } else { seen.count },
            refused: seen.refused,
        }
    }

    /// Adds what another flush saw of it; the later one decides.
    fn add(&mut self, other: Self) {
        let (first_seen, last_seen) = (self.first_seen.min(other.first_seen), self.last_seen.max(other.last_seen));
        let (set, sent) = (self.set + other.set, self.sent + other.sent);
        if other.last_seen >= self.last_seen {
            *self = other;
        }
        (self.first_seen, self.last_seen, self.set, self.sent) = (first_seen, last_seen, set, sent);
    }

    fn key(&self) -> CookieKey {
        (self.domain.clone(), self.path.clone(), self.name.clone())
    }

    /// Whether a cookie that was sent to a host could be this one.
    fn is_sent_as(&self, host: &str) -> bool {
        match self.host_only {
            Some(false) => domain_matches(host, &self.domain),
            _ => host == self.domain,
        }
    }
}

/// Cookies by what tells them apart: set ones (kept or refused), and sent ones by host and name.
#[derive(Debug, Default)]
struct Gathered {
    set: BTreeMap<(CookieKey, bool), CookieRow>,
    sent: BTreeMap<CookieKey, CookieRow>,
    left_out: bool,
}

impl Gathered {
    fn add(&mut self, seen: SeenCookie, tombstones: &Tombstones) {
        let row = CookieRow::new(seen);
        let key = row.key();
        if tombstones.cookies.get(&key).is_some_and(|before| row.first_seen.as_micros() <= *before) {
            return;
        }
        let is_full = self.set.len() + self.sent.len() >= MOST;
        if row.exchange.is_some() {
            match self.set.get_mut(&(key.clone(), row.refused.is_some())) {
                Some(known) => known.add(row),
                None if is_full => self.left_out = true,
                None => {
                    self.set.insert((key, row.refused.is_some()), row);
                }
            }
        } else {
            match self.sent.get_mut(&key) {
                Some(known) => known.add(row),
                None if is_full => self.left_out = true,
                None => {
                    self.sent.insert(key, row);
                }
            }
        }
    }

    /// Hands over all cookies, each with the keys of its rows.
    fn finish(mut self) -> Vec<(CookieRow, Vec<CookieKey>)> {
        let mut by_name: BTreeMap<String, Vec<(CookieRow, Vec<CookieKey>)>> = BTreeMap::new();
        for ((key, _), row) in std::mem::take(&mut self.set) {
            by_name.entry(row.name.clone()).or_default().push((row, vec![key]));
        }
        for (key, row) in self.sent {
            let named = by_name.entry(row.name.clone()).or_default();
            let mut known = false;
            for (set, keys) in named.iter_mut().filter(|(set, _)| set.exchange.is_some() && set.refused.is_none()) {
                if set.is_sent_as(&row.domain) {
                    known = true;
                    set.sent += row.sent;
                    set.first_seen = set.first_seen.min(row.first_seen);
                    set.last_seen = set.last_seen.max(row.last_seen);
                    keys.push(key.clone());
                }
            }
            if !known {
                named.push((row, vec![key]));
            }
        }
        let mut all: Vec<_> = by_name.into_values().flatten().collect();
        all.sort_by(|(a, _), (b, _)| (&a.domain, &a.name, &a.path).cmp(&(&b.domain, &b.name, &b.path)));
        all
    }
}

fn gather(source: &mut Source) -> Result<Gathered, StorageError> {
    source.run(|source| {
        let mut gathered = Gathered::default();
        for unit in source.units() {
            let part = &source.parts[unit.part];
            guarded(|| {
                for batch in read(part, unit.group, &SeenCookie::columns(), None)? {
                    let batch = batch?;
                    let seen = SeenCookie::reader(&batch);
                    for row in 0..batch.num_rows() {
                        gathered.add(seen(row)?, &source.tombstones);
                    }
                }
                Ok(())
            })
            .map_err(|error| (unit.part, part.error(error)))?;
        }
        Ok(gathered)
    })
}

/// The cookies that a query finds, by domain, name and path.
pub(crate) fn cookies(source: &mut Source, query: &CookieQuery) -> Result<Listing<CookieRow>, StorageError> {
    let gathered = gather(source)?;
    let mut warnings = source.warnings.clone();
    if gathered.left_out {
        warnings.push(format!("there are more than {MOST} cookies; the others are left out"));
    }
    let rows = gathered.finish().into_iter().map(|(row, _)| row).filter(|row| query.takes(row)).collect();
    Ok(Listing { rows, warnings })
}

/// The keys of all rows of the cookies that a query finds, and how many cookies these are.
pub(crate) fn keys(source: &mut Source, query: &CookieQuery) -> Result<(Vec<CookieKey>, u64), StorageError> {
    let found = gather(source)?.finish().into_iter().filter(|(row, _)| query.takes(row));
    let (mut keys, mut count) = (Vec::new(), 0);
    for (_, its_keys) in found {
        keys.extend(its_keys);
        count += 1;
    }
    Ok((keys, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(direction: &str, domain: &str, name: &str, value: &str, at: i64) -> SeenCookie {
        SeenCookie {
            exchange: at as u64,
            at: Timestamp(at),
            direction: direction.into(),
            domain: domain.into(),
            path: "/".into(),
            name: name.into(),
            value: value.into(),
            expires: None,
            max_age_s: None,
            secure: false,
            http_only: false,
            same_site: None,
            host_only: (direction == "received").then_some(domain.starts_with("www")),
            last_seen: Timestamp(at),
            count: 1,
            refused: None,
        }
    }

    #[test]
    fn the_last_one_set_counts_and_what_is_sent_belongs_to_it() {
        let mut gathered = Gathered::default();
        let none = Tombstones::default();
        for row in [
            seen("received", "example.com", "id", "new", 20),
            seen("received", "example.com", "id", "old", 10),
            seen("sent", "www.example.com", "id", "new", 30),
            seen("sent", "other.example", "id", "x", 5),
        ] {
            gathered.add(row, &none);
        }
        let rows = gathered.finish();
        assert_eq!(rows.len(), 2);
        let (id, keys) = &rows[0];
        assert_eq!((id.value.as_str(), id.set, id.sent, id.exchange), ("new", 2, 1, Some(20)));
        assert_eq!((id.first_seen, id.last_seen, keys.len()), (Timestamp(10), Timestamp(30), 2));
        assert_eq!((rows[1].0.domain.as_str(), rows[1].0.exchange), ("other.example", None));
        let query = |query: CookieQuery| rows.iter().filter(|(row, _)| query.takes(row)).count();
        assert_eq!(query(CookieQuery { domain: Some(".Example.com".into()), ..CookieQuery::default() }), 1);
        assert_eq!(query(CookieQuery { search: Some("NEW".into()), ..CookieQuery::default() }), 1);
        assert_eq!(query(CookieQuery { name: Some("id".into()), ..CookieQuery::default() }), 2);
    }
}
