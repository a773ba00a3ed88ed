//! One thread's work: the frames of all its interfaces into one shard, until it is to stop.
//!
//! In: backends. Out: records into a sink; the ledger from the kernel up. Packet time goes on with the clock when the
//! lines are quiet, so that what waits for something that never comes is given up.

use std::{
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    Backend, LiveError, LiveFrame, LiveStatistics, Stop,
    bpf::{BodyNotes, HttpFilter},
};
use crate::{
    http::BodyPolicy,
    ledger::{Counters, Layer, Ledger},
    shard::{Ends, RecordSink, Shard},
};

/// How often counts are told and interfaces looked after; so long, too, frames are waited for at most.
const CHORES: Duration = Duration::from_millis(200);
/// Records are gathered so long before they are handed over: each time costs a turn of another thread.
const GATHER: Duration = Duration::from_millis(25);
/// While room for records is waited for, the rings are looked at this often.
const ROOM: Duration = Duration::from_millis(5);
/// Frames this old have been handed over by every backend (blocks are after 100 ms at most).
const SETTLED: Duration = Duration::from_millis(500);
/// The last block is waited for in steps of this.
const LAST_BLOCK: Duration = Duration::from_millis(50);
/// What still waits at a stop gets this long.
const LAST_BLOCKS: Duration = Duration::from_secs(2);
/// Blocks in a row before the clock is looked at.
const BLOCKS: usize = 16;

/// Where a worker's records go.
pub trait LiveSink: RecordSink {
    /// Hands over what has gathered.
    fn flush(&mut self);

    /// No more frames are let in: from now on records may wait for room, none need be lost.
    fn close(&mut self) {}

    /// Waits until there is room for the records of some blocks, so long at most; whether there is.
    fn wait_for_room(&mut self, _most: Duration) -> bool {
        true
    }

    /// What is to be stored from now on: bodies by policy, and responses at all.
    fn policy(&self) -> Option<(BodyPolicy, bool)> {
        None
    }

    /// A frame that the shard has just taken, with the ends of the segment in it, when there was one.
    fn frame(&mut self, _frame: &LiveFrame<'_>, _ends: Option<Ends>) {}

    /// A backend that yields nothing any more.
    fn failed(&mut self, error: &LiveError);
}

/// The work of one thread.
pub struct Worker<S> {
    lines: Vec<Box<dyn Backend>>,
    shard: Shard,
    sink: S,
    counters: Arc<Counters>,
    told: Ledger,
    /// Copies on the loopback that were left out.
    copies: u64,
    /// Of backends that failed.
    ended: LiveStatistics,
    /// Where bodies are told that need not come.
    notes: Option<BodyNotes>,
    /// The filter whose verdicts this worker tells.
    filter: Option<Arc<HttpFilter>>,
}

impl<S: LiveSink> Worker<S> {
    /// Reads `lines` into `shard`, and its records into `sink`.
    #[must_use]
    pub fn new(lines: Vec<Box<dyn Backend>>, shard: Shard, sink: S, counters: Arc<Counters>) -> Self {
        let (told, ended) = (Ledger::default(), LiveStatistics::default());
        Self { lines, shard, sink, counters, told, copies: 0, ended, notes: None, filter: None }
    }

    /// Has it tell the filter of its sockets which bodies need not come. One of all workers tells the ledger what the filter
    /// decided.
    #[must_use]
    pub fn with_filter(mut self, filter: &Arc<HttpFilter>, tells: bool) -> Self {
        self.shard.watch_unwanted();
        self.notes = Some(filter.notes());
        self.filter = tells.then(|| Arc::clone(filter));
        self
    }

