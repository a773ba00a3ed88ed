//! Requests at a rate: each goes out when it is due, on whichever connection to its server has room.

use super::Worker;
use crate::run::{connection::Connection, pace::Pace};

impl Worker {
    /// Gives the requests of an open loop that are due to connections with room.
    pub(super) fn pump(&mut self, now: u64) {
        if self.is_over {
            return;
        }
        while let Some(due) = self.pace.as_ref().map(Pace::next).filter(|due| *due <= now && *due < self.send_until) {
            let request = match self.drawn {
                Some(request) => request,
                None => self.draw_any(),
            };
            self.drawn = Some(request);
            let endpoint = self.shared.plan.requests[request as usize].endpoint;
            let Some(slot) = self.free[endpoint].pop_front() else {
                return;
            };
            let slot = slot as usize;
            self.slots[slot].is_listed = false;
            if !self.slots[slot].connection.as_ref().is_some_and(Connection::has_room) {
                continue;
            }
            if !self.ticket() {
                return;
            }
            self.drawn = None;
            if let Some(pace) = &mut self.pace {
                pace.take();
            }
            self.send(slot, request, due, now);
            self.list(slot);
            self.flush(slot, now);
        }
    }

    /// Puts a connection with room into its list.
    pub(super) fn list(&mut self, slot: usize) {
        let entry = &mut self.slots[slot];
        if self.pace.is_some() && !entry.is_listed && entry.connection.as_ref().is_some_and(Connection::has_room) {
            entry.is_listed = true;
            self.free[entry.endpoint].push_back(slot as u32);
        }
    }
}
