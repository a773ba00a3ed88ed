//! One direction of a flow: what is expected next, and what waits behind a hole.
//!
//! In: payloads with their sequence numbers. Out: the chunks that are next. The first of overlapping
//! bytes wins. Only what cannot go on at once is copied.

use std::collections::BTreeMap;

use crate::work;

/// Memory a waiting chunk takes besides its bytes, as counted.
const CHUNK_OVERHEAD: usize = 120;
/// Bytes that adjoining segments are gathered into one chunk up to.
const GATHER_BYTES: usize = 64 << 10;
/// Beginnings of segments noted in a chunk.
const MAX_SEGMENTS: usize = 64;
/// How far an acknowledgement may run ahead of what was seen (the largest window, RFC 7323 §2.3, is 1 GiB).
const MAX_AHEAD: u64 = 1 << 30;

/// How far a first acknowledgement may have overtaken the first bytes.
const OVERTAKEN: u64 = 64 << 10;

/// When something came: packet time, and count of packets in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) time_ns: i64,
    pub(crate) packet: u64,
}

/// Bytes that wait.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ack: Option<u64>,
    pub(crate) arrival: Arrival,
    pub(crate) segment_start: bool,
    /// Where in it further segments begin; not all of very many.
    pub(crate) segments: Vec<u32>,
}

impl Chunk {
    /// Memory it takes, as counted.
    fn memory(&self) -> usize {
        self.bytes.capacity() + self.segments.capacity() * size_of::<u32>() + CHUNK_OVERHEAD
    }

    /// The bytes segment by segment, each with where it begins and whether a segment does.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, &[u8], bool)> {
        let mut from = 0;
        self.segments.iter().map(|at| *at as usize).chain([self.bytes.len()]).map(move |until| {
            let part = (from as u64, &self.bytes[from..until], from > 0 || self.segment_start);
            from = until;
            part
        })
    }
}

/// What inserting found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Bytes that were there already.
    pub(crate) duplicate: u64,
    /// Some of them were others.
    pub(crate) differing: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Offset of the byte expected next.
    pub(crate) next: u64,
    /// Whether `next` means anything yet.
    pub(crate) known: bool,
    /// `next` was guessed from a segment without payload in the middle of a connection.
    tentative: bool,
    /// A segment of this direction was seen.
    pub(crate) seen: bool,
    /// The initial sequence number, when the SYN was seen.
    pub(crate) isn: Option<u32>,
    /// Highest offset the peer acknowledged.
    pub(crate) acked: u64,
    /// When it was first beyond `next`.
    pub(crate) proof: Option<Arrival>,
    /// Offset at which FIN stands.
    pub(crate) fin: Option<u64>,
    /// The end was told.
    pub(crate) ended: bool,
    waiting: BTreeMap<u64, Chunk>,
    /// Memory that waiting chunks take.
    pub(crate) waiting_memory: usize,
}

impl Stream {
    /// Sets what is expected next.
    pub(crate) fn start(&mut self, sequence: u32, tentative: bool) {
        self.next = (1 << 32) + u64::from(sequence);
        self.acked = self.next;
        self.known = true;
        self.tentative = tentative;
    }

    /// The offset a sequence number means, near what is expected next (RFC 9293 §3.4: modulo 2^32).
    pub(crate) fn offset_of(&self, sequence: u32) -> u64 {
        let distance = sequence.wrapping_sub(self.next as u32) as i32;
        self.next.saturating_add_signed(i64::from(distance))
    }

    /// Notes what the peer acknowledged; nonsense is left out. Returns the offset when it is sensible.
    pub(crate) fn acknowledge(&mut self, number: u32, arrival: Arrival) -> Option<u64> {
        if !self.known {
            return None;
        }
        let offset = self.offset_of(number);
        if offset > self.next + MAX_AHEAD {
            return None;
        }
        // Without FIN's own number.
        let offset = self.fin.map_or(offset, |fin| offset.min(fin));
        self.acked = self.acked.max(offset);
        if self.acked > self.next && self.proof.is_none() {
            self.proof = Some(arrival);
        }
        Some(offset)
    }

    /// Adjusts a guessed start to the first payload: what was guessed from may have been a keep-alive probe.
    pub(crate) fn settle(&mut self, offset: u64) {
        if self.tentative {
            self.tentative = false;
            // Or an acknowledgement that overtook the bytes it is for.
            if offset == self.next + 1 || offset < self.next && self.next - offset < OVERTAKEN {
                self.next = offset;
                self.acked = self.acked.max(offset);
            }
        }
    }

