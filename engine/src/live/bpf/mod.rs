//! eBPF programs (`engine/bpf/*.c`): loaded, fed and read.
//!
//! - [`object`]: the compiled programs, and why one cannot be had.
//! - [`filter`]: the socket filter that leaves out what is not HTTP.
//! - [`fanout`]: which shard takes a packet, looking inside tunnels.
//! - [`process`]: which process a connection belongs to.
//!
//! In: descriptors of sockets. Out: programs attached to them, and what they counted.

pub mod fanout;
pub mod filter;
pub mod object;
pub mod process;
#[cfg(test)]
mod test_packets;

pub use fanout::FanoutProgram;
pub use filter::{BodyNotes, Count, HttpFilter, Verdict, Verdicts};
pub use object::{BpfError, missing};
pub use process::{ProcessPrograms, SocketOwner};
