//! A session sent again: each lane sends its requests when they are due, in their order.

use super::{ATTEMPTS, Slot, Worker};
use crate::{
    LoadError,
    run::{Done, Failure, Schedule, Sent, Shared, connection::Connection},
};

/// The requests of a replay that are this thread's, in the order they are due.
pub(super) struct Own {
    requests: Vec<u32>,
    at: usize,
}

impl Own {
    /// Those of `part`, and what each of its lanes has to send.
    pub(super) fn new(shared: &Shared, replay: &Schedule, part: usize, parts: usize, slots: &mut [Slot]) -> Self {
        let mut own = Self { requests: Vec::new(), at: 0 };
        for (request, (_, lane)) in replay.due.iter().enumerate() {
            let lane = *lane as usize;
            if lane % parts == part {
                let slot = &mut slots[lane / parts];
                slot.endpoint = shared.plan.requests[request].endpoint;
                slot.left += 1;
                own.requests.push(request as u32);
            }
        }
        own
    }
}

impl Worker {
    /// When the next request of a replay is due, and which it is.
    pub(super) fn next_own(&self) -> Option<(u64, u32)> {
        let own = self.own.as_ref()?;
        let request = *own.requests.get(own.at)?;
        self.shared.replay.as_ref().map(|replay| (replay.due[request as usize].0, request))
    }

    /// In a replay: puts what is due onto its lane.
    pub(super) fn replay(&mut self, now: u64) -> Result<(), LoadError> {
        if self.own.is_none() {
            return Ok(());
        }
        while let Some((_, request)) = self.next_own().filter(|(due, _)| *due <= now && !self.is_over) {
            if let Some(own) = &mut self.own {
                own.at += 1;
            }
            let lane = self.shared.replay.as_ref().map_or(0, |replay| replay.due[request as usize].1);
            let slot = lane as usize / self.parts as usize;
            self.slots[slot].queue.push_back(request);
            if self.slots[slot].connection.is_none() {
                self.open(slot, now)?;
            } else {
                self.fill(slot, now);
                self.flush(slot, now);
            }
        }
        self.is_over |= self.next_own().is_none() && self.slots.iter().all(|slot| slot.queue.is_empty());
        Ok(())
    }

    /// In a replay: sends what waits on a lane; a lane without more to come is closed.
    pub(super) fn drain(&mut self, slot: usize, now: u64) {
        while self.slots[slot].connection.as_ref().is_some_and(Connection::has_room) {
            let Some(request) = self.slots[slot].queue.pop_front() else { break };
            let due = self.shared.replay.as_ref().map_or(now, |replay| replay.due[request as usize].0);
            self.slots[slot].left -= 1;
            self.next_id = u64::from(request);
            self.send(slot, request, due, now);
        }
        if self.slots[slot].left == 0 && self.slots[slot].connection.as_ref().is_some_and(|open| open.in_flight() == 0)
        {
            self.slots[slot].connection = None;
        }
    }

    /// Gives up where nothing answers: wholly, or in a replay on a lane.
    pub(super) fn give_up(&mut self, slot: usize, now: u64, timeout: u64) {
        self.is_over |= self.failed_in_row >= ATTEMPTS * self.slots.len();
        let entry = &mut self.slots[slot];
        if entry.down_since.is_none_or(|since| now.saturating_sub(since) <= timeout) {
            return;
        }
        let own = &self.shared.replay;
        for request in entry.queue.drain(..) {
            let intended = own.as_ref().map_or(now, |replay| replay.due[request as usize].0);
            entry.left -= 1;
            let sent = Sent { request, id: u64::from(request), intended, sent: now };
            let failure = Some(Failure::Connect);
            self.done.push(Done { sent, first: None, ended: now, status: None, size: 0, hash: None, failure });
        }
        self.account(slot);
    }
}
