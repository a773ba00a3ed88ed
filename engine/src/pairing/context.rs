//! What all conversations of a shard share: numbers, the budget, the policy, counts, and the records made.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::{Direction, Record},
};

/// Shared by all conversations of a shard.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ids: Arc<Ids>,
    pub(crate) budget: Budget,
    pub(crate) bodies: BodyPolicy,
    /// Whether bodies and messages of servers are stored too.
    pub(crate) record_responses: bool,
    /// Finished records, taken by the shard.
    pub(crate) records: Vec<Record>,
    pub(crate) messages: MessageCounts,
}

/// Halves of exchanges: seen = kept + dropped.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MessageCounts {
    pub(crate) seen: u64,
    pub(crate) kept: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    /// Requests whose response is missing, and responses whose request is: kept as halves.
    pub(crate) unpaired: u64,
}

impl Context {
    pub(crate) fn new(ids: Arc<Ids>, budget: Budget, bodies: BodyPolicy, record_responses: bool) -> Self {
        Self { ids, budget, bodies, record_responses, records: Vec::new(), messages: MessageCounts::default() }
    }
}

impl Context {
    /// Whether the payloads of messages of this direction are stored.
    pub(crate) fn keeps_messages(&self, direction: Direction) -> bool {
        self.bodies != BodyPolicy::None && (self.record_responses || direction == Direction::Sent)
    }
}

impl MessageCounts {
    /// A message that could not be read.
    pub(crate) fn unread(&mut self, reason: &'static str) {
        self.seen += 1;
        *self.dropped.entry(reason).or_default() += 1;
    }
}
