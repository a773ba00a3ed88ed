//! Why packets cannot be captured, each with what to do.

use std::io;

/// Why packets cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The kernel does not let this user.
    #[error(
        "this user may not capture packets ({what}); run as root, or give the program the right once: \
         sudo setcap {CAPABILITIES}=ep {}",
        program()
    )]
    NotPermitted {
        /// What was refused.
        what: &'static str,
    },
    /// No interface has this name.
    #[error("there is no interface {name}; weir doctor lists those there are")]
    NoInterface {
        /// The name.
        name: String,
    },
    /// A system call failed.
    #[error("{what} {name}: {error}; weir doctor says what works on this machine")]
    System {
        /// What was tried.
        what: &'static str,
        /// The interface.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The ring does not fit into memory.
    #[error("no memory for a ring of {bytes} bytes on {name}: {error}; give less with --memory or --shards")]
    NoMemory {
        /// Bytes wanted.
        bytes: usize,
        /// The interface.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// A filter expression that libpcap does not understand.
    #[error("the packet filter {expression:?} is not understood: {reason}; see man pcap-filter")]
    Filter {
        /// The expression.
        expression: String,
        /// What libpcap said.
        reason: String,
    },
    /// AF_XDP is not to be had.
    #[error("AF_XDP on {name}: {reason}; try --backend af_packet")]
    Xdp {
        /// The interface.
        name: String,
        /// Why.
        reason: super::bpf::BpfError,
    },
    /// libpcap failed.
    #[error("libpcap on {name}: {reason}; try --backend af_packet")]
    Pcap {
        /// The interface.
        name: String,
        /// What libpcap said.
        reason: String,
    },
}

/// What capturing takes, as `setcap` and systemd write it.
pub const CAPABILITIES: &str = "cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon";

/// This program's path, for lines that can be pasted.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "weir".to_owned(), |path| path.display().to_string())
}

impl LiveError {
    /// From what the kernel said when `what` was tried on the interface `name`.
    pub(super) fn system(what: &'static str, name: &str, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { what },
            _ => Self::System { what, name: name.to_owned(), error },
        }
    }
}
