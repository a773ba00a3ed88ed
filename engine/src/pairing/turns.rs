//! Responses behind a loss whose requests only the end of their turn tells.
//!
//! They are held, in a chain: each begins where the one before it ended, so that none can be missing between
//! them. When the client goes on with a new turn exactly at the chain's end, the last of them answered the
//! last request. A chain that breaks is told as far as it can be; a head that nothing proved to be one is
//! taken back.

use std::collections::VecDeque;

use super::{Context, Conversation, draft::Draft, queue::Verdict};
use crate::record::Fault;

/// Up to where the server had read the client when it sent its bytes.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Where the server's bytes begin that acknowledge more than those before them, and what they acknowledge.
    steps: VecDeque<(u64, u64)>,
}

impl Reads {
    /// Steps kept: a turn has one or two.
    const KEPT: usize = 8;

    /// The server's bytes at `offset` acknowledge `ack`.
    pub(crate) fn note(&mut self, offset: u64, ack: u64) {
        if self.steps.back().is_none_or(|(_, last)| ack > *last) {
            if self.steps.len() == Self::KEPT {
                self.steps.pop_front();
            }
            self.steps.push_back((offset, ack));
        }
    }

    /// The most that is acknowledged by bytes before `offset`.
    pub(crate) fn before(&self, offset: u64) -> Option<u64> {
        self.steps.iter().rev().find(|(begin, _)| *begin < offset).map(|(_, ack)| *ack)
    }
}

/// A response that is held.
#[derive(Debug)]
pub(crate) struct Held {
    id: u64,
    start: u64,
    ack: Option<u64>,
    /// It was found by looking for a head, not by following the message before it.
    found: bool,
}

impl Conversation {
    /// Holds the response that begins at `start`; its draft's number.
    pub(crate) fn hold(&mut self, mut draft: Draft, start: u64, ack: Option<u64>, found: bool) -> u64 {
        draft.held = true;
        let id = self.add(draft);
        self.held.push(Held { id, start, ack, found });
        id
    }

    /// The client sends the request at `start`, having got everything up to `seen`; of what it had sent
    /// before, the server had read up to `read`.
    pub(crate) fn turn(&mut self, cx: &mut Context, start: u64, seen: u64, read: Option<u64>, time_ns: i64) {
        if !self.queue.would_open_turn(start, seen, read) {
            return;
        }
        if self.received_until == seen && self.responses.is_unsure() {
            // No message reaches over the end of a turn: what looked like a head was the end of a body.
            self.responses.restart();
        }
        if self.held.is_empty() {
            return;
        }
        if self.responses.is_between_messages() && self.received_until == seen {
            self.tell_from_the_right(cx, time_ns);
        } else if self.received_until == seen {
            // Something reaches over the end of the turn: it was no message.
            self.take_back(cx);
            self.responses.restart();
        } else {
            self.break_chain(cx, time_ns);
            if !self.responses.is_between_messages() {
                self.responses.lose();
            }
        }
    }

    /// All the responses of the turn are there.
    pub(crate) fn tell_from_the_right(&mut self, cx: &mut Context, time_ns: i64) {
        let mut unanswered = Vec::new();
        let Some(answers) = self.queue.tell_from_the_right(self.held.len(), &mut unanswered) else {
            self.take_back(cx);
            return;
        };
        self.unanswered(cx, unanswered, time_ns);
        for (held, answer) in std::mem::take(&mut self.held).into_iter().zip(answers) {
            self.release(cx, held.id, answer);
        }
    }

    /// The chain breaks: what can be told is told.
    pub(crate) fn break_chain(&mut self, cx: &mut Context, time_ns: i64) {
        if self.held.is_empty() {
            return;
        }
        let proven = self.held.len() > 1 || self.held.first().is_some_and(|held| !held.found);
        if !proven {
            self.take_back(cx);
            return;
        }
        // One of them may answer HEAD: what was taken for its body may be messages.
        let first = self.held.first().map_or(self.received_until, |held| held.start);
        for held in std::mem::take(&mut self.held) {
            let mut unanswered = Vec::new();
            let answer = match self.queue.response(held.start, held.ack, &mut unanswered) {
                Verdict::Answers(id) => Some(id),
                Verdict::Alone => None,
                Verdict::Ambiguous => {
                    self.queue.pass();
                    None
                }
            };
            self.unanswered(cx, unanswered, time_ns);
            self.release(cx, held.id, answer);
        }
        self.queue.lost_responses(self.received_until, 0, self.received_until.saturating_sub(first), 0);
    }

    /// Nothing proves that these were messages: the turn stays without them.
    fn take_back(&mut self, cx: &mut Context) {
        let Some(first) = self.held.first().map(|held| held.start) else { return };
        for held in std::mem::take(&mut self.held) {
            if self.drafts.remove(&held.id).is_some() {
                self.exchanges = self.exchanges.saturating_sub(1);
                cx.messages.kept = cx.messages.kept.saturating_sub(1);
                cx.messages.unpaired = cx.messages.unpaired.saturating_sub(1);
                *cx.messages.dropped.entry("unproven").or_default() += 1;
            }
            if self.answering == Some(held.id) {
                self.answering = None;
            }
        }
        self.queue.lost_responses(self.received_until, 0, self.received_until.saturating_sub(first), 1);
    }

    /// Lets a held response go, to the request it answers or alone.
    fn release(&mut self, cx: &mut Context, id: u64, answer: Option<u64>) {
        let Some(mut draft) = self.drafts.remove(&id) else { return };
        draft.held = false;
        let open = self.answering == Some(id);
        if open {
            self.answering = None;
            draft.response_end(self.last_ns, Some(Fault::Gap));
        }
        match answer.and_then(|id| self.drafts.get_mut(&id)) {
            Some(request) => {
                request.adopt(draft);
                cx.messages.unpaired = cx.messages.unpaired.saturating_sub(1);
                self.exchanges = self.exchanges.saturating_sub(1);
            }
            None => draft.emit(cx),
        }
        if let Some(id) = answer {
            self.settle(cx, id);
        }
    }
}
