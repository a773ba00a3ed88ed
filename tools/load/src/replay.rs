//! A captured session sent again: at its own times, each captured connection as a lane of its own, so that what overlapped
//! overlaps again and what came one after another does so too. Then the answers are compared with the captured ones.
//!
//! In: a session, a filter, a way. Out: how the answers differ, and how far the times are from the captured ones.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use weir_engine::filter::{Column, Expr};
use weir_storage::{RequestsQuery, Session, Sort};

use crate::{
    LoadError,
    plan::{Plan, Template, Way},
    run::{
        self, Done, Options, Progress, Schedule,
        report::{Latency, Report, histogram},
    },
};

/// Requests that are sent again in one go.
pub const MOST_REQUESTS: usize = 100_000;
/// Streams open at once on a connection of HTTP/2.
const MOST_STREAMS: usize = 100;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// This many times as fast as captured.
    Times(f64),
    /// As fast as so many lanes go, each in its own order.
    Max(u32),
}

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// Which requests.
    pub filter: Option<Expr>,
    /// To this host instead of the captured ones: `http://host:port`.
    pub target: Option<String>,
    /// How fast.
    pub speed: Speed,
    /// How servers are reached.
    pub way: Way,
    /// Threads.
    pub threads: usize,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A captured answer.
struct Captured {
    id: u64,
    started_us: i64,
    connection: u64,
    status: Option<u16>,
    body: Option<[u8; 32]>,
    size: u64,
    duration_us: Option<u64>,
}

/// A request whose answer is another one now.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // The names say it.
pub struct Other {
    pub id: u64,
    pub method: String,
    pub url: String,
    pub status: (Option<u16>, Option<u16>),
    pub size: (u64, u64),
    pub failure: Option<&'static str>,
}

/// A bar of a histogram of distances.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Bucket {
    /// Up to so many microseconds; none: more.
    pub up_to_us: Option<u64>,
    /// So many.
    pub count: u64,
}

/// How a replay went.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Requests that were sent.
    pub sent: u64,
    /// Those that were not, because it ended early.
    pub unsent: u64,
    /// Those that cannot be sent again: no HTTP, or a body that was not stored.
    pub left_out: u64,
    /// Lanes: captured connections to one server each.
    pub lanes: u64,
    /// Answers with the same status.
    pub same_status: u64,
    /// Answers with the same body, by hash.
    pub same_body: u64,
    /// Answers with another one.
    pub other_body: u64,
    /// Answers whose captured body has no hash.
    pub unknown_body: u64,
    /// Some that differ.
    pub others: Vec<Other>,
    /// Captured durations.
    pub latency_then: Latency,
    /// Durations now, from sending.
    pub latency_now: Latency,
    /// Distance of each gap between one request and the next from the captured gap.
    pub gap_error: Vec<Bucket>,
    /// Its percentiles.
    pub gap_error_us: Latency,
    /// How late requests were sent.
    pub lateness_us: Latency,
    /// What was measured.
    pub measured: Report,
}

/// Others that are told.
const MOST_TOLD: usize = 20;

/// Sends a session again.
///
/// # Errors
/// When it cannot be read, holds nothing to send, or a host has no address.
pub fn replay(session: &Session, request: &Request, progress: &Arc<Progress>) -> Result<Replayed, LoadError> {
    let (templates, captured, left_out) = read(session, request)?;
    let plan = Arc::new(Plan::build(&templates, &request.way)?);
    drop(templates);
    let schedule = schedule(&plan, &captured, request.speed);
    let due: Vec<u64> = schedule.due.iter().map(|(due, _)| *due).collect();
    let lanes = u64::from(schedule.lanes);
    let options = Options {
        threads: request.threads,
        connections: schedule.lanes as usize,
        depth: MOST_STREAMS,
        rate: None,
        duration: None,
        requests: None,
        warm_up: Duration::ZERO,
        timeout: request.timeout,
        seed: 0,
    };
    let (measured, done) = run::replay(Arc::clone(&plan), &options, schedule, progress)?;
    Ok(compare(&plan, &captured, &due, done, measured, (left_out, lanes)))
}

fn read(session: &Session, request: &Request) -> Result<(Vec<Template>, Vec<Captured>, u64), LoadError> {
    let query = RequestsQuery {
        filter: request.filter.clone(),
        sort: Sort { column: Column::Started, descending: false },
        limit: Some(MOST_REQUESTS),
        ..RequestsQuery::default()
    };
    let (mut templates, mut captured, mut left_out) = (Vec::new(), Vec::new(), 0);
    let mut rows = session.requests(&query)?;
    for row in rows.by_ref() {
        let body = match &row.request_body {
            Some(hash) => session.body(&hash.0)?.map(|body| body.bytes),
            None => Some(Bytes::new()).filter(|_| row.request_size == 0),
        };
        let (Some(body), true) = (body, matches!(row.scheme.as_str(), "http" | "https")) else {
            left_out += 1;
            continue;
        };
        let url = match &request.target {
            Some(target) => retarget(target, &row.path, &row.query),
            None => row.url,
        };
        let lines = row.request_headers.into_iter().filter(|line| !line.name.starts_with(':'));
        templates.push(Template {
            method: row.method,
            url,
            headers: lines.map(|line| (line.name, line.value)).collect(),
            body,
            weight: 1.0,
            // HTTP/2 in the clear goes to no proxy and few servers: only what was TLS stays HTTP/2.
            http2: row.protocol == "HTTP/2"
                && row.scheme == "https"
                && request.target.as_deref().is_none_or(|target| target.starts_with("https")),
        });
        captured.push(Captured {
            id: row.id,
            started_us: row.started.as_micros(),
            connection: row.connection,
            status: row.status,
            body: row.response_body.map(|hash| hash.0),
            size: row.response_size,
            duration_us: row.duration_us,
        });
    }
    if let Some(error) = rows.error() {
        return Err(LoadError::NothingToSend(format!("the session could not be read to its end: {error}")));
    }
    if templates.is_empty() {
        return Err(LoadError::NothingToSend("the session holds none that meets the filter".to_owned()));
    }
    Ok((templates, captured, left_out))
}

