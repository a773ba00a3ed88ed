//! All flows of a shard: found by key, bounded in number and memory, looked at when their time comes.
//!
//! In: segments with packet time. Out: what their consumers make of the bytes; counts.

use super::{
    Consumer, Ending, FlowCounts, Unwanted,
    connection::{After, Flow},
    index::{FlowKey, Index, KeyHasher},
    stream::Arrival,
    wheel::{Due, Wheel},
};
use crate::{
    packet::Segment,
    pipeline::{Budget, Reservation},
};

/// Flows looked at to find an old one to give up.
const SAMPLE: usize = 8;
/// The memory budget is asked for waiting bytes in steps of this, and given back what is two steps too much.
const BUDGET_STEP: usize = 64 << 10;
/// So much may wait also when bodies have taken all of the budget: a packet that was overtaken is no loss.
const FLOOR: usize = 256 << 10;

/// The flows.
#[derive(Debug)]
pub(crate) struct FlowTable<C> {
    flows: Vec<Option<Flow<C>>>,
    free: Vec<u32>,
    index: Index,
    hasher: KeyHasher,
    wheel: Wheel,
    due: Vec<Due>,
    now_ns: i64,
    max_flows: usize,
    max_waiting: usize,
    /// Memory of bytes that wait, over all flows.
    waiting: usize,
    /// What of it the budget has granted.
    granted: Reservation,
    sample_at: usize,
    pub(crate) counts: FlowCounts,
}

impl<C: Consumer> FlowTable<C> {
    /// At most `max_flows` flows, and over all of them `max_waiting` bytes behind holes, or what `budget` grants.
    pub(crate) fn new(max_flows: usize, max_waiting: usize, budget: &Budget) -> Self {
        Self {
            flows: Vec::new(),
            free: Vec::new(),
            index: Index::new(),
            hasher: KeyHasher::new(),
            wheel: Wheel::new(),
            due: Vec::new(),
            now_ns: i64::MIN,
            max_flows: max_flows.clamp(1, u32::MAX as usize - 1),
            max_waiting,
            waiting: 0,
            granted: budget.empty(),
            sample_at: 0,
            counts: FlowCounts::default(),
        }
    }

    /// A segment.
    pub(crate) fn segment(&mut self, segment: &Segment<'_>, time_ns: i64, cx: &mut C::Context) {
        self.tick(time_ns, cx);
        let source = (segment.source, segment.source_port);
        let (key, side) = FlowKey::new(source, (segment.destination, segment.destination_port));
        let hash = self.hasher.hash(&key);
        let flows = &self.flows;
        let found = self.index.find(hash, |place| flows[place].as_ref().is_some_and(|flow| flow.key == key));
        let place = match found {
            Some(place) => place,
            // An end without a beginning opens nothing.
            None if segment.control.rst() => {
                self.counts.payload_bytes += segment.payload.len() as u64;
                self.counts.unwanted(Unwanted::Reset, segment.payload.len());
                return;
            }
            None => self.open(key, hash, time_ns, cx),
        };
        if self.with(place, |flow, counts| flow.segment(side, segment, time_ns, cx, counts)) == Some(After::Replace) {
            self.close(place, Ending::Reused, cx);
            let place = self.open(key, hash, time_ns, cx);
            self.with(place, |flow, counts| flow.segment(side, segment, time_ns, cx, counts));
            self.rearm(place);
        } else {
            self.rearm(place);
        }
        if self.waiting != 0 || self.granted.bytes() != 0 {
            self.account(place, time_ns, cx);
        }
    }

    /// Has the budget grant what waits; where it does not, holes are given up, those of the flow at `place` first.
    fn account(&mut self, place: usize, time_ns: i64, cx: &mut C::Context) {
        let granted = self.granted.bytes();
        if self.waiting > granted {
            let more = (self.waiting - granted).next_multiple_of(BUDGET_STEP);
            let _ = self.granted.grow(more) || self.granted.grow(self.waiting - granted);
        } else if granted - self.waiting >= 2 * BUDGET_STEP || self.waiting == 0 {
            self.granted.shrink(granted - self.waiting);
        }
        if self.waiting > self.allowed() {
            self.with(place, |flow, counts| {
                let now = Arrival { time_ns, packet: u64::MAX };
                flow.pump(true, now, cx, counts);
            });
            self.relieve(cx);
        }
    }

    fn allowed(&self) -> usize {
        self.max_waiting.min(self.granted.bytes().max(FLOOR))
    }

