//! Synthetic exchanges, as the proxy hands them over, and a recorder to feed them to.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test uses what it needs")]

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use weir_engine::{
    ledger::Counters,
    pipeline::{Ids, Outlet, WhenFull, queue},
    record::{Body, Exchange, Headers, Record, Timings, Url},
};
use weir_storage::{Home, Recorder, RecorderOptions};

const REQUEST_HEAD: &[u8] =
    b"Host: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nX-Request-Id: 0123456789abcdef\r\n";
const RESPONSE_HEAD: &[u8] =
    b"Server: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 22:54:38 GMT\r\nContent-Type: application/json\r\n\
Content-Length: 600\r\nConnection: keep-alive\r\nETag: \"6560e2a0-258\"\r\n";

/// Field lines as ranges into one buffer.
fn headers(head: &Bytes) -> Headers {
    let mut headers = Headers::over(head.clone(), 8);
    let mut start = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let colon = memchr::memchr(b':', line).expect("a field line");
        headers.push_range(start..start + colon, start + colon + 2..start + line.len() - 2);
        start += line.len();
    }
    headers
}

/// Where exchanges come from.
pub struct Generator {
    request_head: Bytes,
    response_head: Bytes,
    body: Bytes,
    unique_bodies: bool,
}

impl Generator {
    pub fn new(unique_bodies: bool) -> Self {
        Self {
            request_head: Bytes::from_static(REQUEST_HEAD),
            response_head: Bytes::from_static(RESPONSE_HEAD),
            body: Bytes::from(format!("{:<600}", r#"{"items":[{"id":1,"name":"first"}]}"#)),
            unique_bodies,
        }
    }

    /// The exchange with this number, which is its id too. It ends a little after later ones begin.
    pub fn exchange(&self, number: u64) -> Exchange {
        let body = if self.unique_bodies {
            let mut body = self.body.to_vec();
            body[500..520].copy_from_slice(format!("{number:020}").as_bytes());
            body.into()
        } else {
            self.body.clone()
        };
        Exchange {
            id: number,
            client: Some(([127, 0, 0, 1], 40_000 + (number % 64) as u16).into()),
            server: Some(([127, 0, 0, 1], 8080).into()),
            connection: number % 64 + 1,
            started_us: 1_700_000_000_000_000 + number as i64 * 20 - (number % 7) as i64 * 50,
            method: if number.is_multiple_of(5) { "POST" } else { "GET" }.into(),
            url: Url::parse(format!("http://api.example.com:8080/users/{number}/orders?page={}", number % 9).into())
                .expect("parses"),
            status: Some(if number.is_multiple_of(50) { 404 } else { 200 }),
            reason: Some("OK".into()),
            request_headers: headers(&self.request_head),
            response_headers: headers(&self.response_head),
            response_body: Body::stored(body),
            timings: Timings {
                duration_us: Some(300 + number % 1000),
                wait_us: Some(200 + number % 900),
                receive_us: Some(number % 50),
                ..Timings::default()
            },
            ..Exchange::default()
        }
    }
}

/// A recorder and what goes into it.
pub struct Rig {
    pub recorder: Recorder,
    pub outlet: Outlet,
    pub counters: Arc<Counters>,
}

impl Rig {
    pub fn start(home: &Path) -> Self {
        Self::with(RecorderOptions::new(Home::at(home), "proxy"))
    }

    pub fn with(options: RecorderOptions) -> Self {
        let (sender, receiver) = queue(16);
        let counters = Arc::new(Counters::default());
        let outlet = Outlet::new(sender, Arc::clone(&counters), WhenFull::Wait);
        let recorder =
            Recorder::start(options, receiver, Arc::clone(&counters), Arc::new(Ids::default())).expect("starts");
        Self { recorder, outlet, counters }
    }

    pub fn push(&mut self, record: Record) {
        if let Some(batch) = self.outlet.push(record) {
            self.outlet.deliver_blocking(batch);
        }
    }

    pub fn push_exchange(&mut self, exchange: Exchange) {
        self.push(Record::Exchange(Box::new(exchange)));
    }

    pub fn flush(&mut self) {
        if let Some(batch) = self.outlet.flush() {
            self.outlet.deliver_blocking(batch);
        }
    }

    /// Waits until so many exchanges are on disk.
    pub fn wait_flushed(&self, exchanges: u64) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while self.recorder.status().flushed < exchanges {
            assert!(std::time::Instant::now() < deadline, "not flushed: {:?}", self.recorder.status());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    pub fn finish(self) -> weir_storage::SessionEntry {
        drop(self.outlet);
        self.recorder.finish().expect("finishes")
    }
}
