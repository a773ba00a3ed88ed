//! The opening of a connection: SYN and its answer, in whatever order they were captured, and a rival under the same key.

use super::{Flow, LINGER_NS};
use crate::{
    flow::{Consumer, FlowCounts, Unwanted, stream::Stream},
    packet::Segment,
};

impl<C: Consumer> Flow<C> {
    /// Takes a SYN; `false` when it opens another connection with the same key.
    pub(super) fn handshake(
        &mut self,
        side: usize,
        segment: &Segment<'_>,
        time_ns: i64,
        counts: &mut FlowCounts,
    ) -> bool {
        let answer = segment.control.ack();
        let stream = &self.streams[side];
        if stream.isn == Some(segment.sequence) {
            return true;
        }
        let answers = answer && self.streams[1 - side].isn == Some(segment.acknowledgement.wrapping_sub(1));
        let mut is_opening = !stream.known;
        if stream.known && stream.isn.is_none() && answers && self.client != Some(side) {
            let begin = stream.offset_of(segment.sequence.wrapping_add(1));
            let overtook = stream.first_waiting().is_some_and(|(offset, _)| offset == begin);
            // What waits is either the first data, which overtook the handshake's answer, or was forged, or is of an
            // older connection.
            if !overtook {
                while let Some((_, chunk)) = self.streams[side].take_first() {
                    counts.unwanted(Unwanted::BeforeHandshake, chunk.bytes.len());
                }
                self.streams[side] = Stream::default();
                self.reset = false;
            }
            is_opening = true;
        }
        if !is_opening {
            let expected = self.rival.map(|(_, isn)| isn.wrapping_add(1));
            let over = self.reset || self.streams.iter().any(|stream| stream.fin.is_some());
            let silent = time_ns - self.last_ns > LINGER_NS;
            if !answer && (over || silent) || answer && expected == Some(segment.acknowledgement) {
                return false;
            }
            if !answer {
                self.rival = Some((side, segment.sequence));
            }
            return true;
        }
        let stream = &mut self.streams[side];
        stream.start(segment.sequence.wrapping_add(1), false);
        stream.isn = Some(segment.sequence);
        self.midstream = false;
        if answer {
            self.client = Some(1 - side);
            self.handshake_ns = Some(time_ns);
            let other = &mut self.streams[1 - side];
            if !other.known {
                other.start(segment.acknowledgement, false);
                // Its SYN may yet come: it was overtaken.
                other.isn = Some(segment.acknowledgement.wrapping_sub(1));
            }
        } else if self.client.is_none() {
            self.client = Some(side);
            self.opened_ns = time_ns;
        }
        true
    }
}
