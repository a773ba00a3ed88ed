//! What a conversation does with the server's direction.

use super::{
    Context, Conversation,
    draft::{Draft, Phase},
    queue::{MAX_WAITING, Verdict},
    upgrade,
};
use crate::{
    flow::{Ending, Gap, Piece},
    http::{
        chunked::Chunked,
        framing::{self, Framing},
        half::{Input, Resume, Step},
        head::{self, Head, StartLine},
        raw_head::{RawHead, Resumed},
        sniff,
    },
    record::{Direction, Fault, Flags},
};

/// Bytes of junk before a status line that are passed over.
const MAX_JUNK: usize = 1_024;

/// What stands where a body may begin, or the next message when the request was HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// A whole head that tells where its body ends: a message.
    Message,
    /// The body.
    Body,
    /// Either: too little of it is here, or a body made of a message.
    Unclear,
}

/// `at_segment`: a segment begins here, as it does when a message is written by itself.
fn behind_head(bytes: &[u8], at_segment: bool) -> Behind {
    const BEGIN: &[u8] = b"HTTP/1.";
    if !sniff::strict_response(bytes) {
        let is_cut = BEGIN.starts_with(bytes) || bytes.starts_with(BEGIN) && memchr::memchr(b'\n', bytes).is_none();
        return if is_cut { Behind::Unclear } else { Behind::Body };
    }
    let Ok(end) = head::find_end(bytes, 0) else { return Behind::Unclear };
    match head::response(bytes::Bytes::copy_from_slice(&bytes[..end])) {
        Some(head) if framing::of_response(&head, None, false).0 != Framing::UntilClose => {
            let is_plain = !head.odd && memchr::memmem::rfind(&bytes[..end], BEGIN) == Some(0);
            if is_plain && at_segment { Behind::Message } else { Behind::Unclear }
        }
        _ => Behind::Body,
    }
}

impl Conversation {
    /// The next bytes from the server.
    pub(crate) fn received(&mut self, cx: &mut Context, piece: Piece<'_>) {
        // Most pieces lie within a body, and there is nothing to decide.
        let is_plain = !(self.doubtful_body || self.alone && self.answering.is_some());
        if is_plain && self.responses.takes_whole(piece.bytes.len()) {
            if let Some(draft) = self.answering.and_then(|id| self.drafts.get_mut(&id)) {
                draft.response_data(cx, Some(piece.offset), piece.bytes);
            }
            return;
        }
        self.recent[Direction::Received as usize].note(&piece);
        // What looked like the beginning of a head is none when the next turn begins within it.
        if let Some(begin) = self.responses.head_begin()
            && let Some(boundary) = self.queue.boundary().filter(|at| *at > begin)
            && boundary <= piece.offset
        {
            cx.messages.unread("malformed");
            self.break_chain(cx, piece.time_ns);
            self.responses.restart();
            self.queue.lost_responses(boundary, 0, boundary - begin, 0);
        }
        // Behind a loss a body may be taken for longer than it is: it ends where the next turn begins.
        if self.alone && self.answering.is_some() {
            let end = piece.offset + piece.bytes.len() as u64;
            if let Some(boundary) = self.queue.boundary().filter(|at| *at > self.response_start && *at < end) {
                let before = boundary.saturating_sub(piece.offset) as usize;
                let (first, second) = piece.bytes.split_at(before);
                if !first.is_empty() {
                    self.read_responses(cx, Piece { bytes: first, ..piece });
                }
                if self.answering.is_some() && self.alone {
                    self.responses.restart();
                    self.response_through(cx, piece.time_ns, Some(Fault::Gap));
                }
                self.read_responses(cx, Piece { offset: piece.offset + before as u64, bytes: second, ..piece });
                return;
            }
        }
        self.read_responses(cx, piece);
    }

