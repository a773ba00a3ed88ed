//! A message body as it is recorded: its state, size, hash and (when stored) its bytes.

use bytes::Bytes;
use smallvec::SmallVec;

/// BLAKE3 of the stored bytes of a body, the key into the `bodies` table.
pub type BodyHash = [u8; 32];

/// What became of a body (column `request_body_state`, `response_body_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyState {
    /// The message has no body.
    #[default]
    None,
    /// All its bytes are stored.
    Stored,
    /// Image, audio or video: passed on, hashed and counted, not stored.
    SkippedMedia,
    /// Left out by `--bodies none` or `--no-responses`: counted, not stored.
    SkippedPolicy,
    /// Only a prefix is stored: a limit was reached, or the message ended early.
    Truncated,
    /// Bytes are missing in the middle (packet path).
    Gap,
}

impl BodyState {
    /// Every state, in the order of the enumeration.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Stored, Self::SkippedMedia, Self::SkippedPolicy, Self::Truncated, Self::Gap];

    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Stored => "stored",
            Self::SkippedMedia => "skipped_media",
            Self::SkippedPolicy => "skipped_policy",
            Self::Truncated => "truncated",
            Self::Gap => "gap",
        }
    }
}

/// The stored bytes of a body: slices of the buffers they arrived in, in order.
#[derive(Debug, Clone, Default)]
pub struct Content {
    chunks: SmallVec<[Bytes; 1]>,
    len: usize,
}

impl Content {
    /// Adds bytes at the end; the buffer is shared, not copied.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push(chunk);
        }
    }

    /// The slices in order.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Bytes in all slices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BLAKE3 over the bytes.
    #[must_use]
    pub fn hash(&self) -> BodyHash {
        match &*self.chunks {
            [only] => *blake3::hash(only).as_bytes(),
            chunks => {
                let mut hasher = blake3::Hasher::new();
                for chunk in chunks {
                    hasher.update(chunk);
                }
                *hasher.finalize().as_bytes()
            }
        }
    }

    /// The bytes in one buffer (copies when they came in several).
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match &*self.chunks {
            [] => Bytes::new(),
            [only] => only.clone(),
            chunks => chunks.concat().into(),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let mut content = Self::default();
        content.push(bytes);
        content
    }
}

/// A body as recorded.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// What became of it.
    pub state: BodyState,
    /// Body bytes on the wire: after transfer decoding (chunk framing removed), before content decoding.
    pub size: u64,
    /// BLAKE3, when already known (bodies that are hashed as they pass, not kept); otherwise the
    /// recorder computes it from [`content`](Self::content).
    pub hash: Option<BodyHash>,
    /// The bytes kept (state `Stored`, `Truncated` or `Gap`).
    pub content: Content,
    /// Whether the content coding (RFC 9110 §8.4) was already removed by whoever recorded it, as in HAR
    /// files: Content-Encoding then says nothing about these bytes.
    pub decoded: bool,
}

impl Body {
    /// A whole, stored body; without bytes the message has none.
    #[must_use]
    pub fn stored(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::default();
        }
        Self { state: BodyState::Stored, size: bytes.len() as u64, hash: None, content: bytes.into(), decoded: false }
    }
}
