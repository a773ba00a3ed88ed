//! One direction of HTTP/1.x: heads and bodies one after another, over gaps.
//!
//! In: pieces of a stream and gaps. Out: steps. The owner tells how a body ends once it has seen the
//! head, and where the next message may begin once the way was lost.

use bytes::{Bytes, BytesMut};

use super::{
    MAX_HEAD,
    chunked::{Chunked, Decoded},
    framing::Framing,
    head,
    raw_head::{RawHead, Resumed},
    sniff,
};
use crate::{flow::Piece, work};

/// Which of the two directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Requests,
    Responses,
}

/// What was lost when the way was lost, in messages that may have begun there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Messages that began in the gap, or whose head it broke: at least.
    pub(crate) at_least: u32,
    /// Bytes that may hold further messages.
    pub(crate) bytes: u64,
    /// A head was under way.
    pub(crate) broken_head: bool,
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// All was used.
    More,
    /// A head; the owner calls [`Half::begin_body`].
    Head(RawHead),
    /// Bytes of the body.
    Body(&'a [u8]),
    /// The message is whole; its trailer section.
    End(Bytes),
    /// The body is not what its head announces; it is cut here.
    BadBody,
    /// The head is over the limit; the way is lost.
    HeadTooLarge,
    /// Bytes of a tunnel.
    Raw(Piece<'a>),
}

#[derive(Debug)]
enum State {
    /// Between messages: line ends are skipped.
    Start,
    /// In a head that does not lie in one piece.
    Head {
        buffer: BytesMut,
        searched: usize,
        start: u64,
        ack: Option<u64>,
        start_ns: i64,
    },
    Length(u64),
    Chunked {
        decoder: Chunked,
        length: Option<u64>,
        taken: u64,
    },
    /// Decided by the first bytes.
    Unlikely {
        length: Option<u64>,
        chunked: bool,
    },
    UntilClose,
    /// Bytes are passed over until a message begins.
    Lost,
    Raw,
}

/// Where a message may begin when the way is lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resume {
    /// A message begins exactly here.
    pub(crate) at: Option<u64>,
    /// One may begin where a segment begins.
    pub(crate) at_segment: bool,
    /// One may begin anywhere.
    pub(crate) anywhere: bool,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Half {
    role: Role,
    state: State,
    resumed: Resumed,
    /// Heads that may have been passed over while the way was lost, since they lay in two pieces.
    passed_over: u32,
}

/// The unread part of a piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u64,
    ack: Option<u64>,
    time_ns: i64,
    segment_start: bool,
}

impl<'a> From<Piece<'a>> for Input<'a> {
    fn from(piece: Piece<'a>) -> Self {
        let Piece { offset, bytes, ack, time_ns, segment_start } = piece;
        Self { bytes, offset, ack, time_ns, segment_start }
    }
}

impl<'a> Input<'a> {
    /// All that is left, as a piece.
    fn take_piece(&mut self) -> Piece<'a> {
        let Self { bytes, offset, ack, time_ns, segment_start } = *self;
        self.take(bytes.len());
        Piece { offset, bytes, ack, time_ns, segment_start }
    }

    /// Whether a segment begins here.
    pub(crate) fn is_segment_start(&self) -> bool {
        self.segment_start
    }

    /// Passes over bytes from the front.
    pub(crate) fn skip(&mut self, len: usize) {
        let segment_start = self.segment_start;
        self.take(len);
        self.segment_start = segment_start;
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        self.offset += len as u64;
        self.segment_start &= len == 0;
        taken
    }
}

/// Whether a piece may end within a status line.
fn may_end_in_head(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"HTTP/1.";
    let tail = &bytes[bytes.len().saturating_sub(1_024)..];
    match memchr::memmem::rfind(tail, BEGIN) {
        Some(at) if memchr::memchr(b'\n', &tail[at..]).is_none() => true,
        _ => (1..BEGIN.len()).any(|len| tail.ends_with(&BEGIN[..len])),
    }
}

