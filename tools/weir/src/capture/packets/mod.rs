//! Packets of interfaces into the session, beside the proxy or alone.
//!
//! - [`kernel`]: eBPF programs, and who knows the processes of this host.
//! - [`save`]: raw packets beside the session.
//! - [`sink`]: one thread's records into the recorder.
//! - here: what is asked for, the backends opened for it, and the threads that read them.
//!
//! In: flags. Out: one thread a shard, each with a backend on every interface.

mod kernel;
mod save;
mod sink;

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use weir_engine::{
    filter::FilterSet,
    ledger::{Layer, Ledger},
    live::{
        Backend, FanoutGroup, Line, LineOptions, LiveError, PcapLine, PcapOptions, RingSize, SocketFilter, Stop,
        Worker, XdpLine, classic,
    },
    pipeline::{Budget, Ids, Outlet, Reservation},
    shard::{Shard, ShardOptions},
};
use weir_proxy::config::Keep;

use self::{
    kernel::Kernel,
    save::{SavePlan, Saver},
    sink::Sink,
};
use crate::{
    cli::{
        import::DeviceFrom,
        packets::{BackendKind, PacketArgs},
    },
    outcome::Usage,
};

/// Share of the memory for rings.
const RING_SHARE: usize = 4;
/// Share of the memory for bytes that wait behind holes.
const OUT_OF_ORDER_SHARE: usize = 4;
/// Share of the memory for packets that may be saved once an exchange of theirs passes.
const SAVE_SHARE: usize = 8;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct PacketOptions {
    pub(super) interfaces: Vec<String>,
    backend: BackendKind,
    bpf: Option<String>,
    kernel_filter: bool,
    shards: usize,
    promiscuous: bool,
    device_from_link: bool,
    save: bool,
    memory: usize,
}

impl PacketOptions {
    /// Checks the flags; `None` without an interface.
    pub(super) fn from_args(args: &PacketArgs, memory: usize) -> Result<Option<Self>> {
        let mut interfaces = args.interface.clone();
        interfaces.sort_unstable();
        interfaces.dedup();
        if interfaces.is_empty() {
            return Ok(None);
        }
        if interfaces.len() > 1 && interfaces.iter().any(|name| name == "any") {
            return Err(Usage::new("--interface any takes every interface already; leave out the others").into());
        }
        if args.backend == BackendKind::Pcap && args.shards > 1 {
            return Err(Usage::new("libpcap reads an interface in one place; leave out --shards").into());
        }
        if args.backend == BackendKind::AfXdp {
            if args.shards > 1 {
                return Err(Usage::new("AF_XDP reads an interface in one place; leave out --shards").into());
            }
            if interfaces.iter().any(|name| name == "any") {
                return Err(Usage::new("AF_XDP takes interfaces by name; name the mirror port instead of any").into());
            }
        }
        Ok(Some(Self {
            interfaces,
            backend: args.backend,
            bpf: args.bpf.clone(),
            kernel_filter: !args.no_kernel_filter,
            shards: usize::from(args.shards),
            promiscuous: !args.no_promiscuous,
            device_from_link: args.device_from == DeviceFrom::Mac,
            save: args.save_packets,
            memory,
        }))
    }

    /// Each ring's part of the memory.
    fn ring(&self) -> RingSize {
        RingSize::of_bytes(self.memory / RING_SHARE / (self.shards * self.interfaces.len()))
    }

    /// Each shard's part of the memory for packets that may be saved.
    fn held_bytes(&self) -> usize {
        self.memory / SAVE_SHARE / self.shards
    }

    fn shard(&self, keep: &Keep) -> ShardOptions {
        let (bodies, record_responses) = sink::policy(keep);
        ShardOptions {
            bodies,
            record_responses,
            device_from_link: self.device_from_link,
            max_out_of_order: self.memory / OUT_OF_ORDER_SHARE / self.shards,
            ..ShardOptions::default()
        }
    }
}

