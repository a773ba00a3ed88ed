//! Exchanges that were left out lately and may still have messages to come.
//!
//! In: each exchange that a filter or a pause left out. Out: for a message, whether its exchange is one of them.
//! A WebSocket's messages come after the row of its exchange, which ends with the upgrade; those of event streams and gRPC
//! mostly come before, while the response is open: they are kept, because nothing is known of their exchange yet.
//! Only the last [`REMEMBERED`] exchanges that can have messages are remembered.

use std::collections::{HashMap, VecDeque};

use weir_engine::record::{Exchange, Flags};

/// Exchanges remembered at most.
const REMEMBERED: usize = 16 << 10;

/// Why an exchange was left out, in the ledger's words for its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// A rule of the filter.
    Filter,
    /// The session was paused.
    Paused,
    /// The session was full.
    Limit,
}

impl Rejection {
    /// The reason in the ledger.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Filter => "filter:exchange",
            Self::Paused => "policy:paused",
            Self::Limit => "policy:limit",
        }
    }
}

/// The exchanges left out lately, by id.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    by_id: HashMap<u64, Rejection>,
    oldest_first: VecDeque<u64>,
}

impl Rejected {
    /// Remembers an exchange, when it can have messages.
    pub(super) fn note(&mut self, exchange: &Exchange, why: Rejection) {
        if !may_have_messages(exchange) || self.by_id.insert(exchange.id, why).is_some() {
            return;
        }
        self.oldest_first.push_back(exchange.id);
        if self.oldest_first.len() > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_id.remove(&oldest);
        }
    }

    /// Why the exchange with this id was left out, when it is remembered.
    pub(super) fn get(&self, exchange: u64) -> Option<Rejection> {
        if self.by_id.is_empty() { None } else { self.by_id.get(&exchange).copied() }
    }
}

fn may_have_messages(exchange: &Exchange) -> bool {
    let streams = |value: &[u8]| {
        let starts =
            |prefix: &str| value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
        starts("text/event-stream") || starts("application/grpc")
    };
    exchange.flags.has(Flags::UPGRADED)
        || exchange.response_headers.get("content-type").is_some_and(streams)
        || exchange.request_headers.get("content-type").is_some_and(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upgraded(id: u64) -> Exchange {
        let mut exchange = Exchange { id, ..Exchange::default() };
        exchange.flags.set(Flags::UPGRADED);
        exchange
    }

    #[test]
    fn the_last_ones_are_remembered_and_no_more() {
        let mut rejected = Rejected::default();
        rejected.note(&Exchange { id: 1, ..Exchange::default() }, Rejection::Filter);
        assert_eq!(rejected.get(1), None, "it has no messages");
        for id in 2..=REMEMBERED as u64 + 2 {
            rejected.note(&upgraded(id), Rejection::Paused);
        }
        assert_eq!(rejected.get(2), None);
        assert_eq!(rejected.get(3), Some(Rejection::Paused));
        assert_eq!((rejected.by_id.len(), rejected.oldest_first.len()), (REMEMBERED, REMEMBERED));
    }
}
