//! Pairing: which response belongs to which request, and the exchanges made of both.
//!
//! - [`queue`]: the decision, from acknowledgement numbers and counts alone.
//! - [`recent`]: the last bytes of a direction, for those that come again.
//! - [`draft`]: an exchange while its halves come in.
//! - [`conversation`]: both directions of a connection: HTTP/1.x, and what it is upgraded to.
//! - [`requests`], [`responses`]: what a conversation does with the steps of each direction.
//! - [`turns`]: responses behind a loss, told by the end of their turn.
//! - [`upgrade`]: the inside of tunnels, WebSocket.
//! - [`streams`]: HTTP/2, where the stream number pairs.
//! - [`context`]: what all conversations of a shard share.
//!
//! In: pieces and gaps of both directions, in causal order. Out: records.

pub(crate) mod context;
pub(crate) mod conversation;
pub(crate) mod draft;
pub(crate) mod queue;
pub(crate) mod recent;
pub(crate) mod requests;
pub(crate) mod responses;
pub(crate) mod streams;
pub(crate) mod turns;
pub(crate) mod upgrade;

pub(crate) use context::Context;
pub use context::{Owner, Owners, UnwantedBody};
pub(crate) use conversation::Conversation;
