//! Recordings of other programs that become exchanges.
//!
//! - [`har`]: HTTP Archive 1.2, as browsers, Postman and proxies export it, read entry by entry.

pub mod har;
mod har_model;
