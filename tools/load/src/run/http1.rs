//! HTTP/1.1 on one connection of the generator: bytes in, answers out; requests may be pipelined.

use std::collections::VecDeque;

use super::{Done, Failure, Sent};
use crate::{
    plan::Prepared,
    wire::{
        chunked::Chunked,
        response::{self, Framing},
    },
};

/// The answer that is being read.
struct Current {
    status: u16,
    first: u64,
    size: u64,
    body: Body,
    keep_alive: bool,
    hasher: Option<Box<blake3::Hasher>>,
}

enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// The state of a connection.
pub(super) struct Http1 {
    in_flight: VecDeque<Sent>,
    pending: Vec<u8>,
    current: Option<Current>,
    hashes: bool,
    /// The server ends the connection.
    pub(super) closing: bool,
}

impl Http1 {
    pub(super) fn new(hashes: bool) -> Self {
        Self { in_flight: VecDeque::new(), pending: Vec::new(), current: None, hashes, closing: false }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.in_flight.front().map(|sent| sent.sent)
    }

    pub(super) fn send(&mut self, out: &mut Vec<u8>, request: &Prepared, id: Option<&[u8]>, sent: Sent) {
        let start = out.len();
        out.extend_from_slice(&request.bytes);
        if let (Some(at), Some(id)) = (request.id_at, id) {
            out[start + at..start + at + id.len()].copy_from_slice(id);
        }
        self.in_flight.push_back(sent);
    }

    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now: u64,
        requests: &[Prepared],
        done: &mut Vec<Done>,
    ) -> Result<(), Failure> {
        if self.pending.is_empty() {
            let used = self.consume(bytes, now, requests, done)?;
            self.pending.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let used = self.consume(&all, now, requests, done)?;
        all.drain(..used);
        self.pending = all;
        Ok(())
    }

    fn consume(
        &mut self,
        bytes: &[u8],
        now: u64,
        requests: &[Prepared],
        done: &mut Vec<Done>,
    ) -> Result<usize, Failure> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let Some(current) = &mut self.current else {
                if rest.is_empty() || self.closing {
                    return Ok(bytes.len());
                }
                let sent = self.in_flight.front().ok_or(Failure::Protocol)?;
                let is_head = requests[sent.request as usize].is_head;
                let Some(head) = response::parse(rest, is_head).map_err(|_| Failure::Protocol)? else {
                    return Ok(at);
                };
                at += head.length;
                if head.status >= 200 {
                    self.current = Some(Current {
                        status: head.status,
                        first: now,
                        size: 0,
                        body: match head.framing {
                            Framing::Length(length) => Body::Length(length),
                            Framing::Chunked => Body::Chunked(Chunked::default()),
                            Framing::UntilClose => Body::UntilClose,
                        },
                        keep_alive: head.keep_alive,
                        hasher: self.hashes.then(Box::default),
                    });
                } else if head.status == 101 {
                    return Err(Failure::Protocol);
                }
                continue;
            };
            let (size, hasher) = (&mut current.size, &mut current.hasher);
            let mut take = |data: &[u8]| {
                *size += data.len() as u64;
                if let Some(hasher) = hasher {
                    hasher.update(data);
                }
            };
            let is_done = match &mut current.body {
                Body::Length(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    take(&rest[..count]);
                    at += count;
                    *left -= count as u64;
                    *left == 0
                }
                Body::Chunked(chunked) => {
                    at += chunked.read(rest, take).map_err(|_| Failure::Protocol)?;
                    chunked.is_done()
                }
                Body::UntilClose => {
                    take(rest);
                    at += rest.len();
                    false
                }
            };
            if !is_done {
                return Ok(bytes.len());
            }
            self.finish(now, done);
        }
    }

    fn finish(&mut self, now: u64, done: &mut Vec<Done>) {
        let (Some(current), Some(sent)) = (self.current.take(), self.in_flight.pop_front()) else { return };
        self.closing |= !current.keep_alive;
        done.push(Done {
            sent,
            first: Some(current.first),
            ended: now,
            status: Some(current.status),
            size: current.size,
            hash: current.hasher.filter(|_| current.size > 0).map(|hasher| *hasher.finalize().as_bytes()),
            failure: None,
        });
    }

    /// The connection has ended: what was under way ends with it.
    pub(super) fn end(&mut self, now: u64, failure: Failure, done: &mut Vec<Done>) {
        if failure == Failure::Closed && matches!(self.current, Some(Current { body: Body::UntilClose, .. })) {
            self.finish(now, done);
        }
        let current = self.current.take();
        let mut current = current.as_ref();
        for sent in self.in_flight.drain(..) {
            let begun = current.take();
            done.push(Done {
                sent,
                first: begun.map(|current| current.first),
                ended: now,
                status: begun.map(|current| current.status),
                size: begun.map_or(0, |current| current.size),
                hash: None,
                failure: Some(failure),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Template, Way};

    #[test]
    fn answers_in_any_pieces() {
        let plan = Plan::build(&[Template::get("http://127.0.0.1/")], &Way::default()).expect("a plan");
        let answers = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest";
        for step in 1..=answers.len() {
            let mut http = Http1::new(true);
            let (mut out, mut done) = (Vec::new(), Vec::new());
            for id in 0..3 {
                http.send(&mut out, &plan.requests[0], None, Sent { request: 0, id, intended: 0, sent: 0 });
            }
            for piece in answers.chunks(step) {
                http.feed(piece, 1, &plan.requests, &mut done).expect("answers");
            }
            http.end(2, Failure::Closed, &mut done);
            let told: Vec<_> = done.iter().map(|done| (done.sent.id, done.status, done.size, done.failure)).collect();
            assert_eq!(told, [(0, Some(200), 5, None), (1, Some(404), 3, None), (2, Some(200), 4, None)], "{step}");
            assert_eq!(done[0].hash, Some(*blake3::hash(b"hello").as_bytes()));
        }
    }

    #[test]
    fn an_answer_that_is_cut_fails() {
        let plan = Plan::build(&[Template::get("http://127.0.0.1/")], &Way::default()).expect("a plan");
        let mut http = Http1::new(false);
        let (mut out, mut done) = (Vec::new(), Vec::new());
        http.send(&mut out, &plan.requests[0], None, Sent { request: 0, id: 0, intended: 0, sent: 0 });
        http.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", 1, &plan.requests, &mut done).expect("begins");
        http.end(2, Failure::Closed, &mut done);
        assert_eq!((done[0].status, done[0].size, done[0].failure), (Some(200), 3, Some(Failure::Closed)));
        assert_eq!(http.feed(b"HTTP/1.1 200 OK\r\n\r\n", 3, &plan.requests, &mut done), Err(Failure::Protocol));
    }
}
