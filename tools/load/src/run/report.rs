//! What was measured: histograms of all threads added up, and thresholds held against them.

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Done, Failure, Options};
use crate::LoadError;

/// Latencies are told apart up to here.
const MOST_NS: u64 = 3_600_000_000_000;
/// Seconds of which a figure each is kept.
const MOST_SECONDS: usize = 86_400;

/// A new histogram of nanoseconds, three digits exact.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MOST_NS, 3).unwrap_or_else(|_| unreachable!("the bounds are constant and right"))
}

/// A second of the run.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Second {
    /// Answers.
    pub count: u64,
    /// The longest latency among them, in microseconds.
    pub max_us: u64,
}

/// The counts of a thread.
pub(super) struct Tally {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<&'static str, u64>,
    connect_failures: BTreeMap<&'static str, u64>,
    seconds: Vec<Second>,
    done: u64,
    bytes: u64,
    warm: u64,
    last_status: (u16, u64),
    pub(super) connections: u64,
    pub(super) unsent: u64,
    pub(super) warm_up: u64,
    pub(super) ended: u64,
    pub(super) cpu_ns: u64,
    pub(super) rows: Vec<(Done, u32)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            connect_failures: BTreeMap::new(),
            seconds: Vec::new(),
            done: 0,
            bytes: 0,
            warm: 0,
            last_status: (0, 0),
            connections: 0,
            unsent: 0,
            warm_up: 0,
            ended: 0,
            cpu_ns: 0,
            rows: Vec::new(),
        }
    }
}

impl Tally {
    pub(super) fn count(&mut self, done: &Done, warm_until: u64) {
        if done.sent.intended < warm_until {
            self.warm += 1;
            return;
        }
        self.done += 1;
        self.bytes += done.size;
        if let Some(failure) = done.failure {
            *self.failures.entry(failure.as_str()).or_default() += 1;
            return;
        }
        // Nearly always the status of the one before.
        let status = done.status.unwrap_or_default();
        if self.last_status.0 != status {
            self.settle();
            self.last_status.0 = status;
        }
        self.last_status.1 += 1;
        let latency = done.ended.saturating_sub(done.sent.intended).max(1);
        self.latency.saturating_record(latency);
        self.service.saturating_record(done.ended.saturating_sub(done.sent.sent).max(1));
        let second = ((done.ended - warm_until.min(done.ended)) / 1_000_000_000) as usize;
        if second >= self.seconds.len() && second < MOST_SECONDS {
            self.seconds.resize(second + 1, Second::default());
        }
        if let Some(second) = self.seconds.get_mut(second) {
            second.count += 1;
            second.max_us = second.max_us.max(latency / 1_000);
        }
    }

    fn settle(&mut self) {
        if self.last_status.1 > 0 {
            *self.statuses.entry(self.last_status.0).or_default() += self.last_status.1;
            self.last_status.1 = 0;
        }
    }

