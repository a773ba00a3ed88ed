//! The control API of a running capture, and the other end of it.
//!
//! - [`token`]: the secret of a run. [`guard`]: who may talk.
//! - [`steer`]: what the API needs from the capture.
//! - [`server`]: thread and routes; `handlers`, `reading`, `sending`, `stream`, `openapi`, `page`, `failure`: the answers.
//! - [`client`]: how `weir stop` and its like reach it.

pub(crate) mod client;
mod failure;
mod guard;
mod handlers;
mod openapi;
mod openapi_schemas;
mod page;
mod query;
mod reading;
mod sending;
mod server;
mod steer;
mod stream;
pub(crate) mod token;

pub(crate) use self::{
    query::group_list,
    reading::described,
    server::Server,
    steer::{NextSession, Recording, RecordingChange, Refused, Status, Steer},
};
