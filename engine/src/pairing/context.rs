//! What all conversations of a shard share: numbers, the budget, the policy, counts, and the records made.

use std::{collections::BTreeMap, fmt::Debug, net::SocketAddr, sync::Arc};

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
    /// Bodies that need not be captured, taken by the shard; `None`: nobody asked for them.
    pub(crate) unwanted: Option<Vec<UnwantedBody>>,
    /// Who knows the processes of this host.
    pub(crate) owners: Option<Arc<dyn Owners>>,
}

/// A process on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name, with its container where it is in one.
    pub process: Arc<str>,
    /// Its id: of the thread group.
    pub pid: u32,
}

/// Knows which process of this host a connection belongs to.
pub trait Owners: Debug + Send + Sync {
    /// The client's process when it is here, else the server's.
    fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner>;
}

/// A body of known length of which only the size counts: whoever captures may leave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnwantedBody {
    /// Who sends it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// Its bytes.
    pub len: u64,
}

/// Shorter bodies are here before anybody could be told.
const WORTH_TELLING: u64 = 32 << 10;

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
        Self {
            ids,
            budget,
            bodies,
            record_responses,
            records: Vec::new(),
            messages: MessageCounts::default(),
            unwanted: None,
            owners: None,
        }
    }
}

impl Context {
    /// Tells whoever captures of a body that begins at an offset of its stream.
    pub(crate) fn tell_unwanted(&mut self, source: SocketAddr, destination: SocketAddr, offset: u64, len: u64) {
        if let Some(unwanted) = &mut self.unwanted
            && len >= WORTH_TELLING
        {
            // Offsets are sequence numbers but for their upper half.
            unwanted.push(UnwantedBody { source, destination, sequence: offset as u32, len });
        }
    }

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
