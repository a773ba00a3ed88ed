//! A thread of the generator: its connections, when each of them is given a request, and the epoll loop.

mod open_loop;
mod replay;

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rustix::{
    event::{Timespec, epoll},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};

use self::replay::Own;
use super::{
    Done, Failure, Sent, Shared,
    connection::Connection,
    id_text,
    pace::{Pace, Random},
    report::Tally,
};
use crate::LoadError;

/// What is read at once.
const BUFFER: usize = 64 << 10;
const EVENTS: usize = 256;
/// How often waits that are too long are looked for.
const CHECK: u64 = 100_000_000;
/// The number of the timer among the events.
const TIMER: u64 = u64::MAX;
/// The other side sends nothing more. It is told once, with data that came before.
const ENDED: epoll::EventFlags = epoll::EventFlags::RDHUP.union(epoll::EventFlags::HUP).union(epoll::EventFlags::ERR);
/// After a connection failed, the next attempt waits so long.
const AGAIN: u64 = 50_000_000;
/// So many failed attempts on each connection, without one that succeeded, and it is over.
const ATTEMPTS: usize = 20;

struct Slot {
    endpoint: usize,
    connection: Option<Connection>,
    /// Stands in the list of those with room.
    is_listed: bool,
    /// Is told apart from the one before it in truth files.
    number: u32,
    again_at: u64,
    /// In a replay: requests that are due, and how many there will be.
    queue: VecDeque<u32>,
    left: u32,
    /// Since when no connection could be opened.
    down_since: Option<u64>,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    timer: OwnedFd,
    slots: Vec<Slot>,
    /// In an open loop: connections with room, by endpoint.
    free: Vec<VecDeque<u32>>,
    pace: Option<Pace>,
    /// In an open loop: the request that is due next.
    drawn: Option<u32>,
    random: Random,
    next_id: u64,
    parts: u64,
    done: Vec<Done>,
    buffer: Vec<u8>,
    tally: Tally,
    warm_until: u64,
    send_until: u64,
    connections: u32,
    own: Option<Own>,
    /// Connections that failed one after another.
    failed_in_row: usize,
    is_over: bool,
}

