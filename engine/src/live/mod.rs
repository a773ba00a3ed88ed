//! Live packets.
pub mod bpf;
