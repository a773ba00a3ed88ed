//! Two sessions compared: what is gone, what is new, what has shifted.
//!
//! In: two sessions and what may differ. Out: differences by endpoint, status, header name, cookie and domain. Values that differ
//! from run to run (ids, times, tokens) are not looked at: endpoints are paths with ids replaced, headers and cookies are names.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weir_engine::{cookie, filter::Expr};

use super::{
    CookieQuery, GroupBy, OverviewQuery, Session,
    evaluate::header_columns,
    overview::Group,
    scan::{Condition, scan},
    source::{Source, on_all_cores},
};
use crate::error::StorageError;

/// Distinct header names told apart.
const MOST_NAMES: usize = 20_000;
/// Exchanges that an endpoint has at least in both sessions for its times and sizes to be compared.
const LEAST: u64 = 5;

/// What counts as a difference.
#[derive(Debug, Clone, Default)]
pub struct CompareQuery {
    /// Only exchanges that meet this.
    pub filter: Option<Expr>,
    /// A time or size may grow or shrink by this part before it is told: 0.2.
    pub tolerance: f64,
}

/// What is only in one of two sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Only in the first.
    pub gone: Vec<String>,
    /// Only in the second.
    pub new: Vec<String>,
}

impl Changes {
    fn between(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Self {
        let only = |one: &BTreeSet<String>, other: &BTreeSet<String>| one.difference(other).cloned().collect();
        Self { gone: only(before, after), new: only(after, before) }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty()
    }
}

/// A measure of an endpoint that has grown or shrunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// `GET api.example.com/users/{id}`.
    pub endpoint: String,
    /// `p50_us`, `p95_us` or `mean_response_bytes`.
    pub measure: &'static str,
    /// In the first session.
    pub before: u64,
    /// In the second.
    pub after: u64,
}

/// The part of the exchanges that has a status, where it differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatusShift {
    /// The status, `none` without a response.
    pub status: String,
    /// Part of the first session, 0 to 1.
    pub before: f64,
    /// Part of the second.
    pub after: f64,
}

/// How a second session differs from a first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Exchanges of the first and of the second.
    pub exchanges: (u64, u64),
    /// `GET api.example.com/users/{id}`.
    pub endpoints: Changes,
    /// `GET api.example.com/users/{id} 404`: statuses of endpoints that both have.
    pub statuses: Changes,
    /// Statuses whose part of all exchanges differs by more than one in a hundred.
    pub status_mix: Vec<StatusShift>,
    /// Times and sizes.
    pub shifts: Vec<Shift>,
    /// Names of request header fields, lower case.
    pub request_headers: Changes,
    /// Names of response header fields, lower case.
    pub response_headers: Changes,
    /// `name @ domain`.
    pub cookies: Changes,
    /// Domains of the site that most requests go to.
    pub domains: Changes,
    /// Domains of other sites.
    pub third_parties: Changes,
    /// What could not be read.
    pub warnings: Vec<String>,
}

impl Comparison {
    /// Whether they differ; times, sizes and parts of statuses count where `shifts` says so.
    #[must_use]
    pub fn differs(&self, shifts: bool) -> bool {
        let changes = [
            &self.endpoints,
            &self.statuses,
            &self.request_headers,
            &self.response_headers,
            &self.cookies,
            &self.domains,
            &self.third_parties,
        ];
        changes.iter().any(|changes| !changes.is_empty())
            || shifts && !(self.shifts.is_empty() && self.status_mix.is_empty())
    }
}

/// What one session holds, as far as it is compared.
struct Held {
    exchanges: u64,
    endpoints: BTreeMap<String, Group>,
    statuses: BTreeSet<String>,
    status_counts: BTreeMap<String, u64>,
    domains: BTreeMap<String, u64>,
    request_headers: BTreeSet<String>,
    response_headers: BTreeSet<String>,
    cookies: BTreeSet<String>,
    warnings: Vec<String>,
}