impl Worker {
    pub(super) fn new(shared: &Arc<Shared>, part: usize, parts: usize) -> Result<Self, LoadError> {
        let io = |error: rustix::io::Errno| LoadError::io("epoll cannot be had")(error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).map_err(io)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN | epoll::EventFlags::ET)
            .map_err(io)?;
        let options = &shared.options;
        let endpoints = shared.plan.endpoints.len();
        let own = (options.connections.max(1) + parts - 1 - part) / parts;
        let slot = |number: usize| Slot {
            endpoint: (part + number * parts) % endpoints,
            connection: None,
            is_listed: false,
            number: 0,
            again_at: 0,
            queue: VecDeque::new(),
            left: 0,
            down_since: None,
        };
        let warm_until = options.warm_up.as_nanos() as u64;
        let length = options.duration.map(|duration| duration.as_nanos() as u64);
        let mut slots: Vec<Slot> = (0..own.max(endpoints.div_ceil(parts))).map(slot).collect();
        let replay = shared.replay.as_ref().map(|replay| {
            let lanes = (replay.lanes as usize + parts - 1 - part) / parts;
            slots = (0..lanes).map(slot).collect();
            Own::new(shared, replay, part, parts, &mut slots)
        });
        Ok(Self {
            shared: Arc::clone(shared),
            epoll,
            timer,
            slots,
            own: replay,
            free: vec![VecDeque::new(); endpoints],
            pace: options.rate.map(|(arrivals, rate)| Pace::new(arrivals, rate, part, parts, options.seed)),
            drawn: None,
            random: Random::new(options.seed.wrapping_add(part as u64 * 977)),
            next_id: part as u64,
            parts: parts as u64,
            done: Vec::with_capacity(EVENTS),
            buffer: vec![0; BUFFER],
            tally: Tally::default(),
            warm_until,
            send_until: length.map_or(u64::MAX, |length| warm_until + length),
            connections: part as u32,
            failed_in_row: 0,
            is_over: false,
        })
    }

    fn now(&self) -> u64 {
        self.shared.begin.elapsed().as_nanos() as u64
    }

    pub(super) fn run(mut self) -> Result<Tally, LoadError> {
        // The kernel may be late by this: the least it takes. Without the right to ask for it, things are as they are.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let cpu = thread_cpu();
        let mut events = Vec::with_capacity(EVENTS);
        let mut checked = 0;
        let mut timer_at = 0;
        if self.own.is_none() {
            for slot in 0..self.slots.len() {
                self.open(slot, 0)?;
            }
        }
        loop {
            let mut now = self.now();
            self.is_over |= now >= self.send_until || self.shared.progress.stop.load(Ordering::Relaxed);
            self.pump(now);
            self.replay(now)?;
            if self.is_over && self.is_idle() {
                break;
            }
            if now >= checked + CHECK {
                checked = now;
                self.check(now)?;
            }
            let wake = self.wake(now, checked + CHECK);
            if wake > now && wake != timer_at {
                timer_at = wake;
                let after = Duration::from_nanos(wake - now);
                let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) };
                let none = Timespec { tv_sec: 0, tv_nsec: 0 };
                let timer = Itimerspec { it_interval: none, it_value: value };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)
                    .map_err(|error| LoadError::io("a timer cannot be set")(error.into()))?;
            }
            let poll = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), (wake <= now).then_some(&poll))
            {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(LoadError::io("waiting failed")(error.into())),
            }
            now = self.now();
            for event in events.drain(..) {
                match event.data.u64() {
                    TIMER => timer_at = 0,
                    slot => {
                        let flags = event.flags;
                        self.ready(slot as usize, now, flags.intersects(ENDED))?;
                    }
                }
            }
        }
        self.tally.ended = self.now();
        while self.pace.as_ref().is_some_and(|pace| pace.next() < self.send_until.min(self.tally.ended))
            && self.has_tickets()
        {
            self.tally.unsent += 1;
            if let Some(pace) = &mut self.pace {
                pace.take();
            }
        }
        self.tally.warm_up = self.warm_until;
        self.tally.cpu_ns = thread_cpu().saturating_sub(cpu);
        if let Some(truth) = &self.shared.truth {
            truth.flush(&mut self.tally.rows);
        }
        Ok(self.tally)
    }

    fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.connection.as_ref().is_none_or(|open| open.in_flight() == 0))
    }

    /// When to look again without an event.
    fn wake(&self, now: u64, check: u64) -> u64 {
        let mut wake = check.min(if self.is_over { u64::MAX } else { self.send_until });
        if let (Some(pace), false) = (&self.pace, self.is_over) {
            // What is overdue waits for a connection, not for the clock.
            if pace.next() > now {
                wake = wake.min(pace.next());
            }
        }
        if let Some(due) = self.next_own().filter(|_| !self.is_over) {
            wake = wake.min(due.0);
        }
        wake
    }

    /// Whether another request may be sent.
    fn ticket(&mut self) -> bool {
        let granted = self.shared.left.as_ref().is_none_or(|left| left.fetch_sub(1, Ordering::Relaxed) > 0);
        self.is_over |= !granted;
        granted
    }

    fn has_tickets(&self) -> bool {
        self.shared.left.as_ref().is_none_or(|left| left.load(Ordering::Relaxed) > 0)
    }

    fn draw_any(&mut self) -> u32 {
        let plan = &self.shared.plan;
        let of = if plan.endpoints.len() == 1 {
            0
        } else {
            // By the weight of all requests of an endpoint.
            let sum = |of: &Vec<u32>| of.last().map_or(0.0, |last| plan.requests[*last as usize].share);
            let mut point = self.random.share() * plan.of_endpoint.iter().map(sum).sum::<f64>();
            let found = plan.of_endpoint.iter().position(|of| {
                point -= sum(of);
                point < 0.0
            });
            found.unwrap_or(0)
        };
        self.draw(of)
    }

    fn draw(&mut self, endpoint: usize) -> u32 {
        let plan = &self.shared.plan;
        let of = &plan.of_endpoint[endpoint];
        match &of[..] {
            [] => 0,
            [only] => *only,
            [.., last] => {
                let point = self.random.share() * plan.requests[*last as usize].share;
                let at = of.partition_point(|request| plan.requests[*request as usize].share <= point);
                of[at.min(of.len() - 1)]
            }
        }
    }

    fn send(&mut self, slot: usize, request: u32, intended: u64, now: u64) {
        let id = self.next_id;
        self.next_id += self.parts;
        let text = self.shared.plan.ids.then(|| id_text(self.shared.run, id));
        if let Some(connection) = &mut self.slots[slot].connection {
            let sent = Sent { request, id, intended, sent: now };
            connection.send(&self.shared.plan.requests[request as usize], text.as_ref().map(|text| &text[..]), sent);
        }
    }

    /// Fills a connection with requests; in an open loop that waits until they are due.
    fn fill(&mut self, slot: usize, now: u64) {
        if self.own.is_some() {
            return self.drain(slot, now);
        }
        if self.pace.is_some() {
            return self.list(slot);
        }
        while !self.is_over && self.slots[slot].connection.as_ref().is_some_and(Connection::has_room) && self.ticket() {
            let request = self.draw(self.slots[slot].endpoint);
            self.send(slot, request, now, now);
        }
    }

    fn flush(&mut self, slot: usize, now: u64) {
        let Some(connection) = &mut self.slots[slot].connection else { return };
        if let Err(failure) = connection.flush() {
            self.end(slot, now, failure);
        }
    }

    fn ready(&mut self, slot: usize, now: u64, has_ended: bool) -> Result<(), LoadError> {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return Ok(());
        };
        let outcome = connection.ready(now, has_ended, &self.shared.plan.requests, &mut self.buffer, &mut self.done);
        let (is_used_up, is_open) = (connection.is_used_up(), connection.is_open());
        self.account(slot);
        match outcome {
            Ok(()) if is_used_up => {
                self.end(slot, now, Failure::Closed);
                if !self.is_over && (self.own.is_none() || !self.slots[slot].queue.is_empty()) {
                    self.open(slot, now)?;
                }
            }
            Ok(()) => {
                if is_open {
                    self.failed_in_row = 0;
                    self.slots[slot].down_since = None;
                }
                self.fill(slot, now);
                self.flush(slot, now);
            }
            Err(failure) => self.end(slot, now, failure),
        }
        Ok(())
    }

    /// Ends a connection; a new one comes with the next check, or at once when it had served.
    fn end(&mut self, slot: usize, now: u64, failure: Failure) {
        let Some(mut connection) = self.slots[slot].connection.take() else { return };
        if !connection.is_open() {
            self.not_opened(slot, now, failure);
        }
        connection.end(now, failure, &mut self.done);
        self.slots[slot].again_at = now + AGAIN;
        self.account(slot);
    }

    fn not_opened(&mut self, slot: usize, now: u64, failure: Failure) {
        self.tally.connect_failed(failure);
        self.slots[slot].again_at = now + AGAIN;
        self.slots[slot].down_since.get_or_insert(now);
        self.failed_in_row += 1;
    }

    fn open(&mut self, slot: usize, now: u64) -> Result<(), LoadError> {
        let options = &self.shared.options;
        let endpoint = &self.shared.plan.endpoints[self.slots[slot].endpoint];
        // A replay pipelines nothing over HTTP/1.1: what overlapped there overlaps on other lanes.
        let is_replay = self.own.is_some();
        let depth = if is_replay && !endpoint.http2 { 1 } else { options.depth.max(1) };
        let hashes = is_replay || self.shared.truth.is_some();
        let Ok(connection) = Connection::open(endpoint, depth, hashes, now) else {
            self.not_opened(slot, now, Failure::Connect);
            return Ok(());
        };
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, connection.fd(), epoll::EventData::new_u64(slot as u64), flags)
            .map_err(|error| LoadError::io("epoll takes no more")(error.into()))?;
        self.tally.connections += 1;
        self.slots[slot].number = self.connections;
        self.connections += self.parts as u32;
        self.slots[slot].connection = Some(connection);
        Ok(())
    }

    /// Ends waits that are too long; opens what is not open.
    fn check(&mut self, now: u64) -> Result<(), LoadError> {
        let timeout = self.shared.options.timeout.as_nanos() as u64;
        for slot in 0..self.slots.len() {
            let oldest = self.slots[slot].connection.as_ref().and_then(Connection::oldest);
            if oldest.is_some_and(|oldest| now.saturating_sub(oldest) > timeout) {
                self.end(slot, now, Failure::Timeout);
            }
            self.give_up(slot, now, timeout);
            let entry = &self.slots[slot];
            if entry.connection.is_none()
                && !self.is_over
                && now >= entry.again_at
                && (self.own.is_none() || !entry.queue.is_empty())
            {
                self.open(slot, now)?;
            }
        }
        Ok(())
    }

    /// Counts what has ended.
    fn account(&mut self, slot: usize) {
        if self.done.is_empty() {
            return;
        }
        let progress = &self.shared.progress;
        progress.done.fetch_add(self.done.len() as u64, Ordering::Relaxed);
        let connection = self.slots[slot].number;
        for done in self.done.drain(..) {
            if done.failure.is_some() {
                progress.failed.fetch_add(1, Ordering::Relaxed);
            }
            self.tally.count(&done, self.warm_until);
            if self.own.is_some() {
                self.tally.rows.push((done, connection));
            }
            if let Some(truth) = &self.shared.truth {
                self.tally.rows.push((done, connection));
                if self.tally.rows.len() >= crate::truth::BATCH {
                    truth.flush(&mut self.tally.rows);
                }
            }
        }
    }
}

fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
