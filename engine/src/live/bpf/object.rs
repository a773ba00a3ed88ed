//! The compiled programs, and why one cannot be had.
//!
//! In: a name. Out: the program loaded into the kernel with its maps.

use std::{error::Error, io};

use aya::{Ebpf, EbpfLoader};

/// Why an eBPF program cannot be used. weir works without it: more is copied and decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// This weir was built without.
    #[error("this weir was built without eBPF programs ({reason}); install clang, llvm and libbpf-dev and build again")]
    NotBuilt {
        /// Why.
        reason: &'static str,
    },
    /// The kernel does not let this user.
    #[error(
        "this user may not load eBPF programs ({program}); run as root, or with the capability CAP_BPF: weir doctor names the line"
    )]
    NotPermitted {
        /// The program.
        program: &'static str,
    },
    /// The kernel does not take it.
    #[error(
        "the kernel does not take the eBPF program {program}: {reason}; weir works without it, weir doctor says what the kernel has"
    )]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said.
        reason: String,
    },
}

impl BpfError {
    /// From whatever aya says.
    pub(in crate::live) fn of(program: &'static str, error: &(dyn Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut next = Some(error);
        while let Some(error) = next {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                return Self::NotPermitted { program };
            }
            next = error.source();
            if let Some(error) = next {
                reason = format!("{reason}: {error}");
            }
        }
        // The verifier's log is long; its end says what it disliked.
        let at = reason.char_indices().rev().nth(400).map_or(0, |(at, _)| at);
        Self::Refused { program, reason: reason[at..].replace('\n', " ") }
    }
}

pub(in crate::live) fn no_such(program: &'static str) -> BpfError {
    BpfError::Refused { program, reason: "the object does not hold what it should".to_owned() }
}

const MISSING: &str = include_str!(concat!(env!("OUT_DIR"), "/bpf_missing.txt"));

/// Why this weir was built without eBPF programs; `None`: it was built with them.
#[must_use]
pub fn missing() -> Option<&'static str> {
    (!MISSING.is_empty()).then_some(MISSING)
}

macro_rules! object {
    ($name:literal) => {
        aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o"))
    };
}

/// One of `engine/bpf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum Object {
    HttpFilter,
    Fanout,
    Process,
    XdpRedirect,
}

impl Object {
    pub(in crate::live) fn name(self) -> &'static str {
        match self {
            Self::HttpFilter => "http_filter",
            Self::Fanout => "fanout",
            Self::Process => "process",
            Self::XdpRedirect => "xdp_redirect",
        }
    }

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::HttpFilter => object!("http_filter"),
            Self::Fanout => object!("fanout"),
            Self::Process => object!("process"),
            Self::XdpRedirect => object!("xdp_redirect"),
        }
    }

    /// Its maps made in the kernel; its programs are loaded one by one.
    pub(in crate::live) fn load(self) -> Result<Ebpf, BpfError> {
        if let Some(reason) = missing() {
            return Err(BpfError::NotBuilt { reason });
        }
        EbpfLoader::new().load(self.bytes()).map_err(|error| BpfError::of(self.name(), &error))
    }
}
