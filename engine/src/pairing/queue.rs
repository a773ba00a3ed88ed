//! The decision which request a response answers.
//!
//! In: where requests and responses begin, what the segments that begin them acknowledge, and how many
//! messages may lie in gaps. Out: the request, or that it cannot be told. Never a guess:
//!
//! - A response was sent after the server got the request's first byte (its acknowledgement covers it), and
//!   begins at or behind the server byte that the client had got when it sent the request.
//! - Without losses, responses come in the order of their requests (RFC 9112 §9.3.2).
//! - After a loss, a request sent once the client had got more than at its last request opens a new turn:
//!   what was asked before has been answered, unless the client was seen to overlap turns.
//! - Within a turn, losses are counted by bounds: so many messages at least, so many at most for the bytes
//!   missing. One request must be left, or the response stays alone.

use std::collections::VecDeque;

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
    /// The client sends requests before the responses to earlier ones.
    pipelined: bool,
    /// Something was lost: what waits may have been answered.
    lossy: bool,
    /// Turns overlap: requests follow while earlier ones wait.
    overlapping: bool,
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

    pub(crate) fn waits(&self) -> bool {
        !self.items.is_empty()
    }

    /// Whether nothing lost stands between the responses seen and the requests waiting.
    fn is_certain(&self) -> bool {
        self.skipped.at_most == 0 && self.items.iter().all(|item| matches!(item, Item::Request { .. }))
    }

    /// A request begins at `start`; its segment acknowledged `seen`.
    pub(crate) fn request(&mut self, id: u64, start: u64, seen: Option<u64>) -> bool {
        let grew = match (self.last_seen, seen) {
            (Some(last), Some(seen)) => seen > last,
            (None, _) => true,
            (Some(_), None) => false,
        };
        let behind_hole = matches!(self.items.back(), Some(Item::Hole { .. }));
        let waiting = !self.items.is_empty();
        let mut opens_turn = grew;
        if !grew && seen.is_some() {
            if !self.pipelined {
                self.doubt_turns_behind_holes();
            }
            self.pipelined = true;
        } else if grew && waiting && !self.lossy && self.is_certain() {
            self.pipelined = true;
            self.overlapping = true;
        }
        if waiting && self.overlapping || behind_hole && self.pipelined {
            opens_turn = false;
        }
        self.last_seen = seen.or(self.last_seen);
        self.items.push_back(Item::Request { id, start, seen, opens_turn });
        waiting
    }

    /// Requests were lost: at least so many, and what fits into the bytes.
    pub(crate) fn lost_requests(&mut self, start: u64, at_least: u32, bytes: u64) {
        self.lossy = true;
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
        self.items.iter().rev().find_map(|item| match item {
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

    /// An ambiguous response stays alone: the next is counted one further.
    pub(crate) fn pass(&mut self) {
        self.skipped.at_least += 1;
        self.skipped.at_most += 1;
    }

    /// Whether a request sent now, when the client had got all up to `seen`, would open a turn.
    pub(crate) fn would_open_turn(&self, seen: u64) -> bool {
        !self.overlapping && self.last_seen.is_none_or(|last| seen > last)
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

    /// The client pipelines after all: what was lost before a request may be of the same turn.
    fn doubt_turns_behind_holes(&mut self) {
        let mut behind_hole = false;
        for item in &mut self.items {
            match item {
                Item::Hole { .. } => behind_hole = true,
                Item::Request { opens_turn, .. } => {
                    *opens_turn &= !behind_hole;
                    behind_hole = false;
                }
            }
        }
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
mod tests {
    use super::*;

    fn response(queue: &mut Queue, start: u64, ack: u64) -> (Verdict, Vec<u64>) {
        let mut unanswered = Vec::new();
        (queue.response(start, Some(ack), &mut unanswered), unanswered)
    }

    #[test]
    fn one_after_another() {
        let mut queue = Queue::default();
        for n in 0..3 {
            queue.request(n, n * 100, Some(n * 1_000));
            assert_eq!(response(&mut queue, n * 1_000, n * 100 + 100), (Verdict::Answers(n), vec![]));
        }
        assert!(!queue.is_pipelined());
    }

    #[test]
    fn a_lost_response_does_not_shift_the_next() {
        let mut queue = Queue::default();
        queue.request(1, 0, Some(0));
        queue.lost_responses(500, 1, 500, 0);
        queue.request(2, 100, Some(500));
        assert_eq!(response(&mut queue, 500, 200), (Verdict::Answers(2), vec![1]));
    }

    #[test]
    fn a_lost_request_leaves_its_response_alone() {
        let mut queue = Queue::default();
        queue.request(1, 0, Some(0));
        assert_eq!(response(&mut queue, 0, 100).0, Verdict::Answers(1));
        queue.lost_requests(100, 1, 100);
        assert_eq!(response(&mut queue, 500, 200).0, Verdict::Alone);
        queue.request(3, 200, Some(900));
        assert_eq!(response(&mut queue, 900, 300).0, Verdict::Answers(3));
        // Request and response before it lost: the old request must not get the new response.
        queue.request(4, 300, Some(1_400));
        queue.lost_responses(1_900, 1, 500, 0);
        queue.lost_requests(400, 1, 100);
        assert_eq!(response(&mut queue, 1_900, 500).0, Verdict::Alone);
    }

    #[test]
    fn pipelined_in_order() {
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.request(n, n * 100, Some(0));
        }
        for n in 0..4 {
            assert_eq!(response(&mut queue, n * 300, 400).0, Verdict::Answers(n));
        }
        assert!(queue.is_pipelined());
    }

    #[test]
    fn pipelined_with_a_lost_response_is_told_from_the_end() {
        let mut queue = Queue::default();
        for n in 0..4 {
            queue.request(n, n * 100, Some(0));
        }
        assert_eq!(response(&mut queue, 0, 400).0, Verdict::Answers(0));
        // 300 bytes: the second's response, or it and others.
        queue.lost_responses(600, 1, 300, 0);
        assert_eq!(response(&mut queue, 600, 400).0, Verdict::Ambiguous);
        assert!(queue.would_open_turn(1_200));
        let mut unanswered = Vec::new();
        assert_eq!(queue.tell_from_the_right(2, &mut unanswered), Some(vec![Some(2), Some(3)]));
        assert_eq!(unanswered, [1]);
    }

    #[test]
    fn a_first_turn_whose_first_request_was_lost_is_not_shifted() {
        let mut queue = Queue::default();
        queue.lost_requests(0, 1, 100);
        queue.request(1, 100, Some(0));
        queue.request(2, 200, Some(0));
        assert_eq!(
            response(&mut queue, 0, 300).0,
            Verdict::Alone,
            "at least one request was lost: the first answer is its"
        );
    }

    #[test]
    fn more_answers_than_questions_are_not_believed() {
        let mut queue = Queue::default();
        queue.request(0, 0, Some(0));
        queue.lost_responses(600, 1, 600, 0);
        assert_eq!(queue.tell_from_the_right(1, &mut Vec::new()), None);
    }

    #[test]
    fn answers_before_anything_was_asked_stay_alone() {
        let mut queue = Queue::default();
        queue.request(1, 100, Some(0));
        assert_eq!(response(&mut queue, 0, 100).0, Verdict::Alone, "a 408 sent before the request came");
        assert_eq!(response(&mut queue, 50, 200).0, Verdict::Answers(1));
    }
}
