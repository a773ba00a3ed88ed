//! The decision which request a response answers.
//!
//! In: where requests and responses begin, what the segments that begin them acknowledge, and how many
//! messages may lie in gaps. Out: the request, or that it cannot be told. Never a guess:
//!
//! - A response was sent after the server got the request's first byte (its acknowledgement covers it), and
//!   begins at or behind the server byte that the client had got when it sent the request.
//! - Without losses, responses come in the order of their requests (RFC 9112 §9.3.2).
//! - A request sent once the client had got more than at the request before it opens a new turn: what was
//!   asked before has been answered, unless the client was seen to overlap turns. Behind lost requests this
//!   is known when a segment of the server with bytes that the client had got acknowledges all before it:
//!   the request before it was sent before those bytes came.
//! - Within a turn, losses are counted by bounds: so many messages at least, so many at most for the bytes
//!   missing. One request must be left, or the response stays alone.

use std::collections::VecDeque;

use crate::work;

/// Requests waiting for responses at most.
pub(crate) const MAX_WAITING: usize = 1_024;
/// A message is never shorter (`HTTP/1.1 304` and two line ends).
const MIN_MESSAGE: u64 = 16;

#[derive(Debug, Clone, Copy)]
enum Item {
    Request {
        id: u64,
        start: u64,
        seen: Option<u64>,
        opens_turn: bool,
    },
    /// Requests that were lost.
    Hole {
        start: u64,
        at_least: u64,
        at_most: u64,
    },
}

impl Item {
    fn slots(&self) -> (u64, u64) {
        match self {
            Self::Request { .. } => (1, 1),
            Self::Hole { at_least, at_most, .. } => (*at_least, *at_most),
        }
    }

    fn start(&self) -> u64 {
        match self {
            Self::Request { start, .. } | Self::Hole { start, .. } => *start,
        }
    }
}

/// What was decided for a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers this request.
    Answers(u64),
    /// Its request was not seen.
    Alone,
    /// It cannot be told yet; the end of the turn may tell ([`Queue::tell_from_the_right`]), else [`Queue::pass`].
    Ambiguous,
}

/// How many messages may lie in so many bytes whole.
fn fit(bytes: u64) -> u64 {
    bytes / MIN_MESSAGE
}

impl Turn {
    /// Whether all that was asked was answered before the client went on. A window that moves by one shows the
    /// same with single requests, unless nothing was lost since the connection began: then it shows at once.
    fn shows_turns(&self, was_lossy: bool) -> bool {
        let least = if was_lossy { 2 } else { 1 };
        !self.lossy && self.requests == self.responses && self.requests >= least
    }
}

/// Responses that were lost since one was last told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Skipped {
    at_least: u64,
    at_most: u64,
    /// Where the first gap began and the last one ended.
    begin: u64,
    end: u64,
}

/// The requests of a connection that wait for responses.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    skipped: Skipped,
    last_seen: Option<u64>,
    /// Requests were lost since the last one seen.
    behind_hole: bool,
    /// The client sends requests before the responses to earlier ones.
    pipelined: bool,
    /// Something was lost: what waits may have been answered.
    lossy: bool,
    /// Turns overlap: requests follow while earlier ones wait.
    overlapping: bool,
    /// The client was seen to wait for all responses before it went on.
    takes_turns: bool,
    turn: Turn,
}

/// What was seen since the client last went on, whatever is known of what waited before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Turn {
    begin: Option<u64>,
    requests: u32,
    responses: u32,
    lossy: bool,
}

impl Queue {
    pub(crate) fn is_pipelined(&self) -> bool {
        self.pipelined
    }

    /// What the client had got of the other direction when it sent its last request.
    pub(crate) fn last_seen(&self) -> Option<u64> {
        self.last_seen
    }

    pub(crate) fn is_full(&self) -> bool {
        self.items.len() >= MAX_WAITING
    }

    /// Whether lost requests may wait.
    pub(crate) fn has_hole(&self) -> bool {
        self.items.iter().any(|item| matches!(item, Item::Hole { .. }))
    }

    pub(crate) fn waits(&self) -> bool {
        !self.items.is_empty()
    }

    /// A request begins at `start`; its segment acknowledged `seen`. `read`: up to where the server had read
    /// the client when it sent a byte before `seen`, as far as is known.
    pub(crate) fn request(&mut self, id: u64, start: u64, seen: Option<u64>, read: Option<u64>) -> bool {
        let waiting = !self.items.is_empty();
        let goes_on = self.is_later(start, seen, read);
        if goes_on {
            if self.skipped.at_most == 0 && self.items.iter().any(|item| item.slots().0 > 0) {
                self.pipelined = true;
                self.overlapping = true;
            }
            self.takes_turns |= self.turn.shows_turns(self.lossy);
            self.turn = Turn { begin: seen, requests: 1, responses: 0, lossy: false };
        } else {
            self.pipelined |= seen.is_some_and(|seen| self.last_seen.is_some_and(|last| seen <= last));
            self.turn.requests += 1;
            self.turn.lossy |= self.behind_hole;
        }
        let opens_turn = goes_on && self.trusts_turns();
        self.behind_hole = false;
        self.last_seen = seen.or(self.last_seen);
        self.items.push_back(Item::Request { id, start, seen, opens_turn });
        waiting
    }

