//! A whole capture file from a plan, in the memory of the connections open at once.

use std::io::{self, Write};

use super::{Encoder, Item, PcapWriter, Segment, Spec, Spoil, Spoiler, Stream};

/// What to write.
#[derive(Debug)]
pub struct Plan {
    /// What is said.
    pub spec: Spec,
    /// What goes wrong with it.
    pub spoil: Spoil,
    /// How it travels.
    pub encoder: Encoder,
    /// No frame begins behind this many bytes of the file.
    pub size: Option<u64>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Frames.
    pub packets: u64,
    /// Exchanges of the connections that began.
    pub exchanges: u64,
    /// Segments left out by the plan.
    pub lost: u64,
}

/// Writes the capture to `output`, and the truth as one JSON object a line. The truth of a connection is written
/// when it begins: a capture that ends at its size holds the last ones in part.
///
/// # Errors
/// What writing failed with.
pub fn write(plan: Plan, output: impl Write, mut truth: Option<impl Write>) -> io::Result<Written> {
    let Plan { spec, spoil, mut encoder, size } = plan;
    let mut spoiler = Spoiler::new(spoil, spec.seed);
    let mut writer = PcapWriter::new(output, encoder.link.number())?;
    let mut written = Written { bytes: 24, ..Written::default() };
    let mut outcome = Ok(());
    let mut put = |segment: &Segment, written: &mut Written| {
        let mut outcome = Ok(());
        encoder.encode(segment, |frame| {
            if outcome.is_ok() {
                outcome = writer.frame(segment.time_ns, frame);
                written.bytes += 16 + frame.len() as u64;
                written.packets += 1;
            }
        });
        outcome
    };
    for item in Stream::new(spec) {
        match item {
            Item::Truth(exchanges) => {
                written.exchanges += exchanges.len() as u64;
                if let Some(truth) = &mut truth {
                    for exchange in exchanges {
                        serde_json::to_writer(&mut *truth, &exchange)?;
                        truth.write_all(b"\n")?;
                    }
                }
            }
            Item::Segment(segment) => spoiler.pass(segment, |segment| {
                if outcome.is_ok() {
                    outcome = put(&segment, &mut written);
                }
            }),
        }
        outcome?;
        outcome = Ok(());
        if size.is_some_and(|size| written.bytes >= size) {
            break;
        }
    }
    spoiler.finish(|segment| {
        if outcome.is_ok() {
            outcome = put(&segment, &mut written);
        }
    });
    outcome?;
    written.lost = spoiler.lost;
    writer.finish()?;
    if let Some(mut truth) = truth {
        truth.flush()?;
    }
    Ok(written)
}