    fn read_responses(&mut self, cx: &mut Context, piece: Piece<'_>) {
        let time_ns = piece.time_ns;
        let mut input = Input::from(piece);
        loop {
            if self.responses.is_between_messages() && !self.odd_beginning(cx, &mut input, piece) {
                break;
            }
            if self.doubtful_body && !input.bytes.is_empty() {
                self.doubtful_body = false;
                match behind_head(input.bytes, input.is_segment_start()) {
                    Behind::Message => {
                        self.responses.restart();
                        self.response_through(cx, time_ns, None);
                    }
                    Behind::Unclear => {
                        let Input { offset, bytes, .. } = input;
                        self.lose_doubtful(cx, offset, offset + bytes.len() as u64, time_ns);
                    }
                    Behind::Body => {}
                }
            }
            let at = self.queue.boundary().filter(|at| *at >= input.offset);
            let pipelined = self.queue.is_pipelined();
            // With a turn to come, its beginning is known exactly; else a segment's beginning may be a message's.
            let resume = Resume { at, at_segment: at.is_none(), anywhere: pipelined };
            match self.responses.step(&mut input, resume) {
                Step::More => break,
                Step::Head(mut raw) => {
                    if raw.resumed == Resumed::Found {
                        raw.drop_what_precedes_the_last_start();
                    }
                    self.response_head(cx, raw, time_ns);
                }
                Step::Body(bytes) => {
                    if let Some(draft) = self.answering.and_then(|id| self.drafts.get_mut(&id)) {
                        draft.response_data(cx, Some(input.offset - bytes.len() as u64), bytes);
                    }
                }
                Step::End(trailers) => {
                    if let Some(draft) = self.answering.and_then(|id| self.drafts.get_mut(&id)) {
                        draft.trailers(&Chunked::fields(&trailers), false);
                    }
                    self.response_through(cx, time_ns, None);
                }
                Step::BadBody => {
                    self.break_chain(cx, time_ns);
                    self.queue.lost_responses(input.offset, 0, 0, 1);
                    self.response_through(cx, time_ns, Some(Fault::BadChunk));
                }
                Step::HeadTooLarge => {
                    self.break_chain(cx, time_ns);
                    cx.messages.unread("head_too_large");
                    self.queue.lost_responses(input.offset, 1, 0, 0);
                }
                Step::Raw(rest) => {
                    if let Some(inside) = &mut self.inside {
                        inside.data(cx, Direction::Received, rest);
                    }
                }
            }
        }
    }

    /// Where a response should begin stands something else. `false`: nothing more to read in this piece.
    fn odd_beginning(&mut self, cx: &mut Context, input: &mut Input<'_>, piece: Piece<'_>) -> bool {
        let bytes = input.bytes;
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let text = &bytes[blank..];
        if text.is_empty() || sniff::response(text) || b"HTTP/".starts_with(text) {
            return true;
        }
        let looked = &text[..text.len().min(MAX_JUNK)];
        let junk = memchr::memmem::find_iter(looked, b"HTTP/1.").find(|at| sniff::strict_response(&text[*at..]));
        if let Some(junk) = junk.filter(|_| !self.answered && !self.ends.flags.has(Flags::MIDSTREAM)) {
            self.odd[Direction::Received as usize].set(Flags::MALFORMED);
            input.skip(blank + junk);
            return true;
        }
        // Bytes that answer the first request of a connection without any head: HTTP/0.9.
        let mut unanswered = Vec::new();
        if !self.answered
            && self.queue.waits()
            && !self.ends.flags.has(Flags::MIDSTREAM)
            && let Verdict::Answers(id) = self.queue.response(input.offset, piece.ack, &mut unanswered)
            && self.expects_bare_response(id)
        {
            if let Some(draft) = self.drafts.get_mut(&id) {
                draft.respond_bare(cx, piece.time_ns);
                draft.place(Direction::Received, input.offset, 0);
                draft.exchange.flags.set(Flags::MALFORMED);
            }
            self.answered = true;
            self.answering = Some(id);
            self.alone = false;
            self.response_start = input.offset;
            self.responses.begin_body(Framing::UntilClose);
            return true;
        }
        if self.is_http {
            cx.messages.unread("malformed");
        }
        self.break_chain(cx, piece.time_ns);
        self.responses.lose();
        self.queue.lost_responses(input.offset + bytes.len() as u64, 0, bytes.len() as u64, 0);
        true
    }

