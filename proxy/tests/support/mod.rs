//! A proxy between scripted clients and servers on loopback, and what it recorded.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by test programs that each use a part; a failed step fails the test"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, Receiver, WhenFull, queue, queue::Received},
    record::{Connection, Exchange, Message, Record},
};
use weir_proxy::{Proxy, ProxyConfig, hooks::Hooks};

/// No step of a test takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Harness {
    pub proxy: Option<Proxy>,
    pub receiver: Receiver,
    pub counters: Arc<Counters>,
    pub budget: Budget,
    pub address: SocketAddr,
}

#[derive(Debug, Default)]
pub struct Records {
    pub exchanges: Vec<Exchange>,
    pub connections: Vec<Connection>,
    pub messages: Vec<Message>,
}

impl Records {
    pub fn add(&mut self, record: Record) {
        match record {
            Record::Exchange(exchange) => self.exchanges.push(*exchange),
            Record::Connection(connection) => self.connections.push(*connection),
            Record::Message(message) => self.messages.push(*message),
        }
    }
}

pub fn config() -> ProxyConfig {
    ProxyConfig { listen: ([127, 0, 0, 1], 0).into(), threads: 1, ..ProxyConfig::default() }
}

pub fn start() -> Harness {
    start_with(config(), 1024, WhenFull::Wait)
}

pub fn start_with(config: ProxyConfig, batches: usize, when_full: WhenFull) -> Harness {
    let (sender, receiver) = queue(batches);
    let counters = Arc::new(Counters::default());
    let outlet = Outlet::new(sender, Arc::clone(&counters), when_full);
    let budget = Budget::new(64 << 20);
    let proxy = Proxy::start_with(config, Hooks::default(), outlet, Arc::new(Ids::default()), budget.clone()).unwrap();
    let address = proxy.local_addr();
    Harness { proxy: Some(proxy), receiver, counters, budget, address }
}

impl Harness {
    pub fn client(&self) -> TcpStream {
        connect(self.address)
    }

    /// Stops the proxy; everything it recorded, in order of ids.
    pub fn finish(mut self) -> Records {
        let proxy = self.proxy.take().unwrap();
        let stopping = std::thread::spawn(move || proxy.stop(Duration::from_secs(5)));
        let mut records = Records::default();
        while let Received::Batch(batch) = self.receiver.recv_timeout(PATIENCE) {
            batch.records.into_iter().for_each(|record| records.add(record));
        }
        stopping.join().unwrap();
        records.exchanges.sort_by_key(|exchange| exchange.id);
        records.connections.sort_by_key(|connection| connection.id);
        records
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A server that runs `script` for each connection, with its number from 0.
pub fn origin(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let script = Arc::clone(&script);
            std::thread::spawn(move || script(stream, number));
        }
    });
    address
}

/// Reads until `end` is there; empty when the other side closed before its first byte.
pub fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            _ if text.is_empty() => return String::new(),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a head.
pub fn read_head(stream: &mut TcpStream) -> String {
    read_until(stream, "\r\n\r\n")
}

/// Reads exactly so many bytes.
pub fn read_exactly(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads to the end of the connection; `Err` with what came when it was reset.
pub fn read_all(stream: &mut TcpStream) -> Result<String, String> {
    let mut bytes = Vec::new();
    let result = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if result.is_ok() { Ok(text) } else { Err(text) }
}

pub fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

/// Answers every request on a connection with `response`.
pub fn answer_always(response: &'static str) -> impl Fn(TcpStream, usize) + Send + Sync + 'static {
    move |mut stream, _| {
        while !read_head(&mut stream).is_empty() {
            send(&mut stream, response);
        }
    }
}
