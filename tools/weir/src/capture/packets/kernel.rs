//! What a capture of packets has in the kernel: the filter, the fan-out, and hooks that know the processes of this host.
//!
//! In: flags. Out: programs for the sockets. What cannot be had is said, and the capture goes on without: more is copied.

use std::sync::Arc;

use anyhow::Result;
use weir_engine::{
    live::{
        Fanout, HostOwners, SocketFilter,
        bpf::{BpfError, FanoutProgram, HttpFilter},
    },
    shard::Owners,
};

use super::PacketOptions;
use crate::cli::packets::BackendKind;

/// Programs in the kernel, as long as the capture runs.
pub(super) struct Kernel {
    filter: Option<Arc<HttpFilter>>,
    fanout: Option<FanoutProgram>,
    owners: Arc<HostOwners>,
}

impl Kernel {
    /// Loads what these options can make use of.
    pub(super) fn load(options: &PacketOptions) -> Self {
        let is_ring = options.backend == BackendKind::AfPacket;
        // A socket has one filter: the one that was asked for.
        let filters = is_ring && options.kernel_filter && options.bpf.is_none();
        let filter = filters.then(|| had(HttpFilter::load(), "every packet is copied to user space")).flatten();
        let shares = is_ring && options.shards > 1;
        let fanout =
            shares.then(|| had(FanoutProgram::load(), "tunnels are shared out by their outer addresses")).flatten();
        let (owners, error) = HostOwners::new();
        if let Some(error) = error {
            tracing::warn!("processes are looked up in /proc, where short connections are missed: {error}");
        }
        Self { filter: filter.map(Arc::new), fanout, owners: Arc::new(owners) }
    }

    pub(super) fn filter(&self) -> Option<&Arc<HttpFilter>> {
        self.filter.as_ref()
    }

    pub(super) fn owners(&self) -> Arc<dyn Owners> {
        Arc::clone(&self.owners) as Arc<dyn Owners>
    }

    /// For the sockets of all interfaces.
    pub(super) fn socket_filter(&self) -> Result<SocketFilter> {
        let Some(filter) = &self.filter else { return Ok(SocketFilter::None) };
        Ok(SocketFilter::Ebpf(filter.descriptor()?))
    }

    /// For the group of one interface.
    pub(super) fn fanout(&self) -> Result<Fanout> {
        let Some(program) = &self.fanout else { return Ok(Fanout::Hash) };
        Ok(Fanout::Ebpf(program.descriptor()?))
    }
}

fn had<T>(result: Result<T, BpfError>, without: &str) -> Option<T> {
    result.inspect_err(|error| tracing::warn!("{without}: {error}")).ok()
}
