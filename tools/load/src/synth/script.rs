//! What client and server say on one connection, and the truth of it.
//!
//! In: a [`Spec`] and a generator. Out: turns (bytes of one side) with the exchanges they are made of.

use std::{fmt::Write as _, io::Write as _, ops::RangeInclusive};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{random::Random, web::Web};

/// Sizes of response bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bodies {
    /// 0 to 200 bytes.
    Tiny,
    /// Like a day of browsing: three quarters below 8 KiB, most bytes in the tail up to 1 MiB.
    Realistic,
    /// Bytes between these bounds.
    Between(RangeInclusive<u64>),
    /// As browsers and apps fetch them: JSON, HTML, scripts and styles as text, mostly compressed; images, fonts and
    /// video as noise; some of the static ones again and again (see [`web`](super::web)).
    Web,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Everything follows from it.
    pub seed: u64,
    /// How many connections.
    pub connections: u64,
    /// Connections open at once.
    pub concurrency: usize,
    /// Exchanges on a connection.
    pub exchanges: RangeInclusive<u64>,
    /// Share of connections that pipeline their requests.
    pub pipelined: f64,
    /// Share of bodies sent chunked.
    pub chunked: f64,
    /// Share of responses compressed with gzip.
    pub gzip: f64,
    /// Share of requests that are POST with a body.
    pub posts: f64,
    /// Share of connections over IPv6.
    pub ipv6: f64,
    /// Share of connections whose sequence numbers pass 2^32.
    pub wrapping: f64,
    /// Sizes of response bodies.
    pub bodies: Bodies,
    /// Payload bytes of a segment.
    pub segment: RangeInclusive<u64>,
    /// Whether to hash bodies into the truth (BLAKE3); slower.
    pub hashes: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            seed: 1,
            connections: 100,
            concurrency: 32,
            exchanges: 1..=20,
            pipelined: 0.1,
            chunked: 0.2,
            gzip: 0.2,
            posts: 0.2,
            ipv6: 0.2,
            wrapping: 0.02,
            bodies: Bodies::Realistic,
            segment: 1448..=1448,
            hashes: true,
        }
    }
}

/// The truth of one exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Connection, from 0.
    pub connection: u64,
    /// Exchange on the connection, from 0.
    pub index: u64,
    /// `address:port` of the client.
    pub client: String,
    /// Method.
    pub method: String,
    /// Complete URL; it carries connection and index, so that a wrong pair shows.
    pub url: String,
    /// Status code.
    pub status: u16,
    /// Body bytes on the wire without chunk framing.
    pub request_size: u64,
    /// Body bytes on the wire without chunk framing.
    pub response_size: u64,
    /// BLAKE3 of the request body, hexadecimal; absent when there is none.
    pub request_body: Option<String>,
    /// BLAKE3 of the response body, hexadecimal; absent when there is none.
    pub response_body: Option<String>,
}

/// Bytes one side sends without waiting for the other.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// Whether the client sends it.
    pub(super) client: bool,
    /// The bytes, head and body apart.
    pub(super) parts: Vec<Bytes>,
    /// Client turns that the sender had read when it sent this: what its acknowledgement covers.
    pub(super) after: usize,
}

/// A connection's turns in order, and the truth.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) turns: Vec<Turn>,
    pub(super) truth: Vec<Truth>,
}

/// Random bytes that bodies are slices of.
pub(super) fn filler(seed: u64) -> Bytes {
    let mut random = Random::new(seed ^ 0xb0d1);
    // Letters, so that nothing in a body looks like a message head by accident.
    (0..FILLER_BYTES).map(|_| b'a' + (random.next() % 26) as u8).collect::<Vec<_>>().into()
}

const FILLER_BYTES: usize = 2 << 20;