    fn response_head(&mut self, cx: &mut Context, raw: RawHead, time_ns: i64) {
        let (was_lost, found) = (raw.resumed != Resumed::No, raw.resumed == Resumed::Found);
        let head_len = raw.bytes.len() as u64;
        // A head that was looked for is one only when nothing in it begins another.
        let is_one = !found || memchr::memmem::rfind(&raw.bytes, b"HTTP/1.") == Some(0);
        let Some(head) = head::response(raw.bytes) else {
            cx.messages.unread("malformed");
            self.break_chain(cx, time_ns);
            self.responses.lose();
            self.queue.lost_responses(raw.start + head_len, 0, head_len, 0);
            return;
        };
        self.is_http = true;
        let status = if let StartLine::Response { status, .. } = head.start { status } else { 0 };
        if matches!(status, 100 | 102..=199) {
            // Interim responses come before the final one and answer nothing (RFC 9110 §15.2).
            self.responses.begin_body(Framing::None);
            return;
        }
        let maybe = self.responses.take_passed_over();
        if maybe > 0 {
            self.queue.lost_responses(raw.start, 0, 0, maybe);
        }
        // A head that was looked for is believed only when it is whole and plain: one cut out of a body runs into
        // the next message.
        if found && (head.odd || !is_one) {
            self.responses.lose();
            self.queue.lost_responses(raw.start + head_len, 0, head_len, 1);
            return;
        }
        // Who pipelines must frame: a head that does not was found in a body.
        if found && self.queue.is_pipelined() && framing::of_response(&head, None, false).0 == Framing::UntilClose {
            self.responses.lose();
            return;
        }
        self.queue.note_response(raw.start);
        let mut unanswered = Vec::new();
        let verdict = if found || !self.held.is_empty() {
            Verdict::Ambiguous
        } else {
            self.queue.response(raw.start, raw.ack, &mut unanswered)
        };
        self.unanswered(cx, unanswered, time_ns);
        let verdict = match verdict {
            Verdict::Alone if !was_lost && !self.ends.flags.has(Flags::MIDSTREAM) => {
                self.queue.crossed(raw.start).map_or(verdict, Verdict::Answers)
            }
            verdict => verdict,
        };
        let id = match verdict {
            Verdict::Answers(id) if self.drafts.contains_key(&id) => id,
            Verdict::Ambiguous => {
                if self.held.len() >= MAX_WAITING {
                    self.break_chain(cx, time_ns);
                }
                let draft = Draft::without_request(cx, &self.ends, raw.start_ns);
                self.hold(draft, raw.start, raw.ack, found)
            }
            _ => {
                let draft = Draft::without_request(cx, &self.ends, raw.start_ns);
                self.add(draft)
            }
        };
        self.alone = verdict == Verdict::Alone;
        self.answered = true;
        self.answering = Some(id);
        self.response_start = raw.start;
        let odd = std::mem::take(&mut self.odd[Direction::Received as usize]);
        let Some(draft) = self.drafts.get_mut(&id) else { return };
        draft.exchange.flags.set(odd);
        if was_lost {
            draft.exchange.flags.set(Flags::RESYNCHRONISED);
        }
        let asked = !self.alone && verdict != Verdict::Ambiguous;
        let method = asked.then(|| draft.exchange.method.as_bytes().as_ref());
        let upgrade_asked = asked && draft.exchange.request_headers.get("upgrade").is_some();
        let (framing, odd) = framing::of_response(&head, method, upgrade_asked);
        if odd {
            draft.exchange.flags.set(Flags::MALFORMED);
        }
        let tunnel = (framing == Framing::Tunnel).then(|| head.clone());
        draft.respond(cx, head, framing, raw.start_ns);
        draft.place(Direction::Received, raw.start, head_len as usize);
        self.doubtful_body =
            !asked && framing != Framing::None && (self.alone || self.queue.has_hole() || self.a_head_request_waits());
        self.responses.begin_body(framing);
        match (tunnel, framing) {
            (Some(head), _) => self.upgrade(cx, id, &head, raw.start_ns, time_ns),
            (None, Framing::None) => self.response_through(cx, time_ns, None),
            (None, Framing::Length(len)) if !self.doubtful_body && self.says_unwanted(id, Direction::Received) => {
                let begin = raw.start + head_len;
                cx.tell_unwanted(self.ends.server, self.ends.client, begin, len);
            }
            _ => {}
        }
    }

    /// Whether whoever captures may leave out the body of this half, whose head was just read.
    pub(crate) fn says_unwanted(&self, id: u64, direction: Direction) -> bool {
        !self.nested() && self.drafts.get(&id).is_some_and(|draft| draft.only_counts(direction))
    }

    fn a_head_request_waits(&self) -> bool {
        self.drafts.values().any(|draft| draft.response == Phase::Waiting && draft.exchange.method.as_bytes() == "HEAD")
    }

