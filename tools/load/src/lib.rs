//! weir's load tools, as a library that the `weir` binary and the tests share.
//!
//! - [`synth`]: writes capture files of HTTP traffic whose truth is known, and spoils them on purpose.

pub mod synth;
