//! The raw packets of what is recorded, beside the session (`--save-packets`), for Wireshark and others.
//!
//! A connection's packets are written once an exchange of it passes the capture filter, those that came before it
//! first. Until then they are held in memory, as many as the bounds allow; what had to be let go is counted.
//! In: frames and finished exchanges, in the order of the shard. Out: one pcapng file a shard.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io::{self, BufWriter},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use weir_engine::{
    filter::FilterSet,
    ledger::{Counters, Layer},
    live::{LiveFrame, PcapngWriter, VlanTag},
    record::Exchange,
    shard::Ends,
    source::{Frame, LinkType},
};

/// Packets of one connection held until an exchange of it is decided.
const CONNECTION_BYTES: usize = 4 << 20;
/// Connections remembered at once.
const CONNECTIONS: usize = 100_000;

/// What all shards have in common.
#[derive(Debug)]
pub(super) struct SavePlan {
    /// The folder of the session's packets.
    folder: PathBuf,
    /// The capture filter, which can change.
    filters: RwLock<Arc<FilterSet>>,
    /// Bytes held by each shard at most.
    held_bytes: usize,
    /// Names of interfaces by index, asked once.
    names: Mutex<HashMap<u32, String>>,
}

impl SavePlan {
    /// Makes the folder.
    pub(super) fn new(folder: &Path, filters: FilterSet, held_bytes: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let filters = RwLock::new(Arc::new(filters));
        Ok(Self { folder: folder.to_owned(), filters, held_bytes, names: Mutex::default() })
    }

    /// The capture filter has changed.
    pub(super) fn set_filters(&self, filters: FilterSet) {
        *self.filters.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filters);
    }

    fn passes(&self, exchange: &Exchange) -> bool {
        let filters = Arc::clone(&self.filters.read().unwrap_or_else(PoisonError::into_inner));
        filters.first_rejection(exchange).is_none()
    }

    fn name(&self, interface: u32) -> String {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || {
            let all = pnet_datalink::interfaces().into_iter().find(|one| one.index == interface);
            all.map_or_else(|| format!("interface {interface}"), |one| one.name)
        };
        names.entry(interface).or_insert_with(name).clone()
    }
}

/// A frame that is held.
#[derive(Debug)]
struct Held {
    time_ns: i64,
    link: LinkType,
    data: Box<[u8]>,
    original_len: u32,
    vlan: Option<VlanTag>,
    interface: u32,
}

#[derive(Debug)]
enum Connection {
    /// No exchange of it has passed yet.
    Undecided { held: VecDeque<Held>, bytes: usize },
    /// One has.
    Wanted,
}

/// Both ends, sorted.
type Key = [SocketAddr; 2];

/// One shard's file.
#[derive(Debug)]
pub(super) struct Saver {
    plan: Arc<SavePlan>,
    counters: Arc<Counters>,
    writer: Option<PcapngWriter<BufWriter<File>>>,
    connections: HashMap<Key, Connection>,
    /// In the order in which they were first seen.
    order: VecDeque<Key>,
    held: usize,
    saved: u64,
    let_go: u64,
}

impl Saver {
    /// Begins the file of the shard of this number.
    pub(super) fn new(plan: Arc<SavePlan>, number: usize, counters: Arc<Counters>) -> io::Result<Self> {
        let file = File::create(plan.folder.join(format!("shard-{number}.pcapng")))?;
        let writer = Some(PcapngWriter::new(BufWriter::with_capacity(1 << 18, file))?);
        let (connections, order) = (HashMap::new(), VecDeque::new());
        Ok(Self { plan, counters, writer, connections, order, held: 0, saved: 0, let_go: 0 })
    }