    /// Works until `stop`, then reads what the kernel has already taken, and ends all flows. Blocks.
    pub fn run(mut self, stop: &Stop) {
        let (mut chores, mut flushed) = (Instant::now(), Instant::now());
        // Whether something was taken since the last flush.
        let mut holds = false;
        while !stop.is_stopped() {
            let mut taken = false;
            for _ in 0..BLOCKS {
                self.make_room();
                if self.round() == 0 {
                    break;
                }
                taken = true;
            }
            holds |= taken;
            if holds && flushed.elapsed() >= GATHER {
                self.sink.flush();
                (flushed, holds) = (Instant::now(), false);
            }
            if chores.elapsed() >= CHORES {
                chores = Instant::now();
                self.chores();
            }
            if taken {
                continue;
            }
            let most =
                if holds { GATHER - flushed.elapsed().min(GATHER) } else { CHORES - chores.elapsed().min(CHORES) };
            if self.wait(Some(stop), most) && !holds {
                self.idle();
            }
        }
        self.end();
    }

    /// Frames can wait in their rings a while, records for which there is no room are lost: it waits for room until a ring fills.
    fn make_room(&mut self) {
        while !self.sink.wait_for_room(Duration::ZERO) && !self.lines.iter_mut().any(|line| line.is_pressed()) {
            let _ = self.sink.wait_for_room(ROOM);
        }
    }

    /// The next block of each line; returns how many frames came.
    fn round(&mut self) -> usize {
        let Self { lines, shard, sink, copies, ended, notes, .. } = self;
        let mut frames = 0;
        lines.retain_mut(|line| {
            let taken = line.block(&mut |live| {
                if live.is_loopback_copy {
                    *copies += 1;
                } else {
                    let ends = shard.frame(&live.frame, sink);
                    sink.frame(live, ends);
                }
            });
            if let Some(notes) = notes {
                for body in shard.take_unwanted() {
                    notes.note_body(body.source, body.destination, body.sequence, body.len);
                }
            }
            match taken {
                Ok(taken) => {
                    frames += taken;
                    true
                }
                Err(error) => {
                    sink.failed(&error);
                    ended.add(&line.statistics());
                    false
                }
            }
        });
        frames
    }

    /// Waits for frames or a stop, so long at most; whether neither came.
    fn wait(&mut self, stop: Option<&Stop>, most: Duration) -> bool {
        let mut descriptors: Vec<PollFd<'_>> = self
            .lines
            .iter()
            .filter_map(|line| line.descriptor())
            .chain(stop.map(AsFd::as_fd))
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN | PollFlags::ERR))
            .collect();
        let wait = Timespec { tv_sec: most.as_secs() as _, tv_nsec: most.subsec_nanos().into() };
        let is_quiet = poll(&mut descriptors, Some(&wait)).unwrap_or(0) == 0;
        if descriptors.iter().any(|one| one.revents().contains(PollFlags::ERR)) {
            // An interface went down: the error stays until it is looked at.
            self.maintain();
        }
        is_quiet
    }

    /// Nothing came for a while: time goes on all the same.
    fn idle(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(SETTLED);
        self.shard.tick(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX), &mut self.sink);
        self.sink.flush();
    }

    fn maintain(&mut self) {
        let Self { lines, sink, ended, .. } = self;
        lines.retain_mut(|line| match line.maintain() {
            Ok(()) => true,
            Err(error) => {
                sink.failed(&error);
                ended.add(&line.statistics());
                false
            }
        });
    }

    fn chores(&mut self) {
        self.maintain();
        if let Some((bodies, responses)) = self.sink.policy() {
            self.shard.set_policy(bodies, responses);
        }
        self.tell(false);
    }

    /// Reads what is left, then ends everything under way.
    fn end(&mut self) {
        self.lines.iter_mut().for_each(|line| line.close_intake());
        self.sink.close();
        let deadline = Instant::now() + LAST_BLOCKS;
        loop {
            while self.round() > 0 {}
            if self.lines.iter_mut().all(|line| line.is_drained()) || Instant::now() > deadline {
                break;
            }
            self.wait(None, LAST_BLOCK);
        }
        self.shard.finish(&mut self.sink);
        self.sink.flush();
        self.tell(true);
    }

    fn statistics(&mut self) -> LiveStatistics {
        let mut all = self.ended;
        self.lines.iter_mut().for_each(|line| all.add(&line.statistics()));
        all
    }

    /// Adds to the counters what was counted since the last time.
    fn tell(&mut self, is_end: bool) {
        let all = self.statistics();
        let mut now = self.shard.ledger();
        let tally = now.layer_mut(Layer::Packets);
        // The shard counted what was taken, but for the copies.
        let waiting = all.seen.saturating_sub(all.taken + all.dropped);
        tally.seen += all.dropped + self.copies + waiting;
        let unread = if is_end { waiting } else { 0 };
        for (reason, count) in
            [("ring_full", all.dropped), ("ring_unread", unread), ("ignored:loopback_copy", self.copies)]
        {
            if count > 0 {
                tally.dropped.insert(reason.to_owned(), count);
            }
        }
        for (what, count) in [
            ("ring_freezes", all.freezes),
            ("interface_downs", all.downs),
            ("interface_dropped", all.interface_dropped),
        ] {
            if count > 0 {
                tally.noted.insert(what.to_owned(), count);
            }
        }
        if let Some(verdicts) = self.filter.as_ref().and_then(|filter| filter.verdicts().ok()) {
            verdicts.tell(now.layer_mut(Layer::Packets));
        }
        self.counters.advance(&self.told, &now);
        self.told = now;
    }
}

