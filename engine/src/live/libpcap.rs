//! An interface through libpcap: for what it knows and the ring does not.
//!
//! In: a name, a filter expression. Out: frames; drops as libpcap counts them. It leaves out the copies on the loopback
//! itself. One socket: libpcap knows no groups.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pcap::{Active, Capture, Error, Precision};

use super::{Backend, LiveError, LiveFrame, LiveStatistics};
use crate::source::{Frame, LinkType};

/// Largest frame taken whole: what libpcap allows (MAXIMUM_SNAPLEN).
const SNAP_LEN: i32 = 262_144;
/// What libpcap gathers is handed over after this time.
const TIMEOUT_MS: i32 = 40;
/// After a stop so long for what libpcap still gathers.
const LAST: Duration = Duration::from_millis(150);
/// Bytes that stand before a frame in the kernel's buffer, about.
const FRAME_HEADER: u64 = 96;
/// Frames handed over in one go.
const FRAMES: usize = 1_024;

/// How an interface is captured.
#[derive(Debug, Clone)]
pub struct PcapOptions {
    /// Its name.
    pub name: String,
    /// Bytes of the kernel's buffer.
    pub buffer: usize,
    /// Take frames for other machines too.
    pub promiscuous: bool,
    /// Which frames come: man pcap-filter.
    pub filter: Option<String>,
}

/// An interface, open or away.
pub struct PcapLine {
    options: PcapOptions,
    open: Option<Capture<Active>>,
    counted: LiveStatistics,
    /// What the handle that is open received and dropped, and what its interface dropped; libpcap counts from its beginning.
    told: [u64; 3],
    /// Frames received by then and not dropped, less those taken.
    waiting: i64,
    /// Bytes of all frames taken.
    bytes: u64,
    /// When nothing more was to be let in, as an instant and as a time of packets.
    closed: Option<(Instant, i64)>,
}

impl PcapLine {
    /// Begins to capture.
    ///
    /// # Errors
    /// When libpcap cannot, or does not understand the filter.
    pub fn open(options: PcapOptions) -> Result<Self, LiveError> {
        let open = open(&options)?;
        Ok(Self {
            options,
            open: Some(open),
            counted: LiveStatistics::default(),
            told: [0; 3],
            waiting: 0,
            bytes: 0,
            closed: None,
        })
    }

    /// The interface is away: what its handle counted is kept.
    fn away(&mut self) {
        self.count();
        self.open = None;
        (self.told, self.waiting) = ([0; 3], 0);
        self.counted.downs += 1;
    }

    fn count(&mut self) {
        let Some(Ok(stat)) = self.open.as_mut().map(Capture::stats) else { return };
        let now = [stat.received, stat.dropped, stat.if_dropped].map(u64::from);
        // The counters have 32 bits.
        let more = [0, 1, 2].map(|at| u64::from((now[at] as u32).wrapping_sub(self.told[at] as u32)));
        self.told = now;
        // What was received holds what was dropped.
        self.waiting += more[0] as i64 - more[1] as i64;
        self.counted.dropped += more[1];
        self.counted.interface_dropped += more[2];
    }
}

fn open(options: &PcapOptions) -> Result<Capture<Active>, LiveError> {
    let name = &options.name;
    let failed = |error: Error| match error {
        Error::PcapError(reason) if reason.contains("ermi") => {
            // "You don't have permission", "Operation not permitted".
            LiveError::NotPermitted { what: "libpcap" }
        }
        Error::PcapError(reason) if reason.contains("No such device") => LiveError::NoInterface { name: name.clone() },
        error => LiveError::Pcap { name: name.clone(), reason: error.to_string() },
    };
    let capture = Capture::from_device(name.as_str()).map_err(failed)?;
    let capture = capture
        .promisc(options.promiscuous && name != super::line::ANY)
        .snaplen(SNAP_LEN)
        .timeout(TIMEOUT_MS)
        .buffer_size(i32::try_from(options.buffer).unwrap_or(i32::MAX))
        .precision(Precision::Nano)
        .open()
        .map_err(failed)?;
    let mut capture = capture.setnonblock().map_err(failed)?;
    if let Some(expression) = &options.filter {
        capture
            .filter(expression, true)
            .map_err(|error| LiveError::Filter { expression: expression.clone(), reason: error.to_string() })?;
    }
    Ok(capture)
}

impl Backend for PcapLine {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(AsFd::as_fd)
    }

    fn block(&mut self, take: &mut dyn FnMut(&LiveFrame<'_>)) -> Result<usize, LiveError> {
        let Some(capture) = &mut self.open else { return Ok(0) };
        // A link type as capture files number it; only raw IP has another number here, which is known too.
        let link = LinkType(capture.get_datalink().0 as u32);
        let end = self.closed.map_or(i64::MAX, |(_, time_ns)| time_ns);
        let (mut taken, mut bytes) = (0, 0);
        let outcome = capture.dispatch(Some(FRAMES), |packet| {
            let time = packet.header.ts;
            // The precision asked for makes these nanoseconds.
            let time_ns = time.tv_sec * 1_000_000_000 + time.tv_usec;
            if time_ns > end {
                return;
            }
            taken += 1;
            bytes += packet.data.len() as u64;
            let frame = Frame { time_ns, link, data: packet.data, original_len: packet.header.len };
            take(&LiveFrame { frame, vlan: None, interface: 0, is_loopback_copy: false });
        });
        self.counted.taken += taken as u64;
        self.waiting -= taken as i64;
        self.bytes += bytes;
        match outcome {
            Ok(_) | Err(Error::TimeoutExpired) => {}
            // It disappeared; it may come again.
            Err(_) => self.away(),
        }
        Ok(taken)
    }

    /// An estimate: libpcap tells how many frames it received, not how full its buffer is. On the loopback it leaves copies out
    /// after that count, and the answer soon stays `true`.
    fn is_pressed(&mut self) -> bool {
        self.count();
        let mean = self.bytes / self.counted.taken.max(1) + FRAME_HEADER;
        self.waiting.max(0) as u64 * mean > self.options.buffer as u64 / 4 * 3
    }

    fn maintain(&mut self) -> Result<(), LiveError> {
        if self.open.is_none() && self.closed.is_none() {
            self.open = open(&self.options).ok();
        }
        Ok(())
    }

    fn close_intake(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.closed = Some((Instant::now(), i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)));
    }

    fn is_drained(&mut self) -> bool {
        self.closed.is_none_or(|(since, _)| since.elapsed() > LAST)
    }

    fn statistics(&mut self) -> LiveStatistics {
        self.count();
        // What libpcap received holds what it left out itself: what it handed over counts.
        LiveStatistics { seen: self.counted.taken + self.counted.dropped, ..self.counted }
    }
}