    /// Goes on to `offset`.
    pub(crate) fn advance(&mut self, offset: u64) {
        self.next = offset;
        self.tentative = false;
        if self.acked <= offset {
            self.acked = offset;
            self.proof = None;
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The first chunk that waits and where it begins.
    pub(crate) fn first_waiting(&self) -> Option<(u64, &Chunk)> {
        self.waiting.first_key_value().map(|(offset, chunk)| (*offset, chunk))
    }

    /// Takes the first chunk out.
    pub(crate) fn take_first(&mut self) -> Option<(u64, Chunk)> {
        let (offset, chunk) = self.waiting.pop_first()?;
        self.waiting_memory -= chunk.memory();
        Some((offset, chunk))
    }

    /// Lets bytes wait that begin at `offset`, which is `next` or beyond; keeps those already there.
    pub(crate) fn wait(&mut self, offset: u64, bytes: &[u8], ack: Option<u64>, arrival: Arrival) -> Inserted {
        let end = offset + bytes.len() as u64;
        let mut inserted = Inserted::default();
        let mut at = offset;
        while at < end {
            work::done(1);
            // The chunk that covers `at`, if any.
            if let Some((&start, chunk)) = self.waiting.range(..=at).next_back() {
                let chunk_end = start + chunk.bytes.len() as u64;
                if chunk_end > at {
                    let upto = chunk_end.min(end);
                    let old = &chunk.bytes[(at - start) as usize..(upto - start) as usize];
                    let new = &bytes[(at - offset) as usize..(upto - offset) as usize];
                    work::done(old.len());
                    inserted.duplicate += upto - at;
                    inserted.differing |= old != new;
                    at = upto;
                    continue;
                }
            }
            let next_start = self.waiting.range(at..).next().map_or(end, |(start, _)| (*start).min(end));
            self.put(at, &bytes[(at - offset) as usize..(next_start - offset) as usize], ack, arrival, at == offset);
            at = next_start;
        }
        inserted
    }

    /// Adds bytes that overlap nothing: to the chunk they adjoin when they tell the same, else as a new one.
    fn put(&mut self, offset: u64, bytes: &[u8], ack: Option<u64>, arrival: Arrival, segment_start: bool) {
        work::done(bytes.len());
        if let Some((&start, chunk)) = self.waiting.range_mut(..offset).next_back() {
            let adjoins = start + chunk.bytes.len() as u64 == offset;
            if adjoins && chunk.ack == ack && chunk.bytes.len() + bytes.len() <= GATHER_BYTES {
                self.waiting_memory -= chunk.memory();
                if segment_start && chunk.segments.len() < MAX_SEGMENTS {
                    chunk.segments.push(chunk.bytes.len() as u32);
                }
                chunk.bytes.extend_from_slice(bytes);
                self.waiting_memory += chunk.memory();
                return;
            }
        }
        let chunk = Chunk { bytes: bytes.to_vec(), ack, arrival, segment_start, segments: Vec::new() };
        self.waiting_memory += chunk.memory();
        self.waiting.insert(offset, chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Arrival = Arrival { time_ns: 0, packet: 0 };

    /// Every arrangement of up to three chunks over a short stream, against the trivial model: an array
    /// in which the first to come wins.
    #[test]
    fn all_overlaps_of_three_chunks() {
        const LEN: u64 = 6;
        let ranges: Vec<(u64, u64)> =
            (0..LEN).flat_map(|start| (start + 1..=LEN).map(move |end| (start, end))).collect();
        for first in &ranges {
            for second in &ranges {
                for third in &ranges {
                    let mut stream = Stream::default();
                    stream.start(0, false);
                    let base = stream.next;
                    let mut model = [0_u8; LEN as usize];
                    let mut expect_differing = false;
                    let mut saw_differing = false;
                    for (mark, (start, end)) in [first, second, third].into_iter().enumerate() {
                        let mark = mark as u8 + 1;
                        let bytes = vec![mark; (end - start) as usize];
                        let inserted = stream.wait(base + start, &bytes, Some(u64::from(mark % 2)), NOW);
                        let mut duplicate = 0;
                        for cell in &mut model[*start as usize..*end as usize] {
                            if *cell == 0 {
                                *cell = mark;
                            } else {
                                duplicate += 1;
                                expect_differing = true;
                            }
                        }
                        saw_differing |= inserted.differing;
                        assert_eq!(inserted.duplicate, duplicate);
                    }
                    let mut seen = [0_u8; LEN as usize];
                    let mut last_end = 0;
                    while let Some((offset, chunk)) = stream.take_first() {
                        let at = (offset - base) as usize;
                        assert!(at >= last_end, "chunks do not overlap");
                        last_end = at + chunk.bytes.len();
                        seen[at..last_end].copy_from_slice(&chunk.bytes);
                    }
                    assert_eq!(seen, model, "{first:?} {second:?} {third:?}");
                    assert_eq!(saw_differing, expect_differing);
                    assert_eq!(stream.waiting_memory, 0);
                }
            }
        }
    }

    #[test]
    fn numbers_wrap() {
        let mut stream = Stream::default();
        stream.start(u32::MAX - 1, false);
        assert_eq!(stream.offset_of(3), stream.next + 5);
        assert_eq!(stream.offset_of(u32::MAX - 2), stream.next - 1);
        assert_eq!(stream.acknowledge(4, NOW), Some(stream.next + 6));
        stream.advance(stream.next + 6);
        assert_eq!((stream.next as u32, stream.proof), (4, None));
        assert_eq!(stream.acknowledge(0x7000_0000, NOW), None);
    }
}