    /// Requests were lost: at least so many, and what fits into the bytes.
    pub(crate) fn lost_requests(&mut self, start: u64, at_least: u32, bytes: u64) {
        self.lossy = true;
        self.turn.lossy = true;
        self.behind_hole = true;
        let at_least = u64::from(at_least);
        // The last may go on behind the gap.
        let at_most = at_least.max(fit(bytes) + 1);
        if let Some(Item::Hole { at_least: least, at_most: most, .. }) = self.items.back_mut() {
            (*least, *most) = (*least + at_least, *most + at_most + 1);
        } else {
            self.items.push_back(Item::Hole { start, at_least, at_most });
        }
    }

    /// Responses were lost up to `end`. `maybe`: heads that may have been passed over besides.
    pub(crate) fn lost_responses(&mut self, end: u64, at_least: u32, bytes: u64, maybe: u32) {
        // The first begins in the gap, others may lie in it whole; the last may go on behind it.
        let fit = fit(bytes);
        self.lossy = true;
        self.turn.lossy = true;
        let begin = end.saturating_sub(bytes);
        self.skipped.begin = if self.skipped.at_most == 0 { begin } else { self.skipped.begin.min(begin) };
        self.skipped.at_least += u64::from(at_least);
        self.skipped.at_most += u64::from(at_least).max(1) + fit + u64::from(maybe);
        self.skipped.end = self.skipped.end.max(end);
    }

    /// Where the newest turn's first response begins: nothing of an earlier message can reach beyond.
    pub(crate) fn boundary(&self) -> Option<u64> {
        if self.overlapping {
            return None;
        }
        self.items.iter().rev().inspect(|_| work::done(1)).find_map(|item| match item {
            Item::Request { seen, opens_turn: true, .. } => *seen,
            _ => None,
        })
    }

    /// A response begins at `start`; its segment acknowledged `ack`. Requests that will stay without
    /// response are added to `unanswered`.
    pub(crate) fn response(&mut self, start: u64, ack: Option<u64>, unanswered: &mut Vec<u64>) -> Verdict {
        let covered = |item: &Item| ack.is_none_or(|ack| item.start() < ack);
        let possible =
            |item: &Item| covered(item) && !matches!(item, Item::Request { seen: Some(seen), .. } if *seen > start);
        // The newest turn that this response can be of.
        let turn = self
            .items
            .iter()
            .rposition(|item| matches!(item, Item::Request { opens_turn: true, .. }) && possible(item));
        if let Some(turn) = turn {
            if let Item::Request { seen: Some(seen), .. } = self.items[turn] {
                if self.skipped.end <= seen {
                    self.skipped = Skipped::default();
                } else if self.skipped.begin < seen {
                    // How many of them were of this turn is not known.
                    self.skipped.at_least = 0;
                }
            }
            self.give_up(turn, unanswered);
        }
        let mut candidates = self.candidates(&possible);
        match (candidates.next(), candidates.next()) {
            (Some(index), None) => {
                drop(candidates);
                self.give_up(index, unanswered);
                let skipped = std::mem::take(&mut self.skipped);
                self.take_front(skipped.at_most)
            }
            (Some(_), Some(_)) => {
                drop(candidates);
                Verdict::Ambiguous
            }
            (None, _) => {
                drop(candidates);
                // Lost responses answered all that this one's sender had got.
                let answered = self.items.iter().take_while(|item| possible(item)).count();
                let hole = if answered == self.items.len() { self.trailing_hole() } else { None };
                self.give_up(answered, unanswered);
                self.items.extend(hole);
                self.skipped = Skipped::default();
                Verdict::Alone
            }
        }
    }

    /// A response begins at `start` that acknowledges no request, on a connection of which nothing was lost from its
    /// opening on: the client takes it for the answer to the oldest request it had sent without having got it
    /// (RFC 9112 §9.2).
    pub(crate) fn crossed(&mut self, start: u64) -> Option<u64> {
        match self.items.front() {
            Some(Item::Request { id, seen, .. }) if !self.lossy && seen.is_none_or(|seen| seen <= start) => {
                let id = *id;
                self.items.pop_front();
                Some(id)
            }
            _ => None,
        }
    }

    /// A response begins at `start`, whatever it answers.
    pub(crate) fn note_response(&mut self, start: u64) {
        if self.turn.begin.is_some_and(|begin| start >= begin) {
            self.turn.responses += 1;
        }
    }

