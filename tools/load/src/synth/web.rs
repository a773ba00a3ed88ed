//! Bodies as browsers and apps fetch them.
//!
//! In: a generator. Out: a body, its media type, and how likely it is compressed. Shares and sizes are rounded from
//! what HTTP Archive counts on pages, with more JSON, as apps send it.

use bytes::Bytes;

use super::random::Random;

/// One kind of response.
struct Kind {
    /// Of a hundred responses.
    weight: u64,
    media_type: &'static str,
    /// Bytes before compression; all doublings between them are equally likely.
    sizes: (u64, u64),
    text: bool,
    /// Share of responses compressed with gzip.
    gzip: f64,
    /// Whether it is one of [`RESOURCES`] in a third of the cases.
    is_static: bool,
}

const KINDS: [Kind; 8] = [
    kind(42, "application/json", (200, 8 << 10), true, 0.5, false),
    kind(8, "text/html; charset=utf-8", (4 << 10, 64 << 10), true, 0.8, false),
    kind(16, "application/javascript", (4 << 10, 256 << 10), true, 0.8, true),
    kind(6, "text/css", (2 << 10, 64 << 10), true, 0.8, true),
    kind(14, "image/jpeg", (2 << 10, 512 << 10), false, 0.0, true),
    kind(10, "image/webp", (1 << 10, 128 << 10), false, 0.0, true),
    kind(3, "font/woff2", (15 << 10, 64 << 10), false, 0.0, true),
    kind(1, "video/mp4", (256 << 10, 1 << 20), false, 0.0, false),
];

const fn kind(
    weight: u64,
    media_type: &'static str,
    sizes: (u64, u64),
    text: bool,
    gzip: f64,
    is_static: bool,
) -> Kind {
    Kind { weight, media_type, sizes, text, gzip, is_static }
}

/// Static resources of each kind that come again.
const RESOURCES: u64 = 100;
const BYTES: usize = 4 << 20;

/// What bodies are slices of.
#[derive(Debug)]
pub(super) struct Web {
    random: Random,
    text: Bytes,
    noise: Bytes,
}

impl Web {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x3eb);
        let noise: Vec<u8> = (0..BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        Self { text: text(&mut random).into(), noise: noise.into(), random }
    }

    /// A body, its media type, and the share of its like that is compressed.
    pub(super) fn body(&self, random: &mut Random) -> (Bytes, Option<&'static str>, f64) {
        let mut ball = random.between(0, 99);
        let mut number = 0;
        for (index, kind) in KINDS.iter().enumerate() {
            number = index;
            if ball < kind.weight {
                break;
            }
            ball -= kind.weight;
        }
        let kind = &KINDS[number];
        let shared = kind.is_static && random.chance(1.0 / 3.0);
        let mut own;
        let random = if shared {
            own = self.random.part(number as u64 * RESOURCES + random.between(0, RESOURCES - 1));
            &mut own
        } else {
            random
        };
        let (low, high) = kind.sizes;
        let doubled = low << random.between(0, u64::from((high / low).ilog2()) - 1);
        let len = random.between(doubled, (2 * doubled).min(high)) as usize;
        let from = if kind.text { &self.text } else { &self.noise };
        let start = random.between(0, (from.len() - len) as u64) as usize;
        (from.slice(start..start + len), Some(kind.media_type), kind.gzip)
    }
}

/// Text that compresses as the web's does: objects with few names and many values.
fn text(random: &mut Random) -> Vec<u8> {
    const NAMES: [&str; 12] = [
        "id",
        "name",
        "title",
        "created",
        "updated",
        "price",
        "count",
        "owner",
        "tags",
        "status",
        "url",
        "description",
    ];
    const WORDS: [&str; 16] = [
        "river", "stone", "quick", "amber", "north", "value", "light", "paper", "green", "order", "small", "cloud",
        "table", "under", "seven", "house",
    ];
    let mut text = Vec::with_capacity(BYTES + 64);
    while text.len() < BYTES {
        text.extend_from_slice(b"{\"");
        text.extend_from_slice(random.pick(&NAMES).as_bytes());
        text.extend_from_slice(b"\": \"");
        for _ in 0..random.between(1, 4) {
            text.extend_from_slice(random.pick(&WORDS).as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(format!("{:x}\"}},\n", random.next() & 0xff_ffff).as_bytes());
    }
    text.truncate(BYTES);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_static_bodies_come_again() {
        assert_eq!(KINDS.iter().map(|kind| kind.weight).sum::<u64>(), 100);
        let (web, mut random) = (Web::new(1), Random::new(2));
        let mut seen = std::collections::HashSet::new();
        let (mut again, mut json) = (0, 0);
        for _ in 0..5_000 {
            let (body, media_type, _) = web.body(&mut random);
            assert!(!body.is_empty() && body.len() <= 1 << 20);
            json += u32::from(media_type == Some("application/json"));
            again += u32::from(!seen.insert(blake3::hash(&body)));
        }
        assert!((1_900..2_300).contains(&json), "{json}");
        assert!(again > 200, "{again}");
    }
}