impl Held {
    fn of(session: &Session, filter: Option<&Expr>) -> Result<Self, StorageError> {
        use GroupBy::{Domain, Endpoint, Method, Status};
        let overview = session.overview(&OverviewQuery {
            by: vec![Status, Domain],
            crossed: vec![vec![Method, Domain, Endpoint], vec![Method, Domain, Endpoint, Status]],
            filter: filter.cloned(),
            top: None,
        })?;
        let name = |keys: &[String]| match keys {
            [method, domain, endpoint, rest @ ..] => {
                let status = rest.first().map(|status| format!(" {status}")).unwrap_or_default();
                format!("{method} {domain}{endpoint}{status}")
            }
            keys => keys.join(" "),
        };
        let counts = |by: GroupBy| -> BTreeMap<String, u64> {
            let groups = overview.by.iter().find(|(found, _)| *found == by).map(|(_, groups)| groups.as_slice());
            groups.unwrap_or_default().iter().map(|group| (group.key.clone(), group.count)).collect()
        };
        let crossed =
            |place: usize| overview.crossed.get(place).map(|(_, groups)| groups.as_slice()).unwrap_or_default();
        let (request_headers, response_headers) = session.header_names(filter)?;
        let cookies = session.cookies(&CookieQuery::default())?;
        Ok(Self {
            exchanges: overview.exchanges,
            endpoints: crossed(0).iter().map(|group| (name(&group.keys), group.clone())).collect(),
            statuses: crossed(1).iter().map(|group| name(&group.keys)).collect(),
            status_counts: counts(Status),
            domains: counts(Domain),
            request_headers,
            response_headers,
            cookies: cookies.rows.iter().map(|row| format!("{} @ {}", row.name, row.domain)).collect(),
            warnings: overview.warnings.iter().chain(&cookies.warnings).cloned().collect(),
        })
    }

    /// The site that most requests go to.
    fn first_party(&self) -> Option<&str> {
        let mut sites = BTreeMap::<&str, u64>::new();
        for (domain, count) in &self.domains {
            *sites.entry(cookie::site(domain)).or_default() += count;
        }
        sites.into_iter().max_by_key(|(_, count)| *count).map(|(site, _)| site)
    }
}

impl Session {
    /// How `after` differs from this session.
    ///
    /// # Errors
    /// [`StorageError`] when the parts of one cannot be listed.
    pub fn compare(&self, after: &Self, query: &CompareQuery) -> Result<Comparison, StorageError> {
        let filter = query.filter.as_ref();
        Ok(compare(&Held::of(self, filter)?, &Held::of(after, filter)?, query.tolerance))
    }
}

fn compare(before: &Held, after: &Held, tolerance: f64) -> Comparison {
    let keys = |held: &Held| -> BTreeSet<String> { held.endpoints.keys().cloned().collect() };
    let (endpoints_before, endpoints_after) = (keys(before), keys(after));
    // A new endpoint's statuses are new with it: they are told once.
    let shared = |name: &String| {
        let endpoint = name.rsplit_once(' ').map_or(name.as_str(), |(endpoint, _)| endpoint);
        before.endpoints.contains_key(endpoint) && after.endpoints.contains_key(endpoint)
    };
    let mut statuses = Changes::between(&before.statuses, &after.statuses);
    statuses.gone.retain(shared);
    statuses.new.retain(shared);
    let first_party = before.first_party().or(after.first_party());
    let split = |held: &Held, third: bool| -> BTreeSet<String> {
        let is_third = |domain: &&String| (Some(cookie::site(domain)) != first_party) == third;
        held.domains.keys().filter(is_third).cloned().collect()
    };
    Comparison {
        exchanges: (before.exchanges, after.exchanges),
        endpoints: Changes::between(&endpoints_before, &endpoints_after),
        statuses,
        status_mix: status_mix(before, after),
        shifts: shifts(before, after, tolerance),
        request_headers: Changes::between(&before.request_headers, &after.request_headers),
        response_headers: Changes::between(&before.response_headers, &after.response_headers),
        cookies: Changes::between(&before.cookies, &after.cookies),
        domains: Changes::between(&split(before, false), &split(after, false)),
        third_parties: Changes::between(&split(before, true), &split(after, true)),
        warnings: before.warnings.iter().chain(&after.warnings).cloned().collect(),
    }
}

fn status_mix(before: &Held, after: &Held) -> Vec<StatusShift> {
    let part = |held: &Held, status: &str| {
        let count = held.status_counts.get(status).copied().unwrap_or(0);
        if held.exchanges == 0 { 0.0 } else { count as f64 / held.exchanges as f64 }
    };
    let statuses: BTreeSet<&String> = before.status_counts.keys().chain(after.status_counts.keys()).collect();
    let shift = |status: &String| StatusShift {
        status: status.clone(),
        before: part(before, status),
        after: part(after, status),
    };
    statuses.into_iter().map(shift).filter(|shift| (shift.before - shift.after).abs() > 0.01).collect()
}