/// One line without a version, and nothing behind it.
fn is_bare_line(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_end();
    memchr::memchr(b'\n', line).is_none() && memchr::memmem::find(line, b" HTTP/").is_none()
}

impl Half {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, state: State::Start, resumed: Resumed::No, passed_over: 0 }
    }

    /// Whether a head is being read that was found behind a loss, or none was found yet.
    pub(crate) fn is_unsure(&self) -> bool {
        matches!(self.state, State::Lost) || self.resumed == Resumed::Found
    }

    pub(crate) fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Start)
    }

    /// Takes a piece that lies within a body of known length and does not end it; `false`: it is another, and not taken.
    pub(crate) fn takes_whole(&mut self, len: usize) -> bool {
        match &mut self.state {
            State::Length(left) if *left > len as u64 => {
                *left -= len as u64;
                true
            }
            _ => false,
        }
    }

    /// Where the head begins that is under way, and what there is of it.
    pub(crate) fn head(&self) -> Option<(u64, &[u8])> {
        if let State::Head { start, buffer, .. } = &self.state { Some((*start, buffer)) } else { None }
    }

    /// Where the head begins that is under way.
    pub(crate) fn head_begin(&self) -> Option<u64> {
        self.head().map(|(start, _)| start)
    }

    /// Heads that may have been passed over since this was last asked.
    pub(crate) fn take_passed_over(&mut self) -> u32 {
        std::mem::take(&mut self.passed_over)
    }

    /// Loses the way: what stands here is no message.
    pub(crate) fn lose(&mut self) {
        self.resumed = Resumed::No;
        self.state = State::Lost;
    }

    /// A message begins at the next byte, whatever was under way.
    pub(crate) fn restart(&mut self) {
        self.resumed = Resumed::No;
        self.state = State::Start;
    }

    /// Says how the body behind the head ends.
    pub(crate) fn begin_body(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::None => State::Start,
            Framing::Unlikely { length, chunked } => State::Unlikely { length, chunked },
            Framing::Length(length) => State::Length(length),
            Framing::Chunked { length } => State::Chunked { decoder: Chunked::new(), length, taken: 0 },
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Raw,
        };
    }

    /// Takes bytes from the front of `input`.
    pub(crate) fn step<'a>(&mut self, input: &mut Input<'a>, resume: Resume) -> Step<'a> {
        loop {
            match &mut self.state {
                State::Length(0) => {
                    self.state = State::Start;
                    return Step::End(Bytes::new());
                }
                _ if input.bytes.is_empty() => return Step::More,
                State::Start => {
                    let blank = input.bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                    if blank > 0 {
                        let segment_start = input.segment_start;
                        input.take(blank);
                        input.segment_start = segment_start;
                        continue;
                    }
                    return self.whole_head(input);
                }
                State::Head { .. } => return self.more_head(input),
                State::Length(left) => {
                    let len = usize::try_from(*left).map_or(input.bytes.len(), |left| left.min(input.bytes.len()));
                    *left -= len as u64;
                    return Step::Body(input.take(len));
                }
                State::Chunked { .. } => match self.chunk(input) {
                    Some(step) => return step,
                    None => continue,
                },
                State::Unlikely { length, chunked } => {
                    let (length, chunked) = (*length, *chunked);
                    if self.role == Role::Responses && sniff::response(input.bytes) || input.segment_start {
                        self.state = State::Start;
                        return Step::End(Bytes::new());
                    }
                    self.begin_body(match (chunked, length) {
                        (true, length) => Framing::Chunked { length },
                        (false, Some(length)) => Framing::Length(length),
                        (false, None) => Framing::None,
                    });
                }
                State::UntilClose => return Step::Body(input.take(input.bytes.len())),
                State::Raw => return Step::Raw(input.take_piece()),
                State::Lost => {
                    let Some(skip) = self.find_begin(input, resume) else {
                        self.passed_over += u32::from(self.role == Role::Responses && may_end_in_head(input.bytes));
                        input.take(input.bytes.len());
                        return Step::More;
                    };
                    input.take(skip);
                    self.resumed = if resume.at == Some(input.offset) { Resumed::Exact } else { Resumed::Found };
                    self.state = State::Start;
                }
            }
        }
    }

    /// A head that lies in this piece goes out at once; else it is gathered.
    fn whole_head<'a>(&mut self, input: &mut Input<'a>) -> Step<'a> {
        let (start, ack, start_ns) = (input.offset, input.ack, input.time_ns);
        match head::find_end(input.bytes, 0) {
            Ok(end) if end <= MAX_HEAD => {
                let bytes = Bytes::copy_from_slice(input.take(end));
                let resumed = std::mem::replace(&mut self.resumed, Resumed::No);
                Step::Head(RawHead { bytes, start, ack, start_ns, resumed })
            }
            Ok(_) => self.head_too_large(),
            Err(searched) => {
                let buffer = BytesMut::from(input.take(input.bytes.len()));
                self.state = State::Head { buffer, searched, start, ack, start_ns };
                Step::More
            }
        }
    }

    fn more_head<'a>(&mut self, input: &mut Input<'a>) -> Step<'a> {
        let State::Head { buffer, searched, start, ack, start_ns } = &mut self.state else { return Step::More };
        let before = buffer.len();
        // Not more than can be a head; the rest of the piece may be a long body.
        let len = input.bytes.len().min(MAX_HEAD + 1 - before.min(MAX_HEAD));
        work::done(len);
        buffer.extend_from_slice(&input.bytes[..len]);
        match head::find_end(buffer, *searched) {
            Ok(end) => {
                input.take(end - before.min(end));
                buffer.truncate(end);
                let raw = RawHead {
                    bytes: buffer.split().freeze(),
                    start: *start,
                    ack: *ack,
                    start_ns: *start_ns,
                    resumed: std::mem::replace(&mut self.resumed, Resumed::No),
                };
                self.state = State::Start;
                Step::Head(raw)
            }
            Err(_) if buffer.len() > MAX_HEAD => self.head_too_large(),
            Err(stopped) => {
                *searched = stopped;
                input.take(len);
                Step::More
            }
        }
    }

    fn head_too_large<'a>(&mut self) -> Step<'a> {
        self.resumed = Resumed::No;
        self.state = State::Lost;
        Step::HeadTooLarge
    }

    /// A step in a chunked body; `None`: look again, the state changed.
    fn chunk<'a>(&mut self, input: &mut Input<'a>) -> Option<Step<'a>> {
        let State::Chunked { decoder, length, taken } = &mut self.state else { return None };
        let before = *input;
        let mut bytes = input.bytes;
        let decoded = decoder.step(&mut bytes);
        let used = input.bytes.len() - bytes.len();
        match decoded {
            Decoded::More => {
                *taken += used as u64;
                input.take(used);
                Some(Step::More)
            }
            Decoded::Data(data) => {
                *taken += used as u64;
                input.take(used);
                Some(Step::Body(data))
            }
            Decoded::End(trailers) => {
                input.take(used);
                self.state = State::Start;
                Some(Step::End(trailers))
            }
            // Announced, but not done: what Content-Length or the end of the stream says counts.
            Decoded::Bad { first: true } if *taken == 0 => {
                *input = before;
                let length = *length;
                self.begin_body(length.map_or(Framing::UntilClose, Framing::Length));
                None
            }
            Decoded::Bad { .. } => {
                self.state = State::Lost;
                Some(Step::BadBody)
            }
        }
    }

    /// Where in this piece a message begins.
    fn find_begin(&self, input: &Input<'_>, resume: Resume) -> Option<usize> {
        if let Some(at) = resume.at.filter(|at| (input.offset..input.offset + input.bytes.len() as u64).contains(at)) {
            return Some((at - input.offset) as usize);
        }
        let looks = |bytes: &[u8]| match self.role {
            Role::Requests => sniff::strict_request(bytes),
            Role::Responses => sniff::strict_response(bytes),
        };
        if resume.at_segment && input.segment_start && looks(input.bytes) {
            return Some(0);
        }
        if !resume.anywhere {
            return None;
        }
        work::done(input.bytes.len());
        if self.role == Role::Responses {
            return memchr::memmem::find_iter(input.bytes, b"HTTP/1.").find(|at| looks(&input.bytes[*at..]));
        }
        // Requests begin behind a line end (of a head) or anywhere (behind a body): only the former can be told.
        if looks(input.bytes) {
            return Some(0);
        }
        memchr::memmem::find_iter(input.bytes, b"\n\r\n").map(|at| at + 3).find(|at| looks(&input.bytes[*at..]))
    }

    /// Bytes are lost. Tells how many of them belong to the body under way, and what may have begun in the rest.
    pub(crate) fn gap(&mut self, len: u64) -> (u64, Option<Lost>) {
        if let State::Chunked { decoder, .. } = &mut self.state
            && decoder.bridge(len)
        {
            return (len, None);
        }
        let lost = |at_least, bytes, broken_head| Some(Lost { at_least, bytes, broken_head });
        let result = match &mut self.state {
            State::Length(left) if len <= *left => {
                *left -= len;
                return (len, None);
            }
            State::UntilClose | State::Raw => return (len, None),
            State::Length(left) => {
                let (left, rest) = (*left, len - *left);
                (left, lost(1, rest, false))
            }
            State::Start => (0, lost(u32::from(len > 4), len, false)),
            // What was found by looking for a head may be none.
            State::Head { .. } if self.resumed == Resumed::Found => (0, lost(0, len, false)),
            State::Head { .. } => (0, lost(1, len, true)),
            State::Unlikely { .. } => (0, lost(0, len, false)),
            State::Chunked { .. } => (len, lost(0, len, false)),
            State::Lost => (0, lost(0, len, false)),
        };
        self.resumed = Resumed::No;
        self.state = State::Lost;
        result
    }

    /// A request line without a version that the server answers, whether its end came or not (HTTP/0.9): `until` is up to where
    /// it had read. Taken as the whole head.
    pub(crate) fn take_bare_request(&mut self, until: u64) -> Option<RawHead> {
        let State::Head { buffer, start, .. } = &self.state else { return None };
        let is_bare = self.resumed == Resumed::No
            && until == *start + buffer.len() as u64
            && sniff::request(buffer)
            && is_bare_line(buffer);
        if !is_bare {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Start) {
            State::Head { buffer, start, ack, start_ns, .. } => {
                Some(RawHead { bytes: buffer.freeze(), start, ack, start_ns, resumed: Resumed::No })
            }
            _ => None,
        }
    }

    /// The stream ended. A head that is all but ended counts; whether the body under way is whole.
    pub(crate) fn end(&mut self) -> (Option<RawHead>, bool) {
        let resumed = std::mem::replace(&mut self.resumed, Resumed::No);
        match std::mem::replace(&mut self.state, State::Start) {
            State::Head { buffer, start, ack, start_ns, .. } => {
                // At least its first line must be there.
                let whole_line = memchr::memchr(b'\n', &buffer).is_some();
                let bytes = buffer.freeze();
                (whole_line.then_some(RawHead { bytes, start, ack, start_ns, resumed }), false)
            }
            State::UntilClose | State::Start | State::Length(0) | State::Unlikely { .. } | State::Raw => (None, true),
            State::Chunked { decoder, .. } => (None, decoder.is_whole_at_end()),
            State::Length(_) | State::Lost => (None, false),
        }
    }
}
