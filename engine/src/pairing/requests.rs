//! What a conversation does with the client's direction.

use super::{Context, Conversation, draft::Draft};
use crate::{
    flow::{Ending, Gap, Piece},
    http::{
        chunked::Chunked,
        framing::{self, Framing},
        half::{Input, Resume, Step},
        head,
        raw_head::{RawHead, Resumed},
    },
    record::{Direction, Fault, Flags, Protocol},
};

impl Conversation {
    /// The next bytes from the client.
    pub(crate) fn sent(&mut self, cx: &mut Context, piece: Piece<'_>) {
        self.read_requests(cx, piece.into(), piece);
    }

    fn read_requests(&mut self, cx: &mut Context, mut input: Input<'_>, piece: Piece<'_>) {
        let time_ns = piece.time_ns;
        loop {
            if self.inside.is_some() {
                break;
            }
            let pipelined = self.queue.is_pipelined();
            let went_on = match (piece.ack, self.queue.last_seen()) {
                (Some(ack), Some(seen)) => ack > seen,
                _ => true,
            };
            // A request is only believed behind a gap when the client has got more since the last one.
            let resume = Resume { at: None, at_segment: went_on || pipelined, anywhere: pipelined };
            match self.requests.step(&mut input, resume) {
                Step::More => break,
                Step::Head(raw) => self.request_head(cx, raw, time_ns),
                Step::Body(bytes) => {
                    if let Some(draft) = self.asking.and_then(|id| self.drafts.get_mut(&id)) {
                        draft.request_data(cx, Some(input.offset - bytes.len() as u64), bytes);
                    }
                }
                Step::End(trailers) => {
                    if let Some(draft) = self.asking.and_then(|id| self.drafts.get_mut(&id)) {
                        draft.trailers(&Chunked::fields(&trailers), true);
                    }
                    self.request_through(cx, time_ns, None);
                }
                Step::BadBody => self.request_through(cx, time_ns, Some(Fault::BadChunk)),
                Step::HeadTooLarge => cx.messages.unread("head_too_large"),
                Step::Raw(_) => {}
            }
        }
    }

    fn request_head(&mut self, cx: &mut Context, raw: RawHead, time_ns: i64) {
        let head_len = raw.bytes.len() as u64;
        let Some(head) = head::request(raw.bytes) else {
            cx.messages.unread("malformed");
            self.requests.lose();
            self.queue.lost_requests(raw.start, 0, head_len);
            return;
        };
        self.is_http = true;
        self.ask_owner(cx);
        let (framing, odd) = framing::of_request(&head);
        let mut draft = Draft::from_request(cx, &self.ends, head, framing, raw.start_ns);
        draft.place(Direction::Sent, raw.start, head_len as usize);
        draft.exchange.timings.connect_us = self.connect_us.take();
        let flags = &mut draft.exchange.flags;
        flags.set(std::mem::take(&mut self.odd[Direction::Sent as usize]));
        if odd {
            flags.set(Flags::MALFORMED);
        }
        if raw.resumed != Resumed::No {
            flags.set(Flags::RESYNCHRONISED);
        }
        if draft.exchange.request_headers.get("expect").is_some() {
            draft.exchange.flags.set(Flags::INTERIM);
        }
        if self.queue.is_full() {
            let mut unanswered = Vec::new();
            self.queue.forget(&mut unanswered);
            self.unanswered(cx, unanswered, time_ns);
        }
        let read = raw.ack.and_then(|seen| self.reads.before(seen));
        if let Some(seen) = raw.ack {
            self.turn(cx, raw.start, seen, read, time_ns);
        }
        let id = self.add(draft);
        let waiting = self.queue.request(id, raw.start, raw.ack, read);
        if waiting
            && self.queue.is_pipelined()
            && let Some(draft) = self.drafts.get_mut(&id)
        {
            draft.exchange.flags.set(Flags::PIPELINED);
        }
        self.asking = Some(id);
        self.requests.begin_body(framing);
        match framing {
            Framing::None => self.request_through(cx, time_ns, None),
            Framing::Length(len) if self.says_unwanted(id, Direction::Sent) => {
                let begin = raw.start + head_len;
                cx.tell_unwanted(self.ends.client, self.ends.server, begin, len);
            }
            _ => {}
        }
    }

    fn request_through(&mut self, cx: &mut Context, time_ns: i64, fault: Option<Fault>) {
        if let Some(id) = self.asking.take() {
            if let Some(draft) = self.drafts.get_mut(&id) {
                draft.request_end(time_ns, fault);
            }
            self.settle(cx, id);
        }
    }

    pub(crate) fn request_gap(&mut self, cx: &mut Context, gap: Gap) {
        let (in_body, lost) = self.requests.gap(gap.len);
        if let Some(draft) = self.asking.and_then(|id| self.drafts.get_mut(&id)).filter(|_| in_body > 0) {
            draft.request_gap(in_body);
        }
        match lost {
            Some(lost) => {
                self.request_through(cx, gap.time_ns, (in_body == 0).then_some(Fault::Gap));
                if lost.broken_head {
                    cx.messages.unread("gap_in_head");
                }
                self.queue.lost_requests(gap.offset, lost.at_least, lost.bytes);
            }
            None => {
                // The gap may have been the end of the body.
                let offset = gap.offset + gap.len;
                let piece = Piece { offset, bytes: &[], ack: None, time_ns: gap.time_ns, segment_start: false };
                self.read_requests(cx, piece.into(), piece);
            }
        }
    }

    /// The server answers: what looked like the beginning of a request line was all of it.
    pub(crate) fn answer_to_bare_request(&mut self, cx: &mut Context, ack: Option<u64>, time_ns: i64) {
        if !self.answered
            && let Some(raw) = ack.and_then(|ack| self.requests.take_bare_request(ack))
        {
            self.request_head(cx, raw, time_ns);
        }
    }

    pub(crate) fn end_requests(&mut self, cx: &mut Context, time_ns: i64, ending: Ending) {
        let (head, whole) = self.requests.end();
        if let Some(raw) = head {
            self.request_head(cx, raw, time_ns);
            self.requests.restart();
            self.request_through(cx, time_ns, Some(Fault::ClientClosed));
        }
        let fault = match ending {
            _ if whole => None,
            Ending::CaptureEnded => Some(Fault::CaptureEnded),
            Ending::Evicted => Some(Fault::Evicted),
            _ => Some(Fault::ClientClosed),
        };
        self.request_through(cx, time_ns, fault);
    }

    /// Whether the oldest request that waits is of HTTP/0.9, or was never answered in HTTP's form.
    pub(crate) fn expects_bare_response(&self, id: u64) -> bool {
        self.drafts.get(&id).is_some_and(|draft| draft.exchange.protocol == Protocol::Http09) || !self.answered
    }
}