/// Backends that capture already: what comes meanwhile waits in their rings.
pub(super) struct Opened {
    options: PacketOptions,
    /// One list a shard.
    shards: Vec<Vec<Box<dyn Backend>>>,
    kernel: Kernel,
}

impl Opened {
    /// Opens every interface for every shard.
    pub(super) fn open(options: PacketOptions) -> Result<Self> {
        let program = options.bpf.as_deref().map(classic::compile).transpose()?;
        let kernel = Kernel::load(&options);
        let filter = Arc::new(match program {
            Some(program) => SocketFilter::Classic(program),
            None => kernel.socket_filter()?,
        });
        let mut shards: Vec<Vec<Box<dyn Backend>>> = Vec::new();
        shards.resize_with(options.shards, Vec::new);
        for name in &options.interfaces {
            let group = if options.shards > 1 { Some(Arc::new(FanoutGroup::new(kernel.fanout()?))) } else { None };
            for shard in &mut shards {
                shard.extend(open(&options, name, &filter, group.as_ref())?);
            }
        }
        Ok(Self { options, shards, kernel })
    }

    /// The interfaces.
    pub(super) fn interfaces(&self) -> &[String] {
        &self.options.interfaces
    }

    /// Whether raw packets are to be saved.
    pub(super) fn saves(&self) -> bool {
        self.options.save
    }

    /// Begins to read; raw packets are saved where `save` says.
    pub(super) fn start(
        self,
        outlet: &Outlet,
        ids: &Arc<Ids>,
        budget: &Budget,
        keep: &Arc<Keep>,
        save: Option<(&Path, FilterSet)>,
    ) -> Result<Packets> {
        let Self { options, shards, kernel } = self;
        // The rings are part of the budget; where they pass a small one it grants what it has.
        let mut memory = budget.empty();
        let _ = memory.grow(options.ring().bytes() * options.shards * options.interfaces.len());
        let stop = Arc::new(Stop::new().context("packets could not be stopped again")?);
        let counters = Arc::clone(outlet.counters());
        let shard_options = options.shard(keep);
        let save = save.map(|(folder, filters)| SavePlan::new(folder, filters, options.held_bytes()).map(Arc::new));
        let save = save.transpose().context("there is no folder for raw packets; leave out --save-packets")?;
        let mut threads = Vec::new();
        for (number, backends) in shards.into_iter().enumerate() {
            let mut shard = Shard::new(&shard_options, Arc::clone(ids), budget.clone());
            shard.ask_owners(kernel.owners());
            let saver = save.as_ref().map(|plan| Saver::new(Arc::clone(plan), number, Arc::clone(&counters)));
            let saver = saver.transpose().context("raw packets cannot be written; leave out --save-packets")?;
            let sink = Sink::new(outlet.sibling(), Arc::clone(keep), saver);
            let worker = Worker::new(backends, shard, sink, Arc::clone(&counters));
            // What the filter counted is told once.
            let worker = match kernel.filter() {
                Some(filter) => worker.with_filter(filter, number == 0),
                None => worker,
            };
            let stop = Arc::clone(&stop);
            let thread = thread::Builder::new().name(format!("weir-packets-{number}"));
            threads.push(thread.spawn(move || worker.run(&stop)).context("a thread for packets cannot be started")?);
        }
        Ok(Packets { stop, threads, save, _memory: memory })
    }
}

fn open(
    options: &PacketOptions,
    name: &str,
    filter: &Arc<SocketFilter>,
    group: Option<&Arc<FanoutGroup>>,
) -> Result<Vec<Box<dyn Backend>>, LiveError> {
    let (name, promiscuous) = (name.to_owned(), options.promiscuous);
    Ok(match options.backend {
        BackendKind::AfPacket => vec![Box::new(Line::open(LineOptions {
            name,
            ring: options.ring(),
            promiscuous,
            filter: Arc::clone(filter),
            group: group.cloned(),
        })?)],
        BackendKind::Pcap => vec![Box::new(PcapLine::open(PcapOptions {
            name,
            buffer: options.ring().bytes(),
            promiscuous,
            filter: options.bpf.clone(),
        })?)],
        BackendKind::AfXdp => {
            eprintln!(
                "weir: AF_XDP takes all packets that come in on {name} away from this machine until the capture ends; for a port \
                 that others use take --backend af_packet"
            );
            let lines = XdpLine::open(&name, options.ring().bytes(), promiscuous, options.bpf.as_deref())?;
            if !lines.iter().all(XdpLine::is_zero_copy) {
                tracing::info!("the driver of {name} has no zero-copy: packets are copied");
            }
            lines.into_iter().map(|line| Box::new(line) as Box<dyn Backend>).collect()
        }
    })
}

