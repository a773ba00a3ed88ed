//! weir's explicit HTTP(S) proxy: accepts clients, intercepts TLS, forwards first and records second.
//!
//! - [`message`]: heads of requests and responses, the words both HTTP versions share.
//! - [`body`]: where bodies come from and where they go, the seam between HTTP/1.1 and HTTP/2.

pub mod body;
pub mod message;
