//! The truth of a run held against what a session recorded.
//!
//! In: a truth file and a session. Out: what is there, what is missing, what is wrong, how far the times are apart, and
//! whether the session's ledger accounts for what is missing. Of a truth row about 150 bytes are held in memory.

use std::{collections::BTreeMap, path::Path};

use hdrhistogram::Histogram;
use serde::Serialize;
use weir_engine::ledger::{Layer, Ledger};
use weir_storage::{ExchangeRow, RequestsQuery, Session};

use crate::{
    ID_FIELD, LoadError,
    run::report::histogram,
    truth::{self, Row},
};

/// Distances between two clocks' readings of the same moment, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[allow(missing_docs)] // The names are the figures.
pub struct Distance {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

impl Distance {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1e3;
        Self { p50_us: at(50.0), p99_us: at(99.0), max_us: histogram.max() as f64 / 1e3 }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// The number of the run.
    pub run: String,
    /// Requests the sender sent.
    pub sent: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Answered ones the session has.
    pub found: u64,
    /// Answered ones it does not have.
    pub missing: u64,
    /// Some of them.
    pub missing_some: Vec<Missing>,
    /// Missing ones of which the session has the response alone, by the reason the row tells.
    pub responses_alone: BTreeMap<String, u64>,
    /// What the session's ledger says was dropped, by layer and reason, where that can cost an exchange.
    pub dropped: BTreeMap<String, u64>,
    /// Missing ones that the ledger does not account for.
    pub unaccounted: u64,
    /// Requests without an answer that the session has, too.
    pub unanswered_found: u64,
    /// Found ones without a whole answer, by the reason the row tells.
    pub incomplete: BTreeMap<String, u64>,
    /// Rows of one request more than once.
    pub repeated: u64,
    /// Rows whose response belongs to another request.
    pub wrong_pairs: u64,
    /// Pairs that the id in both heads proves.
    pub proven_pairs: u64,
    /// Rows with another method or URL than what was sent.
    pub wrong_requests: u64,
    /// Rows with another status.
    pub wrong_statuses: u64,
    /// Bodies that are the same, by hash, or empty on both sides.
    pub equal_bodies: u64,
    /// Bodies that are not.
    pub wrong_bodies: u64,
    /// Bodies whose hash the session does not have.
    pub unknown_bodies: u64,
    /// Rows of the session that are not of this run.
    pub others: u64,
    /// Of the begin of requests.
    pub start_distance: Distance,
    /// Of the end of responses.
    pub end_distance: Distance,
}

/// A request that was answered and that the session does not have as such.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// Its number in the run.
    pub id: u64,
    /// What the session says of it: the reason of the row that holds its response, or nothing. The ledger counts and names none.
    pub told: Option<String>,
}

impl Verdict {
    /// Whether nothing is missing without account, and nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.answered > 0
            && self.unaccounted == 0
            && self.wrong_pairs + self.wrong_requests + self.wrong_statuses + self.wrong_bodies + self.repeated == 0
    }
}

/// Ids of missing ones that are told.
const MOST_TOLD: usize = 20;
/// What has been seen of a truth row.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    /// Its response, in a row without a request; the place of the reason.
    Response(u16),
    Request,
}

