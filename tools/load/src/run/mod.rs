//! The generator. One epoll loop a thread; a request costs one write and one read.
//!
//! - [`pace`]: when requests of an open loop are due.
//! - [`http1`], [`http2`]: what is said on a connection; [`connection`]: socket, tunnel and TLS around it.
//! - [`report`]: what was measured, and thresholds held against it.
//! - [`worker`]: a thread's loop.
//! - here: what can be asked for, and the threads.
//!
//! In a closed loop each connection sends when the answer before has come: a server that stalls is asked less, and what
//! clients would have waited is not measured. In an open loop requests are due when they are due; latency counts from
//! there, so that stalls count for everyone who would have come meanwhile.

mod connection;
mod http1;
mod http2;
mod pace;
pub mod report;
mod worker;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

pub use self::pace::Arrivals;
use self::{report::Tally, worker::Worker};
use crate::{LoadError, plan::Plan, truth::Sender};

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No connection.
    Connect,
    /// The proxy opened no tunnel.
    Proxy,
    /// TLS failed.
    Tls,
    /// The server does not speak HTTP/2.
    NoHttp2,
    /// The connection ended before the answer did.
    Closed,
    /// The connection or the stream was reset.
    Reset,
    /// No answer in time.
    Timeout,
    /// The answer is no HTTP.
    Protocol,
    /// Any other error of the socket.
    Io,
}

impl Failure {
    /// Its name in documents and truth files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::NoHttp2 => "no_http2",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Io => "io",
        }
    }

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
                Self::Reset
            }
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io,
        }
    }

    fn connecting(_: &io::Error) -> Self {
        Self::Connect
    }
}

/// A request under way. Times are nanoseconds since the begin of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) request: u32,
    pub(crate) id: u64,
    pub(crate) intended: u64,
    pub(crate) sent: u64,
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) sent: Sent,
    pub(crate) first: Option<u64>,
    pub(crate) ended: u64,
    pub(crate) status: Option<u16>,
    pub(crate) size: u64,
    pub(crate) hash: Option<[u8; 32]>,
    pub(crate) failure: Option<Failure>,
}

/// How to send.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads.
    pub threads: usize,
    /// Connections over all threads.
    pub connections: usize,
    /// Requests at once on a connection: pipelined, or streams.
    pub depth: usize,
    /// An open loop of so many requests a second; `None`: a closed loop.
    pub rate: Option<(Arrivals, f64)>,
    /// How long requests are sent, after the warm-up.
    pub duration: Option<Duration>,
    /// How many are sent at most.
    pub requests: Option<u64>,
    /// What is sent so long first is not measured.
    pub warm_up: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// What decides the mix and a Poisson process.
    pub seed: u64,
}

/// What is going on, for whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests that ended.
    pub done: AtomicU64,
    /// Those that failed.
    pub failed: AtomicU64,
    /// Asks all threads to end.
    pub stop: AtomicBool,
}

/// What the threads share.
struct Shared {
    options: Options,
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    begin: Instant,
    run: u32,
    /// Requests that may still be sent.
    left: Option<AtomicI64>,
    truth: Option<Sender>,
    replay: Option<Schedule>,
}

/// When each request of a plan is due, and on which lane: those of a lane go out one after another.
pub(crate) struct Schedule {
    /// Of each request: nanoseconds since the begin, and its lane. Ordered by time.
    pub(crate) due: Vec<(u64, u32)>,
    /// Number of lanes.
    pub(crate) lanes: u32,
}

/// The number that tells a run from others.
#[must_use]
pub fn new_run() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id()).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) as u32
}

/// The id that a request carries.
#[must_use]
pub fn id_text(run: u32, id: u64) -> [u8; crate::plan::ID_LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; crate::plan::ID_LENGTH];
    for (place, digit) in text[..8].iter_mut().enumerate() {
        *digit = DIGITS[(run >> (28 - 4 * place) & 15) as usize];
    }
    for (place, digit) in text[9..].iter_mut().enumerate() {
        *digit = DIGITS[(id >> (60 - 4 * place) & 15) as usize];
    }
    text
}

/// Sends what the plan holds and measures. Ends when the time or the number is reached, or when `progress.stop` is set.
///
/// # Errors
/// When a thread or its epoll cannot be had.
pub fn run(
    plan: Arc<Plan>,
    options: &Options,
    run: u32,
    progress: &Arc<Progress>,
    truth: Option<Sender>,
) -> Result<report::Report, LoadError> {
    let tally = threads(shared(plan, options.clone(), run, progress, truth, None))?;
    Ok(report::Report::new(&tally, options, run))
}

/// Sends each request of the plan once, as the schedule says; what became of each.
pub(crate) fn replay(
    plan: Arc<Plan>,
    options: &Options,
    schedule: Schedule,
    progress: &Arc<Progress>,
) -> Result<(report::Report, Vec<Done>), LoadError> {
    let mut tally = threads(shared(plan, options.clone(), 0, progress, None, Some(schedule)))?;
    let done = std::mem::take(&mut tally.rows).into_iter().map(|(done, _)| done).collect();
    Ok((report::Report::new(&tally, options, 0), done))
}

fn shared(
    plan: Arc<Plan>,
    options: Options,
    run: u32,
    progress: &Arc<Progress>,
    truth: Option<Sender>,
    replay: Option<Schedule>,
) -> Shared {
    if let Some(truth) = &truth {
        truth.begin();
    }
    Shared {
        left: options.requests.map(|requests| AtomicI64::new(i64::try_from(requests).unwrap_or(i64::MAX))),
        plan,
        progress: Arc::clone(progress),
        begin: Instant::now(),
        run,
        truth,
        replay,
        options,
    }
}

fn threads(shared: Shared) -> Result<Tally, LoadError> {
    let most = shared.replay.as_ref().map_or(shared.options.connections, |replay| replay.lanes as usize);
    let threads = shared.options.threads.clamp(1, most.max(1));
    let shared = Arc::new(shared);
    let mut handles = Vec::with_capacity(threads);
    for part in 0..threads {
        let shared = Arc::clone(&shared);
        let work = move || Worker::new(&shared, part, threads).and_then(Worker::run);
        let handle = thread::Builder::new().name(format!("load-{part}")).spawn(work);
        handles.push(handle.map_err(LoadError::io("a thread cannot be started"))?);
    }
    let mut tally = Tally::default();
    let mut failure = None;
    for handle in handles {
        match handle.join() {
            Ok(Ok(mut part)) => {
                tally.rows.append(&mut part.rows);
                tally.merge(&part);
            }
            Ok(Err(error)) => failure = Some(error),
            Err(_) => failure = Some(LoadError::Io { what: "a thread", source: io::Error::other("it panicked") }),
        }
        if failure.is_some() {
            shared.progress.stop.store(true, Ordering::Relaxed);
        }
    }
    failure.map_or(Ok(tally), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(&id_text(0xabc, 0x1f), b"00000abc-000000000000001f");
    }
}