    /// An ambiguous response stays alone: the next is counted one further.
    pub(crate) fn pass(&mut self) {
        self.skipped.at_least += 1;
        self.skipped.at_most += 1;
    }

    /// Whether a request that begins at `start`, sent when the client had got all up to `seen`, opens a turn.
    /// `read`: as for [`request`](Self::request).
    pub(crate) fn would_open_turn(&self, start: u64, seen: u64, read: Option<u64>) -> bool {
        self.is_later(start, Some(seen), read) && self.trusts_turns()
    }

    /// Whether a client that goes on has got all responses. Who never pipelined waits for them; of others it
    /// must have been seen.
    fn trusts_turns(&self) -> bool {
        !self.overlapping && (!self.pipelined || self.takes_turns || self.turn.shows_turns(self.lossy))
    }

    /// Whether the client had got more when it sent the request at `start` than when it sent the one before it.
    fn is_later(&self, start: u64, seen: Option<u64>, read: Option<u64>) -> bool {
        if self.behind_hole {
            return seen.is_some() && read.is_some_and(|read| read >= start);
        }
        match (self.last_seen, seen) {
            (Some(last), Some(seen)) => seen > last,
            (None, _) => true,
            (Some(_), None) => false,
        }
    }

    pub(crate) fn overlaps(&self) -> bool {
        self.overlapping
    }

    /// The turn is over, and `count` responses up to its end were seen without a loss between them: the last
    /// answers the last request, and so on back. Tells what each answers, in their order; requests before
    /// them are added to `unanswered`. `None`: there are more than can be, so they are not what they seem.
    pub(crate) fn tell_from_the_right(&mut self, count: usize, unanswered: &mut Vec<u64>) -> Option<Vec<Option<u64>>> {
        let most: u64 = self.items.iter().map(|item| item.slots().1).sum();
        if self.items.is_empty() && self.skipped.at_least > 0
            || !self.items.is_empty() && count as u64 + self.skipped.at_least > most
        {
            return None;
        }
        let mut answers = vec![None; count];
        if let Some(hole) = self.trailing_hole() {
            // Requests lost last may be of the turn that begins: nothing can be counted from there.
            let rest = self.items.len();
            self.give_up(rest, unanswered);
            self.items.push_back(hole);
            self.skipped = Skipped::default();
            return Some(answers);
        }
        for answer in answers.iter_mut().rev() {
            match self.items.back() {
                Some(Item::Request { id, .. }) => {
                    *answer = Some(*id);
                    self.items.pop_back();
                }
                _ => break,
            }
        }
        let rest = self.items.len();
        self.give_up(rest, unanswered);
        self.skipped = Skipped::default();
        Some(answers)
    }

    /// The items that may stand where this response is counted to.
    fn candidates<'a>(&'a self, possible: impl Fn(&Item) -> bool + 'a) -> impl Iterator<Item = usize> + 'a {
        let (low, high) = (self.skipped.at_least, self.skipped.at_most);
        let mut before = (0, 0);
        self.items.iter().enumerate().filter_map(move |(index, item)| {
            work::done(1);
            let (at_least, at_most) = item.slots();
            let (first, last) = (before.0, before.1 + at_most);
            before = (before.0 + at_least, before.1 + at_most);
            // Its slots are first..last, at the widest.
            (at_most > 0 && first <= high && low < last && possible(item)).then_some(index)
        })
    }

    /// Forgets all requests that wait: there are too many. What follows is counted with care.
    pub(crate) fn forget(&mut self, unanswered: &mut Vec<u64>) {
        let count = self.items.len();
        self.give_up(count, unanswered);
        self.pipelined = true;
        self.overlapping = true;
        self.skipped.at_most += count as u64;
    }

    fn give_up(&mut self, count: usize, unanswered: &mut Vec<u64>) {
        unanswered.extend(self.items.drain(..count).filter_map(|item| match item {
            Item::Request { id, .. } => Some(id),
            Item::Hole { .. } => None,
        }));
    }

    /// The hole at the end, as one that may hold nothing.
    fn trailing_hole(&self) -> Option<Item> {
        match self.items.back() {
            Some(Item::Hole { start, at_most, .. }) => {
                Some(Item::Hole { start: *start, at_least: 0, at_most: *at_most })
            }
            _ => None,
        }
    }

    /// Takes what a response is told to answer; up to `skipped` before it may have been answered as well.
    fn take_front(&mut self, skipped: u64) -> Verdict {
        match self.items.front_mut() {
            Some(Item::Hole { at_least, at_most, .. }) if *at_most > 1 => {
                *at_least = at_least.saturating_sub(1 + skipped);
                *at_most -= 1;
                Verdict::Alone
            }
            Some(Item::Request { id, .. }) => {
                let id = *id;
                self.items.pop_front();
                Verdict::Answers(id)
            }
            _ => {
                self.items.pop_front();
                Verdict::Alone
            }
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
