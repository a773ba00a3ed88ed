//! A head as it stood in the stream, before it is read.

use bytes::Bytes;

use super::sniff;

/// The bytes of a whole head, and where and when they came.
#[derive(Debug)]
pub(crate) struct RawHead {
    pub(crate) bytes: Bytes,
    /// Offset of the first byte.
    pub(crate) start: u64,
    /// What the segment with the first byte acknowledged.
    pub(crate) ack: Option<u64>,
    pub(crate) start_ns: i64,
    /// How it was come upon.
    pub(crate) resumed: Resumed,
}

/// How a message was come upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Behind the message before it.
    No,
    /// Behind a loss, where one was known to begin.
    Exact,
    /// Behind a loss, by looking for a head.
    Found,
}

impl RawHead {
    /// A head that was found may begin in the end of a body that looks like one: the last start line counts.
    pub(crate) fn drop_what_precedes_the_last_start(&mut self) {
        let last =
            memchr::memmem::rfind_iter(&self.bytes, b"HTTP/1.").find(|at| sniff::strict_response(&self.bytes[*at..]));
        if let Some(last) = last {
            // Which segment begins with it is not known any more.
            self.ack = self.ack.filter(|_| last == 0);
            self.start += last as u64;
            self.bytes = self.bytes.slice(last..);
        }
    }
}