    pub(super) fn connect_failed(&mut self, failure: Failure) {
        *self.connect_failures.entry(failure.as_str()).or_default() += 1;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Histograms with the same bounds always add up.
        let _ = self.latency.add(&other.latency).and_then(|()| self.service.add(&other.service));
        for (status, count) in other.statuses.iter().map(|(status, count)| (*status, *count)).chain([other.last_status])
        {
            if count > 0 {
                *self.statuses.entry(status).or_default() += count;
            }
        }
        for (failure, count) in &other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        for (failure, count) in &other.connect_failures {
            *self.connect_failures.entry(failure).or_default() += count;
        }
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize(other.seconds.len(), Second::default());
        }
        for (sum, second) in self.seconds.iter_mut().zip(&other.seconds) {
            sum.count += second.count;
            sum.max_us = sum.max_us.max(second.max_us);
        }
        self.done += other.done;
        self.bytes += other.bytes;
        self.warm += other.warm;
        self.connections += other.connections;
        self.unsent += other.unsent;
        self.warm_up = self.warm_up.max(other.warm_up);
        self.ended = self.ended.max(other.ended);
        self.cpu_ns += other.cpu_ns;
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // The names are the figures.
pub struct Latency {
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p75_us: f64,
    pub p90_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// The figures of a histogram of nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |percentile| histogram.value_at_percentile(percentile) as f64 / 1e3;
        Self {
            min_us: if histogram.is_empty() { 0.0 } else { histogram.min() as f64 / 1e3 },
            mean_us: histogram.mean() / 1e3,
            p50_us: at(50.0),
            p75_us: at(75.0),
            p90_us: at(90.0),
            p95_us: at(95.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            p99_99_us: at(99.99),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// What a run measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The number of the run, in the ids its requests carry.
    pub run: String,
    /// Requests that ended after the warm-up.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Requests of the warm-up.
    pub warm_up_requests: u64,
    /// How long was measured.
    pub seconds: f64,
    /// Answers a second.
    pub rate: f64,
    /// Body bytes received.
    pub bytes: u64,
    /// From the intended start (in a closed loop: from sending) to the end of the answer.
    pub latency: Latency,
    /// From sending to the end of the answer: what a closed loop would have told.
    pub service: Latency,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failed requests by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Attempts to connect that failed, by reason.
    pub connect_failures: BTreeMap<&'static str, u64>,
    /// Connections opened.
    pub connections: u64,
    /// Requests of an open loop that were due and found no free connection before the end.
    pub unsent: u64,
    /// CPU of the generator's threads for each request, in microseconds.
    pub cpu_us_per_request: f64,
    /// Second by second.
    pub timeline: Vec<Second>,
    #[serde(skip)]
    histogram: Histogram<u64>,
}

impl Report {
    pub(super) fn new(tally: &Tally, options: &Options, run: u32) -> Self {
        let measured = tally.ended.saturating_sub(tally.warm_up);
        // Waiting for the last answers is not sending.
        let length = options.duration.map_or(measured, |duration| measured.min(duration.as_nanos() as u64));
        let seconds = (length as f64 / 1e9).max(1e-9);
        let failed: u64 = tally.failures.values().sum();
        Self {
            run: format!("{run:08x}"),
            requests: tally.done,
            failed,
            warm_up_requests: tally.warm,
            seconds,
            rate: (tally.done - failed) as f64 / seconds,
            bytes: tally.bytes,
            latency: Latency::of(&tally.latency),
            service: Latency::of(&tally.service),
            statuses: tally.statuses.clone(),
            failures: tally.failures.clone(),
            connect_failures: tally.connect_failures.clone(),
            connections: tally.connections,
            unsent: tally.unsent,
            cpu_us_per_request: tally.cpu_ns as f64 / 1e3 / (tally.done + tally.warm).max(1) as f64,
            timeline: tally.seconds.clone(),
            histogram: tally.latency.clone(),
        }
    }

    /// Points of the curve of percentiles: nines (0 is none, 3 is 99.9 %) and microseconds.
    #[must_use]
    pub fn curve(&self, points: usize) -> Vec<(f64, f64)> {
        let most = (self.histogram.len().max(2) as f64).log10();
        let at = |nines: f64| self.histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e3;
        (0..points)
            .map(|point| most * point as f64 / (points.max(2) - 1) as f64)
            .map(|nines| (nines, at(nines)))
            .collect()
    }

    /// The curve of percentiles as an SVG picture.
    #[must_use]
    pub fn svg(&self) -> String {
        const WIDTH: f64 = 800.0;
        const HEIGHT: f64 = 400.0;
        const EDGE: f64 = 70.0;
        let curve = self.curve(200);
        let most_nines = curve.last().map_or(1.0, |last| last.0).max(1.0);
        let most = self.latency.max_us.max(1.0);
        let x = |nines: f64| EDGE + nines / most_nines * (WIDTH - 2.0 * EDGE);
        let y = |us: f64| HEIGHT - EDGE - us / most * (HEIGHT - 2.0 * EDGE);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{}\" y=\"30\" text-anchor=\"middle\" font-size=\"14\">latency by percentile: {} requests, {:.0} a second</text>\n",
            WIDTH / 2.0,
            self.requests,
            self.rate
        );
        for step in 0..=4 {
            let us = most * f64::from(step) / 4.0;
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "<line x1=\"{EDGE}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.2} ms</text>",
                WIDTH - EDGE,
                y(us),
                y(us),
                EDGE - 6.0,
                y(us) + 4.0,
                us / 1e3
            );
        }
        for (nines, name) in [
            (0.0, "0 %"),
            (0.301, "50 %"),
            (1.0, "90 %"),
            (2.0, "99 %"),
            (3.0, "99.9 %"),
            (4.0, "99.99 %"),
            (5.0, "99.999 %"),
        ] {
            if nines <= most_nines {
                let _ = writeln!(
                    out,
                    "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{3:.1}\" text-anchor=\"middle\">{name}</text>",
                    x(nines),
                    y(0.0),
                    y(most),
                    HEIGHT - EDGE + 18.0
                );
            }
        }
        let points: Vec<String> = curve.iter().map(|(nines, us)| format!("{:.1},{:.1}", x(*nines), y(*us))).collect();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"#06c\" stroke-width=\"2\" points=\"{}\"/>\n</svg>",
            points.join(" ")
        );
        out
    }