/// The reasons of rows that hold a response alone, each once.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn place(&mut self, reason: &str) -> u16 {
        let place = self.0.iter().position(|known| known == reason).unwrap_or_else(|| {
            self.0.push(reason.to_owned());
            self.0.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

/// Holds a truth file against a session.
///
/// # Errors
/// When one of them cannot be read.
pub fn verify(path: &Path, session: &Session) -> Result<Verdict, LoadError> {
    let (run, rows) = truth::read(path)?;
    let (mut seen, mut reasons) = (vec![Seen::Nothing; rows.len()], Reasons::default());
    let mut checker =
        Checker { verdict: Verdict { run: run.clone(), ..Verdict::default() }, begin: histogram(), end: histogram() };
    let mut captured = session.requests(&RequestsQuery::default())?;
    for exchange in captured.by_ref() {
        let place = |of_request| {
            id_of(&exchange, &run, of_request).and_then(|id| rows.binary_search_by_key(&id, |row| row.id).ok())
        };
        let Some(place) = place(true) else {
            match place(false) {
                Some(place) if seen[place] == Seen::Nothing => {
                    seen[place] = Seen::Response(reasons.place(exchange.error.as_deref().unwrap_or("no_request")));
                }
                _ => checker.verdict.others += 1,
            }
            continue;
        };
        if std::mem::replace(&mut seen[place], Seen::Request) == Seen::Request {
            checker.verdict.repeated += 1;
            continue;
        }
        checker.check(&rows[place], &exchange);
    }
    if let Some(error) = captured.error() {
        return Err(LoadError::Truth {
            path: path.to_owned(),
            why: format!("the session could not be read to its end: {error}"),
        });
    }
    let Checker { mut verdict, begin, end } = checker;
    verdict.start_distance = Distance::of(&begin);
    verdict.end_distance = Distance::of(&end);
    verdict.sent = rows.len() as u64;
    for (row, seen) in rows.iter().zip(&seen) {
        let (is_answered, is_found) = (row.received_us.is_some(), *seen == Seen::Request);
        verdict.answered += u64::from(is_answered);
        verdict.found += u64::from(is_answered && is_found);
        verdict.unanswered_found += u64::from(!is_answered && is_found);
        if !is_answered || is_found {
            continue;
        }
        let told = if let Seen::Response(reason) = seen { reasons.0.get(usize::from(*reason)).cloned() } else { None };
        if let Some(reason) = &told {
            *verdict.responses_alone.entry(reason.clone()).or_default() += 1;
        }
        if verdict.missing_some.len() < MOST_TOLD {
            verdict.missing_some.push(Missing { id: row.id, told });
        }
    }
    verdict.missing = verdict.answered - verdict.found;
    verdict.dropped = dropped(&session.entry().ledger);
    verdict.unaccounted = verdict.missing.saturating_sub(verdict.dropped.values().sum());
    Ok(verdict)
}

/// The id a head carries, if it is of this run.
fn id_of(exchange: &ExchangeRow, run: &str, of_request: bool) -> Option<u64> {
    let lines = if of_request { &exchange.request_headers } else { &exchange.response_headers };
    let line = lines.iter().find(|line| line.name.eq_ignore_ascii_case(ID_FIELD))?;
    let (of, id) = line.value.split_once('-')?;
    u64::from_str_radix(id, 16).ok().filter(|_| of == run)
}

struct Checker {
    verdict: Verdict,
    begin: Histogram<u64>,
    end: Histogram<u64>,
}

impl Checker {
    fn check(&mut self, row: &Row, exchange: &ExchangeRow) {
        let verdict = &mut self.verdict;
        verdict.wrong_requests += u64::from(truth::fingerprint(&exchange.method, &exchange.url) != row.request);
        compare(verdict, row.request_body, exchange.request_body.map(|hash| hash.0), exchange.request_size == 0);
        let started = exchange.started.as_micros();
        self.begin.saturating_record(started.abs_diff(row.sent_us).max(1) * 1_000);
        // Who was not answered has nothing to compare.
        let Some(received) = row.received_us else { return };
        match exchange.error.as_deref() {
            None if exchange.status.is_some() => {}
            why => {
                *verdict.incomplete.entry(why.unwrap_or("no_response").to_owned()).or_default() += 1;
                return;
            }
        }
        let has_id = exchange.response_headers.iter().any(|line| line.name.eq_ignore_ascii_case(ID_FIELD));
        let answer = has_id.then(|| id_of(exchange, &verdict.run, false));
        match answer {
            Some(Some(id)) if id == row.id => verdict.proven_pairs += 1,
            Some(_) => verdict.wrong_pairs += 1,
            None => {}
        }
        verdict.wrong_statuses += u64::from(exchange.status != row.status);
        if exchange.response_size == row.response_size {
            compare(verdict, row.response_body, exchange.response_body.map(|hash| hash.0), row.response_size == 0);
        } else {
            verdict.wrong_bodies += 1;
        }
        if let Some(duration) = exchange.duration_us {
            let ended = started.saturating_add(i64::try_from(duration).unwrap_or(i64::MAX));
            self.end.saturating_record(ended.abs_diff(received).max(1) * 1_000);
        }
    }
}

fn compare(verdict: &mut Verdict, sent: Option<[u8; 32]>, captured: Option<[u8; 32]>, is_empty: bool) {
    match (sent, captured) {
        (Some(sent), Some(captured)) if sent == captured => verdict.equal_bodies += 1,
        (None, None) if is_empty => verdict.equal_bodies += 1,
        (Some(_) | None, None) if !is_empty => verdict.unknown_bodies += 1,
        _ => verdict.wrong_bodies += 1,
    }
}

/// Losses that can cost an exchange.
fn dropped(ledger: &Ledger) -> BTreeMap<String, u64> {
    let no_exchange = [Layer::Bodies.as_str(), Layer::Messages.as_str()];
    let layers = ledger.layers().filter(|(layer, _)| !no_exchange.contains(layer));
    let reasons =
        layers.flat_map(|(layer, tally)| tally.dropped.iter().map(move |(reason, count)| (layer, reason, *count)));
    reasons
        .filter(|(_, reason, count)| *count > 0 && !reason.starts_with("ignored:"))
        .map(|(layer, reason, count)| (format!("{layer}: {reason}"), count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_by_hash() {
        let mut verdict = Verdict::default();
        let (a, b) = (Some([1; 32]), Some([2; 32]));
        compare(&mut verdict, a, a, false);
        compare(&mut verdict, None, None, true);
        assert_eq!((verdict.equal_bodies, verdict.wrong_bodies, verdict.unknown_bodies), (2, 0, 0));
        compare(&mut verdict, a, b, false);
        compare(&mut verdict, a, None, true);
        assert_eq!((verdict.equal_bodies, verdict.wrong_bodies, verdict.unknown_bodies), (2, 2, 0));
        compare(&mut verdict, a, None, false);
        assert_eq!(verdict.unknown_bodies, 1);
    }

    #[test]
    fn only_what_can_cost_an_exchange_accounts() {
        let mut ledger = Ledger::default();
        let drop = |ledger: &mut Ledger, layer, reason: &str, count| {
            ledger.layer_mut(layer).dropped.insert(reason.to_owned(), count);
        };
        drop(&mut ledger, Layer::Bodies, "memory", 7);
        drop(&mut ledger, Layer::Exchanges, "shed", 3);
        drop(&mut ledger, Layer::Exchanges, "ignored:x", 5);
        assert_eq!(dropped(&ledger).into_iter().collect::<Vec<_>>(), [("exchanges: shed".to_owned(), 3)]);
    }
}