/// Writes the script of one connection.
pub(super) fn write(
    spec: &Spec,
    number: u64,
    client: &str,
    filler: &Bytes,
    web: Option<&Web>,
    random: &mut Random,
) -> Script {
    let count = random.between(*spec.exchanges.start(), *spec.exchanges.end());
    let pipelined = random.chance(spec.pipelined);
    let host = format!("h{}.synth.example", number % 97);
    let mut requests = Vec::new();
    let mut responses = Vec::new();
    let mut truth = Vec::new();
    for index in 0..count {
        let post = random.chance(spec.posts);
        let request_body = if post { body(&Bodies::Between(1..=4000), filler, random) } else { Bytes::new() };
        let path = format!("/c/{number}/x/{index}?q={:x}", random.next() & 0xffff);
        let method = if post { "POST" } else { *random.pick(&["GET", "GET", "GET", "HEAD"]) };
        let status = *random.pick(&[200, 200, 200, 200, 201, 204, 304, 404, 500]);
        let bodiless = method == "HEAD" || status == 204 || status == 304;
        let (mut response_body, media_type, gzip_share) = match web {
            Some(web) => web.body(random),
            None if bodiless => (Bytes::new(), None, spec.gzip),
            None => (body(&spec.bodies, filler, random), None, spec.gzip),
        };
        if bodiless {
            response_body.clear();
        }
        let gzip = !response_body.is_empty() && random.chance(gzip_share);
        if gzip {
            response_body = compress(&response_body);
        }
        let mut request_head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: synth\r\nAccept: */*\r\n");
        let request = message(&mut request_head, &request_body, post, post && random.chance(spec.chunked), random);
        let mut response_head = format!(
            "HTTP/1.1 {status} Status\r\nServer: synth\r\nX-Id: {number}-{index}\r\nContent-Type: {}\r\n{}",
            media_type.unwrap_or_else(|| {
                *random.pick(&["application/json", "text/html", "text/plain", "application/octet-stream"])
            }),
            if gzip { "Content-Encoding: gzip\r\n" } else { "" }
        );
        let response = if bodiless {
            response_head.push_str("\r\n");
            vec![Bytes::from(response_head)]
        } else {
            let chunked = random.chance(spec.chunked);
            message(&mut response_head, &response_body, true, chunked, random)
        };
        let hash = |bytes: &Bytes| (spec.hashes && !bytes.is_empty()).then(|| blake3::hash(bytes).to_hex().to_string());
        truth.push(Truth {
            connection: number,
            index,
            client: client.to_owned(),
            method: method.to_owned(),
            url: format!("http://{host}{path}"),
            status,
            request_size: request_body.len() as u64,
            response_size: response_body.len() as u64,
            request_body: hash(&request_body),
            response_body: hash(&response_body),
        });
        requests.push(request);
        responses.push(response);
    }
    let turns = if pipelined { pipeline(requests, responses, random) } else { alternate(requests, responses) };
    Script { turns, truth }
}

fn alternate(requests: Vec<Vec<Bytes>>, responses: Vec<Vec<Bytes>>) -> Vec<Turn> {
    let pairs = requests.into_iter().zip(responses).enumerate();
    pairs
        .flat_map(|(index, (request, response))| {
            [
                Turn { client: true, parts: request, after: index },
                Turn { client: false, parts: response, after: index + 1 },
            ]
        })
        .collect()
}

/// Groups of requests go out together; the server answers in order and has read them all, or some.
fn pipeline(requests: Vec<Vec<Bytes>>, responses: Vec<Vec<Bytes>>, random: &mut Random) -> Vec<Turn> {
    let mut turns = Vec::new();
    let (mut requests, mut responses) = (requests.into_iter(), responses.into_iter());
    let mut sent = 0;
    while requests.len() > 0 {
        let group = random.between(1, 6).min(requests.len() as u64) as usize;
        turns.extend(requests.by_ref().take(group).map(|parts| Turn { client: true, parts, after: sent }));
        let mut read = sent;
        for (index, parts) in responses.by_ref().take(group).enumerate() {
            read = random.between(read.max(sent + index + 1) as u64, (sent + group) as u64) as usize;
            turns.push(Turn { client: false, parts, after: read });
        }
        sent += group;
    }
    turns
}

fn message(head: &mut String, body: &Bytes, framed: bool, chunked: bool, random: &mut Random) -> Vec<Bytes> {
    if !framed {
        head.push_str("\r\n");
        return vec![Bytes::from(std::mem::take(head))];
    }
    if !chunked {
        // Writing to a String cannot fail.
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        return vec![Bytes::from(std::mem::take(head)), body.clone()];
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut parts = vec![Bytes::from(std::mem::take(head))];
    let mut rest = body.clone();
    while !rest.is_empty() {
        let len = random.between(1, 16_384).min(rest.len() as u64) as usize;
        let extension = if random.chance(0.05) { ";name=value" } else { "" };
        parts.push(format!("{len:x}{extension}\r\n").into());
        parts.push(rest.split_to(len));
        parts.push(Bytes::from_static(b"\r\n"));
    }
    parts.push(if random.chance(0.1) {
        Bytes::from_static(b"0\r\nX-Trailer: t\r\n\r\n")
    } else {
        Bytes::from_static(b"0\r\n\r\n")
    });
    parts
}

fn body(bodies: &Bodies, filler: &Bytes, random: &mut Random) -> Bytes {
    let len = match bodies {
        Bodies::Web | Bodies::Tiny => random.between(0, 200),
        Bodies::Between(range) => random.between(*range.start(), *range.end()),
        Bodies::Realistic => match random.between(0, 99) {
            0..=74 => random.between(0, 8 << 10),
            75..=94 => random.between(8 << 10, 64 << 10),
            _ => random.between(64 << 10, 1 << 20),
        },
    };
    let len = len.min(1 << 20) as usize;
    let start = random.between(0, (filler.len() - len) as u64) as usize;
    filler.slice(start..start + len)
}

fn compress(body: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().map_or_else(|_| body.clone(), Bytes::from)
}