fn shifts(before: &Held, after: &Held, tolerance: f64) -> Vec<Shift> {
    let mut shifts = Vec::new();
    for (endpoint, first) in &before.endpoints {
        let Some(second) = after.endpoints.get(endpoint).filter(|second| second.count.min(first.count) >= LEAST) else {
            continue;
        };
        let mean = |group: &Group| Some(group.response_bytes / group.count.max(1));
        let measures = [
            ("p50_us", first.p50_us, second.p50_us),
            ("p95_us", first.p95_us, second.p95_us),
            ("mean_response_bytes", mean(first), mean(second)),
        ];
        for (measure, before, after) in measures {
            let (Some(before), Some(after)) = (before, after) else { continue };
            if (after as f64 - before as f64).abs() > tolerance * before.max(1) as f64 {
                shifts.push(Shift { endpoint: endpoint.clone(), measure, before, after });
            }
        }
    }
    shifts
}

/// Names of header fields, of requests and of responses.
pub(crate) type HeaderNames = (BTreeSet<String>, BTreeSet<String>);

/// The names of header fields of the exchanges that meet a condition, lower case.
pub(crate) fn header_names(source: &mut Source, filter: Option<&Expr>) -> Result<HeaderNames, StorageError> {
    let condition = Condition { filter: filter.cloned(), deleted: source.deleted(), ..Condition::default() };
    let columns = BTreeSet::from(["request_headers", "response_headers"]);
    let found = source.run(|source| {
        on_all_cores(&source.units(), HeaderNames::default, |(requests, responses), unit| {
            let part = &source.parts[unit.part];
            scan(part, unit.group, &condition, &columns, |found| {
                for (column, names) in [("request_headers", &mut *requests), ("response_headers", &mut *responses)] {
                    let Some(column) = found.batch.column_by_name(column) else { continue };
                    let (offsets, texts, _) = header_columns(column)?;
                    found.for_each_row(|row| {
                        for line in offsets[row] as usize..offsets[row + 1] as usize {
                            let name = texts.value(line);
                            // Most names come in the same case again and again.
                            if !names.contains(name) && names.len() < MOST_NAMES {
                                names.insert(name.to_ascii_lowercase());
                            }
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })
            .map_err(|error| part.error(error))
        })
    })?;
    let mut all = HeaderNames::default();
    for (requests, responses) in found {
        all.0.extend(requests);
        all.1.extend(responses);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(endpoints: &[(&str, u64, u64)], domains: &[&str]) -> Held {
        let group = |count, p50| Group {
            key: String::new(),
            keys: Vec::new(),
            count,
            request_bytes: 0,
            response_bytes: 100 * count,
            errors: 0,
            p50_us: Some(p50),
            p95_us: Some(p50),
            p99_us: Some(p50),
        };
        Held {
            exchanges: 10,
            endpoints: endpoints.iter().map(|(name, count, p50)| ((*name).to_owned(), group(*count, *p50))).collect(),
            statuses: endpoints.iter().map(|(name, ..)| format!("{name} 200")).collect(),
            status_counts: BTreeMap::from([("200".to_owned(), 10)]),
            domains: domains.iter().map(|domain| ((*domain).to_owned(), 5)).collect(),
            request_headers: BTreeSet::new(),
            response_headers: BTreeSet::new(),
            cookies: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_is_gone_new_and_slower() {
        let before =
            held(&[("GET a.example/x", 10, 100), ("GET a.example/y", 10, 100)], &["a.example", "www.a.example"]);
        let mut after = held(&[("GET a.example/x", 10, 130), ("GET a.example/z", 10, 100)], &["a.example", "ads.test"]);
        after.statuses.insert("GET a.example/x 500".to_owned());
        after.status_counts = BTreeMap::from([("200".to_owned(), 9), ("500".to_owned(), 1)]);
        let found = compare(&before, &after, 0.2);
        assert_eq!(
            found.endpoints,
            Changes { gone: vec!["GET a.example/y".into()], new: vec!["GET a.example/z".into()] }
        );
        assert_eq!(found.statuses, Changes { gone: vec![], new: vec!["GET a.example/x 500".into()] });
        assert_eq!(found.shifts.iter().map(|shift| shift.measure).collect::<Vec<_>>(), ["p50_us", "p95_us"]);
        assert_eq!(found.status_mix.len(), 2);
        assert_eq!(found.domains, Changes { gone: vec!["www.a.example".into()], new: vec![] });
        assert_eq!(found.third_parties, Changes { gone: vec![], new: vec!["ads.test".into()] });
        assert!(found.differs(false));
        let same = compare(&before, &before, 0.2);
        assert!(!same.differs(true), "{same:?}");
        let slower = compare(&held(&[("GET a/x", 9, 100)], &["a"]), &held(&[("GET a/x", 9, 300)], &["a"]), 0.2);
        assert!(slower.differs(true) && !slower.differs(false));
    }
}