    fn figure(&self, figure: &Figure) -> f64 {
        match figure {
            Figure::Percentile(percentile) => self.histogram.value_at_percentile(*percentile) as f64 / 1e3,
            Figure::Mean => self.latency.mean_us,
            Figure::Max => self.latency.max_us,
            Figure::Min => self.latency.min_us,
            Figure::Errors => self.failed as f64,
            Figure::ErrorShare => 100.0 * self.failed as f64 / self.requests.max(1) as f64,
            Figure::Rate => self.rate,
            Figure::Unsent => self.unsent as f64,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    Percentile(f64),
    Mean,
    Max,
    Min,
    Errors,
    ErrorShare,
    Rate,
    Unsent,
}

/// A condition under which a run has failed, such as `p99>50ms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    figure: Figure,
    is_above: bool,
    limit: f64,
}

impl Threshold {
    /// Whether a run has failed by it. A run without an answer has no latency: it has failed.
    #[must_use]
    pub fn is_crossed(&self, report: &Report) -> bool {
        let is_latency = !matches!(self.figure, Figure::Errors | Figure::ErrorShare | Figure::Rate | Figure::Unsent);
        if is_latency && report.histogram.is_empty() {
            return true;
        }
        let figure = report.figure(&self.figure);
        if self.is_above { figure > self.limit } else { figure < self.limit }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Threshold {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let wrong = || LoadError::Threshold(text.to_owned());
        let at = text.find(['>', '<']).ok_or_else(wrong)?;
        let (name, value) = (text[..at].trim(), text[at + 1..].trim());
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0).ok_or_else(wrong);
        let (figure, limit) = match name {
            "errors" => match value.strip_suffix('%') {
                Some(share) => (Figure::ErrorShare, number(share)?),
                None => (Figure::Errors, number(value)?),
            },
            "rate" => (Figure::Rate, number(value)?),
            "unsent" => (Figure::Unsent, number(value)?),
            _ => {
                let figure = match name {
                    "mean" => Figure::Mean,
                    "max" => Figure::Max,
                    "min" => Figure::Min,
                    _ => Figure::Percentile(number(name.strip_prefix('p').ok_or_else(wrong)?)?),
                };
                if matches!(figure, Figure::Percentile(percentile) if percentile > 100.0) {
                    return Err(wrong());
                }
                let units = [("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
                let found = units.iter().find_map(|(unit, factor)| Some((value.strip_suffix(unit)?, factor)));
                let (value, factor) = found.ok_or_else(wrong)?;
                (figure, number(value)? * factor)
            }
        };
        Ok(Self { text: text.to_owned(), figure, is_above: text.as_bytes()[at] == b'>', limit })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::Sent;

    fn report() -> Report {
        let mut tally = Tally::default();
        for number in 1..=1_000_u64 {
            let sent = Sent { request: 0, id: number, intended: 0, sent: 500 };
            let failure = (number == 1_000).then_some(Failure::Reset);
            let done =
                Done { sent, first: None, ended: number * 1_000_000, status: Some(200), size: 1, hash: None, failure };
            tally.count(&done, 0);
        }
        tally.ended = 1_000_000_000;
        let mut sum = Tally::default();
        sum.merge(&tally);
        let options = Options {
            threads: 1,
            connections: 1,
            depth: 1,
            rate: None,
            duration: None,
            requests: None,
            warm_up: Duration::ZERO,
            timeout: Duration::ZERO,
            seed: 0,
        };
        Report::new(&sum, &options, 1)
    }

    #[test]
    fn thresholds() {
        let report = report();
        assert_eq!((report.requests, report.failed, report.statuses.get(&200)), (1_000, 1, Some(&999)));
        let crossed = |text: &str| text.parse::<Threshold>().expect("a threshold").is_crossed(&report);
        assert!(crossed("p50>499ms") && !crossed("p50 > 502ms"));
        assert!(crossed("p99.9>0.99s") && crossed("max>998000us") && !crossed("mean>501ms"));
        assert!(crossed("errors>0") && !crossed("errors>1") && !crossed("errors>0.2%") && crossed("errors>0.05%"));
        assert!(crossed("rate<1000") && !crossed("rate<998"));
        for bad in ["p99", "p99>50", "p101>1ms", "q>1ms", "errors>x", "p99>-1ms"] {
            assert!(bad.parse::<Threshold>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_picture() {
        let svg = report().svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("99 %") && !svg.contains("NaN"));
    }
}
