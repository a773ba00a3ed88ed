//! A captured request sent again.
//!
//! - [`request`]: the request to be sent, from the captured one and what is to be changed.
//! - [`delivery`]: sent through a proxy of its own, which records it into a session of its own.
//! - [`answers`]: two answers compared.
//! - [`again`]: all of it together, for the command line and the control API.

pub(crate) mod again;
pub(crate) mod answers;
pub(crate) mod delivery;
pub(crate) mod request;