/// A captured path and query at another host.
#[must_use]
pub fn retarget(target: &str, path: &str, query: &str) -> String {
    let end = target.find("://").and_then(|at| target[at + 3..].find('/').map(|end| at + 3 + end));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{path}{mark}{query}", &target[..end.unwrap_or(target.len())])
}

fn schedule(plan: &Plan, captured: &[Captured], speed: Speed) -> Schedule {
    let begin = captured.first().map_or(0, |first| first.started_us);
    let mut lanes = HashMap::new();
    let due = captured.iter().zip(&plan.requests).map(|(captured, request)| {
        let connection = match speed {
            Speed::Times(_) => captured.connection,
            Speed::Max(most) => captured.connection % u64::from(most.max(1)),
        };
        let next = lanes.len() as u32;
        let lane = *lanes.entry((connection, request.endpoint)).or_insert(next);
        let since_ns = captured.started_us.saturating_sub(begin).max(0) as f64 * 1e3;
        match speed {
            Speed::Times(times) => ((since_ns / times) as u64, lane),
            Speed::Max(_) => (0, lane),
        }
    });
    let due = due.collect();
    Schedule { due, lanes: lanes.len() as u32 }
}

fn compare(
    plan: &Plan,
    captured: &[Captured],
    due: &[u64],
    mut done: Vec<Done>,
    measured: Report,
    (left_out, lanes): (u64, u64),
) -> Replayed {
    let (mut then, mut now, mut gaps, mut late) = (histogram(), histogram(), histogram(), histogram());
    let (mut same_status, mut same_body, mut other_body, mut unknown_body) = (0, 0, 0, 0);
    let mut others = Vec::new();
    done.sort_unstable_by_key(|done| done.sent.request);
    let mut before: Option<&Done> = None;
    let limits = [50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000];
    let mut buckets: Vec<Bucket> = limits.iter().map(|limit| Bucket { up_to_us: Some(*limit), count: 0 }).collect();
    buckets.push(Bucket { up_to_us: None, count: 0 });
    for one in &done {
        let place = one.sent.request as usize;
        let was = &captured[place];
        if let Some(duration) = was.duration_us {
            then.saturating_record((duration * 1_000).max(1));
        }
        if one.failure.is_none() {
            now.saturating_record((one.ended - one.sent.sent).max(1));
        }
        late.saturating_record(one.sent.sent.saturating_sub(due[place]).max(1));
        if let Some(before) = before {
            let gap = one.sent.sent as i64 - before.sent.sent as i64;
            let captured_gap = due[place] as i64 - due[before.sent.request as usize] as i64;
            let error = gap.abs_diff(captured_gap);
            gaps.saturating_record(error.max(1));
            if let Some(bucket) =
                buckets.iter_mut().find(|bucket| bucket.up_to_us.is_none_or(|limit| error <= limit * 1_000))
            {
                bucket.count += 1;
            }
        }
        before = Some(one);
        let is_status = one.failure.is_none() && one.status == was.status;
        same_status += u64::from(is_status);
        let is_body = one.failure.is_none()
            && match (was.body, one.hash) {
                (Some(was), Some(now)) => was == now,
                (None, _) if was.size > 0 => {
                    unknown_body += 1;
                    true
                }
                (was, now) => was == now,
            };
        let is_unknown = was.body.is_none() && was.size > 0;
        same_body += u64::from(is_body && !is_unknown);
        other_body += u64::from(!is_body);
        if !(is_status && is_body) && others.len() < MOST_TOLD {
            let request = &plan.requests[place];
            others.push(Other {
                id: was.id,
                method: request.method.clone(),
                url: request.url.clone(),
                status: (was.status, one.status),
                size: (was.size, one.size),
                failure: one.failure.map(run::Failure::as_str),
            });
        }
    }
    Replayed {
        sent: done.len() as u64,
        unsent: (captured.len() - done.len()) as u64,
        left_out,
        lanes,
        same_status,
        same_body,
        other_body,
        unknown_body,
        others,
        latency_then: Latency::of(&then),
        latency_now: Latency::of(&now),
        gap_error: buckets,
        gap_error_us: Latency::of(&gaps),
        lateness_us: Latency::of(&late),
        measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_another_host() {
        assert_eq!(retarget("http://h:1", "/a", ""), "http://h:1/a");
        assert_eq!(retarget("https://h/x", "/a", "b=c"), "https://h/a?b=c");
    }

    #[test]
    fn lanes_and_times() {
        let templates: Vec<Template> =
            ["http://127.0.0.1:1/", "http://127.0.0.1:2/", "http://127.0.0.1:1/"].map(Template::get).into();
        let plan = Plan::build(&templates, &Way::default()).expect("a plan");
        let captured: Vec<Captured> = [(5, 1_000), (5, 1_500), (6, 3_000)]
            .map(|(connection, started_us)| Captured {
                id: 0,
                started_us,
                connection,
                status: None,
                body: None,
                size: 0,
                duration_us: None,
            })
            .into();
        let times = schedule(&plan, &captured, Speed::Times(2.0));
        // One captured connection with two servers is two lanes.
        assert_eq!((times.due, times.lanes), (vec![(0, 0), (250_000, 1), (1_000_000, 2)], 3));
        assert_eq!(schedule(&plan, &captured, Speed::Max(1)).due, [(0, 0), (0, 1), (0, 0)]);
    }
}
