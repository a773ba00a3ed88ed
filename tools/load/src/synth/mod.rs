//! Capture files with known truth: what every exchange was, written beside the packets it made.
//!
//! Data flows one way:
//!
//! - [`random`]: one seed, one capture; nothing else is random.
//! - [`script`]: what client and server say on one connection, and the truth of it.
//! - [`web`]: bodies as browsers and apps fetch them.
//! - [`segments`]: a script as TCP segments with times, sequence and acknowledgement numbers.
//! - [`stream`]: many connections at once, merged by time, with bounded memory.
//! - [`transform`]: loss, reordering, duplication, overlap.
//! - [`frame`]: segments as frames of a link type, encapsulated and fragmented on request.
//! - [`pcap`]: frames as a capture file. [`capture`]: all of it, from a plan.

pub mod capture;
pub mod frame;
pub mod pcap;
pub mod random;
pub mod script;
pub mod segments;
pub mod stream;
pub mod transform;
pub mod web;

pub use frame::{Encapsulation, Encoder, Link};
pub use pcap::PcapWriter;
pub use script::{Bodies, Spec, Truth};
pub use segments::Segment;
pub use stream::{Item, Stream};
pub use transform::{Direction, Spoil, Spoiler};
