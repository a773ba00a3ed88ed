//! What a shard counted, as a ledger and as figures.
//!
//! In: counts of the layers. Out: tallies that balance once everything under way has ended.

use super::Intake;
use crate::{
    flow::{FlowCounts, Unwanted},
    ledger::{Layer, Ledger},
    packet::Skip,
    pairing::context::MessageCounts,
};

/// Figures beside the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardFigures {
    /// TCP connections seen.
    pub flows: u64,
    /// Given up to stay within the bounds.
    pub flows_evicted: u64,
    /// Segments that overlapped bytes waiting behind a hole, or differed from bytes handed over.
    pub overlaps: u64,
    /// Of these, with other bytes; the first to come were kept.
    pub overlaps_differing: u64,
    /// IP fragments that overlapped others.
    pub fragment_overlaps: u64,
    /// Requests without response and responses without request.
    pub halves_unpaired: u64,
}

pub(super) fn figures(intake: &Intake, flows: &FlowCounts, messages: &MessageCounts) -> ShardFigures {
    ShardFigures {
        flows: flows.flows,
        flows_evicted: flows.evicted,
        overlaps: flows.overlaps,
        overlaps_differing: flows.differing,
        fragment_overlaps: intake.decoder.fragments.counts.overlaps,
        halves_unpaired: messages.unpaired,
    }
}

/// Frames.
pub(super) fn packets(intake: &Intake, ledger: &mut Ledger) {
    let tally = ledger.layer_mut(Layer::Packets);
    tally.seen = intake.frames;
    tally.kept = intake.segments;
    let fragments = intake.decoder.fragments.counts;
    for (skip, count) in Skip::ALL.into_iter().zip(intake.skipped) {
        // Frames kept for a datagram that never became whole are a loss of their own.
        let count =
            if skip == Skip::Fragment { count.saturating_sub(fragments.waiting + fragments.incomplete) } else { count };
        if count > 0 {
            tally.dropped.insert(skip.reason().to_owned(), count);
        }
    }
    if fragments.incomplete > 0 {
        tally.dropped.insert("fragment_incomplete".to_owned(), fragments.incomplete);
    }
    if fragments.overlaps > 0 {
        tally.noted.insert("fragments_overlapping".to_owned(), fragments.overlaps);
    }
}

/// TCP payload.
/// `cut_on_purpose`: what was cut off frames had been told not to be wanted.
pub(super) fn streams(counts: &FlowCounts, cut_on_purpose: bool, ledger: &mut Ledger) {
    let tally = ledger.layer_mut(Layer::StreamBytes);
    tally.seen = counts.payload_bytes + counts.gap_bytes;
    tally.kept = counts.delivered_bytes;
    let cut = if cut_on_purpose { counts.cut_bytes } else { 0 };
    let lost = [
        ("gap", counts.gap_bytes - cut),
        ("policy:body_cut", cut),
        ("ignored:retransmission", counts.retransmitted_bytes),
    ];
    for (reason, count) in lost.into_iter().chain(Unwanted::REASONS.into_iter().zip(counts.unwanted_bytes)) {
        if count > 0 {
            tally.dropped.insert(reason.to_owned(), count);
        }
    }
    for (what, count) in [
        ("flows", counts.flows),
        ("flows_evicted", counts.evicted),
        ("segments_overlapping", counts.overlaps),
        ("segments_differing", counts.differing),
    ] {
        if count > 0 {
            tally.noted.insert(what.to_owned(), count);
        }
    }
}

/// Halves of exchanges.
pub(super) fn messages(messages: &MessageCounts, ledger: &mut Ledger) {
    let tally = ledger.layer_mut(Layer::HttpMessages);
    (tally.seen, tally.kept) = (messages.seen, messages.kept);
    tally.dropped = messages.dropped.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
}