/// The threads that read packets.
#[derive(Debug)]
pub(crate) struct Packets {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
    save: Option<Arc<SavePlan>>,
    _memory: Reservation,
}

impl Packets {
    /// The capture filter has changed: what raw packets are saved follows it.
    pub(super) fn set_filters(&self, filters: &FilterSet) {
        if let Some(save) = &self.save {
            save.set_filters(filters.clone());
        }
    }

    /// Takes what the kernel has already, ends all flows, and hands the last records over. Blocks.
    pub(super) fn stop(self) -> Result<()> {
        self.stop.stop();
        let mut outcome = Ok(());
        for thread in self.threads {
            if thread.join().is_err() {
                outcome = Err(anyhow!("a thread for packets failed; what it had under way is lost; this is a bug"));
            }
        }
        outcome
    }
}

/// What a capture lost that weir could have kept. Where packets are read, what was not there (gaps, connections that
/// had begun before) is the line's doing; what the ring had no room for is not.
pub(super) fn lost(ledger: &Ledger) -> u64 {
    let Some(packets) = ledger.layer(Layer::Packets) else { return ledger.lost() };
    let of = |reason| packets.dropped.get(reason).copied().unwrap_or(0);
    ledger.lost_by_weir() + of("ring_full") + of("ring_unread")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(flags: &[&str]) -> Result<Option<PacketOptions>> {
        let line = ["weir", "capture"].iter().chain(flags);
        let Command::Capture(args) = Cli::try_parse_from(line)?.command else { panic!("not capture") };
        PacketOptions::from_args(&args.packets, 256 << 20)
    }

    #[test]
    fn everything_arrives() {
        assert!(options(&[]).expect("options").is_none());
        let flags = [
            "--interface",
            "b",
            "--interface",
            "a",
            "--interface",
            "b",
            "--shards",
            "2",
            "--bpf",
            "tcp",
            "--no-promiscuous",
            "--device-from",
            "mac",
        ];
        let options = options(&flags).expect("options").expect("some");
        assert_eq!((options.interfaces.join(","), options.shards), ("a,b".to_owned(), 2));
        assert_eq!((options.bpf.as_deref(), options.promiscuous), (Some("tcp"), false));
        // A quarter of the memory over two interfaces and two shards.
        assert_eq!(options.ring().bytes(), 16 << 20);
        let shard = options.shard(&Keep::default());
        assert_eq!((shard.max_out_of_order, shard.device_from_link), (32 << 20, true));
    }

    #[test]
    fn what_does_not_go_together() {
        assert!(options(&["--no-proxy"]).is_err());
        assert!(options(&["--bpf", "tcp"]).is_err());
        assert!(options(&["--interface", "a", "--no-proxy", "--lan"]).is_err());
        assert!(options(&["--interface", "any", "--interface", "lo"]).is_err_and(|error| error.is::<Usage>()));
        let pcap = ["--interface", "a", "--backend", "pcap", "--shards", "2"];
        assert!(options(&pcap).is_err_and(|error| error.is::<Usage>()));
        let shards = ["--interface", "a", "--backend", "af_xdp", "--shards", "2"];
        assert!(options(&shards).is_err_and(|error| error.is::<Usage>()));
        assert!(options(&["--interface", "any", "--backend", "af_xdp"]).is_err_and(|error| error.is::<Usage>()));
    }
}
