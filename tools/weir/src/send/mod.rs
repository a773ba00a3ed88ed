//! A captured request sent again.
//!
//! - [`request`]: the request to be sent, from the captured one and what is to be changed.
//! - [`delivery`]: sent through a proxy of its own, which records it into a session of its own.
//! - [`answers`]: two answers compared.

pub(crate) mod answers;
pub(crate) mod delivery;
pub(crate) mod request;