    /// Works on a flow and keeps the sum of waiting memory.
    fn with<T>(&mut self, place: usize, work: impl FnOnce(&mut Flow<C>, &mut FlowCounts) -> T) -> Option<T> {
        let flow = self.flows[place].as_mut()?;
        let before = flow.waiting_memory();
        let result = work(flow, &mut self.counts);
        self.waiting = self.waiting + flow.waiting_memory() - before;
        Some(result)
    }

    /// Puts a flow into the wheel anew when it wants to be looked at earlier than it is in.
    fn rearm(&mut self, place: usize) {
        let Some(flow) = self.flows[place].as_mut() else { return };
        if flow.is_blocked() {
            let tick = Wheel::tick_at(flow.deadline());
            if tick < flow.scheduled {
                flow.scheduled = self.wheel.schedule(place as u32, tick);
            }
        }
    }

    fn open(&mut self, key: FlowKey, hash: u64, time_ns: i64, cx: &mut C::Context) -> usize {
        if self.flows.len() - self.free.len() >= self.max_flows {
            self.evict(cx);
        }
        self.counts.flows += 1;
        let mut flow = Flow::new(key, hash, time_ns);
        let place = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() as u32 - 1
        });
        flow.scheduled = self.wheel.schedule(place, Wheel::tick_at(flow.deadline()));
        let flows = &self.flows;
        let hash_of = |place: usize| flows[place].as_ref().map_or(hash, |flow| flow.hash);
        self.index.insert(hash, place, hash_of);
        self.flows[place as usize] = Some(flow);
        place as usize
    }

    fn close(&mut self, place: usize, ending: Ending, cx: &mut C::Context) {
        let now_ns = self.now_ns;
        self.with(place, |flow, counts| flow.finish(ending, now_ns, cx, counts));
        if let Some(flow) = &self.flows[place] {
            let hash = flow.hash;
            let flows = &self.flows;
            self.index.remove(hash, place, |place| flows[place].as_ref().map_or(0, |flow| flow.hash));
            self.flows[place] = None;
            self.free.push(place as u32);
        }
    }

    /// Gives up the flow that was silent longest among a few.
    fn evict(&mut self, cx: &mut C::Context) {
        let mut oldest: Option<(i64, usize)> = None;
        let mut looked = 0;
        for _ in 0..self.flows.len() {
            self.sample_at = (self.sample_at + 1) % self.flows.len();
            if let Some(flow) = &self.flows[self.sample_at] {
                looked += 1;
                if oldest.is_none_or(|(last_ns, _)| flow.last_ns < last_ns) {
                    oldest = Some((flow.last_ns, self.sample_at));
                }
                if looked == SAMPLE {
                    break;
                }
            }
        }
        if let Some((_, place)) = oldest {
            self.counts.evicted += 1;
            self.close(place, Ending::Evicted, cx);
        }
    }

    /// Gives up holes of other flows until the bound is kept, a few flows at a time.
    fn relieve(&mut self, cx: &mut C::Context) {
        for _ in 0..self.flows.len() {
            if self.waiting <= self.allowed() {
                break;
            }
            self.sample_at = (self.sample_at + 1) % self.flows.len();
            let now = Arrival { time_ns: self.now_ns, packet: u64::MAX };
            let place = self.sample_at;
            self.with(place, |flow, counts| {
                if flow.waiting_memory() > 0 {
                    flow.pump(true, now, cx, counts);
                }
            });
        }
    }

    /// Moves on to a packet time: looks at what has come up.
    pub(crate) fn tick(&mut self, time_ns: i64, cx: &mut C::Context) {
        self.now_ns = self.now_ns.max(time_ns);
        if !self.wheel.has_turned(self.now_ns) {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now_ns, &mut due);
        for (place, tick) in due.drain(..) {
            let now_ns = self.now_ns;
            let place = place as usize;
            let is_current = self.flows[place].as_ref().is_some_and(|flow| flow.scheduled == tick);
            if !is_current {
                continue;
            }
            match self.with(place, |flow, counts| flow.look(now_ns, cx, counts)).flatten() {
                Some(deadline) => {
                    let tick = self.wheel.schedule(place as u32, Wheel::tick_at(deadline));
                    if let Some(flow) = &mut self.flows[place] {
                        flow.scheduled = tick;
                    }
                }
                None => self.close(place, Ending::Idle, cx),
            }
        }
        self.due = due;
    }

    /// Ends every flow: no more packets will come.
    pub(crate) fn finish(&mut self, cx: &mut C::Context) {
        for place in 0..self.flows.len() {
            if self.flows[place].is_some() {
                self.close(place, Ending::CaptureEnded, cx);
            }
        }
    }
}
