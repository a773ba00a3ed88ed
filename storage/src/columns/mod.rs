//! Rows into Arrow columns, without an allocation a row.
//!
//! In: records. Out: record batches of the five tables. Text goes into one growing buffer a column,
//! repeated words into a dictionary that is hashed with a seed of its own, so that nobody who chooses
//! the words can choose collisions.
//!
//! - [`text`]: columns of text, words and bytes; [`numbers`]: columns that may be null.
//! - [`cache`]: texts that are costly to make and come again: addresses, endpoints.
//! - [`exchanges`], [`bodies`], [`connections`], [`messages`], [`cookies`]: the tables.

pub(crate) mod bodies;
pub(crate) mod cache;
pub(crate) mod connections;
pub(crate) mod cookies;
pub(crate) mod exchanges;
pub(crate) mod messages;
pub(crate) mod numbers;
pub(crate) mod text;