    /// The connection becomes something else behind this response.
    fn upgrade(&mut self, cx: &mut Context, id: u64, head: &Head, start_ns: i64, time_ns: i64) {
        let Some(draft) = self.drafts.get_mut(&id) else { return };
        draft.exchange.flags.set(Flags::UPGRADED);
        let inside = upgrade::inside(cx, draft, head, &self.ends, start_ns);
        draft.request_end(time_ns, None);
        self.inside = Some(Box::new(inside));
        self.requests.begin_body(Framing::Tunnel);
        self.asking = None;
        self.response_through(cx, time_ns, None);
    }

    pub(crate) fn response_through(&mut self, cx: &mut Context, time_ns: i64, fault: Option<Fault>) {
        self.doubtful_body = false;
        if let Some(id) = self.answering.take() {
            if let Some(draft) = self.drafts.get_mut(&id) {
                draft.response_end(time_ns, fault);
            }
            self.settle(cx, id);
        }
    }

    /// A gap: what a body of unknown right is taken for ends where the next turn begins, also within it.
    pub(crate) fn response_gap_over_turns(&mut self, cx: &mut Context, gap: Gap) {
        let end = gap.offset + gap.len;
        let boundary = self.queue.boundary().filter(|at| *at > self.response_start && *at < end);
        match boundary {
            Some(boundary) if self.alone && self.answering.is_some() => {
                let before = boundary.saturating_sub(gap.offset);
                if before > 0 {
                    self.response_gap(cx, Gap { len: before, ..gap });
                }
                self.responses.restart();
                self.response_through(cx, gap.time_ns, Some(Fault::Gap));
                self.response_gap(cx, Gap { offset: gap.offset + before, len: gap.len - before, ..gap });
            }
            _ => self.response_gap(cx, gap),
        }
    }

    /// What lies here may be a body, or messages when the request was HEAD: it cannot be told.
    fn lose_doubtful(&mut self, cx: &mut Context, begin: u64, end: u64, time_ns: i64) {
        self.break_chain(cx, time_ns);
        self.response_through(cx, time_ns, Some(Fault::Gap));
        self.responses.lose();
        self.queue.lost_responses(end, 0, end - begin, 0);
    }

    fn response_gap(&mut self, cx: &mut Context, gap: Gap) {
        if std::mem::take(&mut self.doubtful_body) {
            self.lose_doubtful(cx, gap.offset, gap.offset + gap.len, gap.time_ns);
            return;
        }
        let (in_body, lost) = self.responses.gap(gap.len);
        if let Some(draft) = self.answering.and_then(|id| self.drafts.get_mut(&id)).filter(|_| in_body > 0) {
            draft.response_gap(in_body);
        }
        match lost {
            Some(lost) => {
                self.break_chain(cx, gap.time_ns);
                self.response_through(cx, gap.time_ns, (in_body == 0).then_some(Fault::Gap));
                if lost.broken_head {
                    cx.messages.unread("gap_in_head");
                }
                self.queue.lost_responses(gap.offset + gap.len, lost.at_least, lost.bytes, 0);
            }
            None => {
                let offset = gap.offset + gap.len;
                let piece = Piece { offset, bytes: &[], ack: None, time_ns: gap.time_ns, segment_start: false };
                self.read_responses(cx, piece);
            }
        }
    }

    pub(crate) fn end_responses(&mut self, cx: &mut Context, time_ns: i64, ending: Ending) {
        let complete = self.responses.is_between_messages();
        let (head, whole) = self.responses.end();
        if let Some(raw) = head {
            self.response_head(cx, raw, time_ns);
            self.responses.restart();
            self.response_through(cx, time_ns, None);
        }
        let fault = match ending {
            _ if whole => None,
            Ending::CaptureEnded => Some(Fault::CaptureEnded),
            Ending::Evicted => Some(Fault::Evicted),
            Ending::Reset => Some(Fault::ServerReset),
            _ => Some(Fault::ServerClosed),
        };
        self.response_through(cx, time_ns, fault);
        // The client closed first: it had all it asked for.
        if complete && self.sent_ended && !self.queue.overlaps() && !self.held.is_empty() {
            self.tell_from_the_right(cx, time_ns);
        } else {
            self.break_chain(cx, time_ns);
        }
    }
}