    /// A frame that the shard has just taken.
    pub(super) fn frame(&mut self, live: &LiveFrame<'_>, ends: Option<Ends>) {
        let Some(key) = ends.map(Ends::pair) else { return };
        let connection = self.connections.entry(key).or_insert_with(|| {
            self.order.push_back(key);
            Connection::Undecided { held: VecDeque::new(), bytes: 0 }
        });
        match connection {
            Connection::Undecided { held, bytes } => {
                let frame = &live.frame;
                held.push_back(Held {
                    time_ns: frame.time_ns,
                    link: frame.link,
                    data: frame.data.into(),
                    original_len: frame.original_len,
                    vlan: live.vlan,
                    interface: live.interface,
                });
                *bytes += frame.data.len();
                self.held += frame.data.len();
                while *bytes > CONNECTION_BYTES
                    && let Some(oldest) = held.pop_front()
                {
                    *bytes -= oldest.data.len();
                    self.held -= oldest.data.len();
                    self.let_go += 1;
                }
            }
            Connection::Wanted => self.write(live),
        }
        while self.held > self.plan.held_bytes || self.order.len() > CONNECTIONS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(&oldest);
        }
    }

    /// An exchange that has just ended.
    pub(super) fn exchange(&mut self, exchange: &Exchange) {
        let Some((client, server)) = exchange.client.zip(exchange.server) else { return };
        let mut key = [client, server];
        key.sort_unstable();
        if matches!(self.connections.get(&key), Some(Connection::Wanted)) || !self.plan.passes(exchange) {
            return;
        }
        let before = self.connections.insert(key, Connection::Wanted);
        let Some(Connection::Undecided { held, bytes }) = before else {
            self.order.push_back(key);
            return;
        };
        self.held -= bytes;
        for one in held {
            let frame = Frame { time_ns: one.time_ns, link: one.link, data: &one.data, original_len: one.original_len };
            self.write(&LiveFrame { frame, vlan: one.vlan, interface: one.interface, is_loopback_copy: false });
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(Connection::Undecided { held, bytes }) = self.connections.remove(key) {
            self.held -= bytes;
            self.let_go += held.len() as u64;
        }
    }

    fn write(&mut self, live: &LiveFrame<'_>) {
        let Some(writer) = &mut self.writer else {
            self.let_go += 1;
            return;
        };
        match writer.frame(live, || self.plan.name(live.interface)) {
            Ok(()) => self.saved += 1,
            Err(error) => self.failed(&error),
        }
    }

    /// Hands what was written to the file, and tells the counts.
    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(PcapngWriter::flush) {
            self.failed(&error);
        }
        self.counters.noted(Layer::Packets, "saved", std::mem::take(&mut self.saved));
        self.counters.noted(Layer::Packets, "not_saved", std::mem::take(&mut self.let_go));
    }

    fn failed(&mut self, error: &io::Error) {
        tracing::error!("raw packets are not saved any more: {error}; the session goes on without them");
        self.writer = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A saver without limits worth speaking of, and its folder.
    fn saver(held_bytes: usize) -> (tempfile::TempDir, Saver, Arc<Counters>) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let plan = SavePlan::new(folder.path(), FilterSet::default(), held_bytes).expect("folder");
        let counters = Arc::new(Counters::default());
        let saver = Saver::new(Arc::new(plan), 0, Arc::clone(&counters)).expect("file");
        (folder, saver, counters)
    }

    fn held(saver: &mut Saver, port: u16, bytes: usize) {
        let key: Key = [SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], port))];
        let one = Held {
            time_ns: 1,
            link: LinkType::ETHERNET,
            data: vec![0; bytes].into(),
            original_len: bytes as u32,
            vlan: None,
            interface: 1,
        };
        saver.connections.insert(key, Connection::Undecided { held: [one].into(), bytes });
        saver.order.push_back(key);
        saver.held += bytes;
    }

    #[test]
    fn what_was_held_is_written_when_an_exchange_passes() {
        let (folder, mut saver, counters) = saver(1 << 20);
        held(&mut saver, 1, 60);
        held(&mut saver, 2, 60);
        let exchange = Exchange {
            client: Some(SocketAddr::from(([10, 0, 0, 2], 2))),
            server: Some(SocketAddr::from(([10, 0, 0, 1], 80))),
            ..Exchange::default()
        };
        saver.exchange(&exchange);
        saver.exchange(&exchange);
        saver.flush();
        let ledger = counters.snapshot();
        assert_eq!(ledger.layer(Layer::Packets).and_then(|tally| tally.noted.get("saved")), Some(&1));
        assert_eq!(saver.held, 60);
        assert!(fs::metadata(folder.path().join("shard-0.pcapng")).expect("a file").len() > 60);
        let oldest = saver.order[0];
        saver.forget(&oldest);
        assert_eq!((saver.held, saver.let_go), (0, 1));
    }
}