impl LiveStatistics {
    /// Adds what another backend counted.
    fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.dropped += other.dropped;
        self.taken += other.taken;
        self.freezes += other.freezes;
        self.downs += other.downs;
        self.interface_dropped += other.interface_dropped;
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::{
        pipeline::{Budget, Ids},
        record::Record,
        shard::ShardOptions,
    };

    /// A line that is pressed, or not.
    struct Pressed(bool);

    impl Backend for Pressed {
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        fn block(&mut self, _take: &mut dyn FnMut(&LiveFrame<'_>)) -> Result<usize, LiveError> {
            Ok(0)
        }

        fn is_pressed(&mut self) -> bool {
            self.0
        }

        fn close_intake(&mut self) {}

        fn statistics(&mut self) -> LiveStatistics {
            LiveStatistics::default()
        }
    }

    /// A sink that has room when it was asked so often.
    struct Later {
        asked: usize,
        room_after: usize,
    }

    impl RecordSink for Later {
        fn record(&mut self, _record: Record) {}
    }

    impl LiveSink for Later {
        fn flush(&mut self) {}

        fn wait_for_room(&mut self, _most: Duration) -> bool {
            self.asked += 1;
            self.asked > self.room_after
        }

        fn failed(&mut self, _error: &LiveError) {}
    }

    fn asked(pressed: &[bool]) -> usize {
        let lines = pressed.iter().map(|pressed| Box::new(Pressed(*pressed)) as Box<dyn Backend>).collect();
        let shard = Shard::new(&ShardOptions::default(), Arc::new(Ids::default()), Budget::new(1 << 20));
        let mut worker = Worker::new(lines, shard, Later { asked: 0, room_after: 9 }, Arc::default());
        worker.make_room();
        worker.sink.asked
    }

    #[test]
    fn room_is_waited_for_while_no_ring_fills() {
        assert!(asked(&[false, false]) > 9, "until there is room");
        assert_eq!(asked(&[false, true]), 1, "frames would be lost");
    }

    #[test]
    fn a_stop_ends_the_wait_for_frames() {
        let stop = Arc::new(Stop::new().expect("a descriptor"));
        let shard = Shard::new(&ShardOptions::default(), Arc::new(Ids::default()), Budget::new(1 << 20));
        let mut worker = Worker::new(Vec::new(), shard, Later { asked: 0, room_after: 0 }, Arc::default());
        assert!(worker.wait(Some(&stop), Duration::from_millis(1)), "nothing came");
        let waiting = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || worker.wait(Some(&stop), Duration::from_secs(9))
        });
        stop.stop();
        assert!(stop.is_stopped() && !waiting.join().expect("no panic"), "heard");
    }
}
