//! The ledger: what each layer saw, kept and dropped, with the reason (promise 1 of the design).
//!
//! In: counts from whoever sees, sheds, filters or stores. Out: one plain document, stored with the
//! session, that balances: `seen = kept + Σ dropped(reason) + under way`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

/// The reason for what was kept and has been deleted since, by the user.
pub const DELETED: &str = "policy:deleted";

/// What a layer counts, in the order data passes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Packets (frames) read.
    Packets,
    /// TCP payload bytes handed to reassembly.
    StreamBytes,
    /// HTTP messages (halves of exchanges) seen on the packet path.
    HttpMessages,
    /// Client connections.
    Connections,
    /// Exchanges.
    Exchanges,
    /// Bodies (of requests and responses).
    Bodies,
    /// WebSocket, event-stream and gRPC messages.
    Messages,
}

impl Layer {
    /// Every layer.
    pub const ALL: [Self; 7] = [
        Self::Packets,
        Self::StreamBytes,
        Self::HttpMessages,
        Self::Connections,
        Self::Exchanges,
        Self::Bodies,
        Self::Messages,
    ];

    /// The key in the ledger's document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::StreamBytes => "stream_bytes",
            Self::HttpMessages => "http_messages",
            Self::Connections => "connections",
            Self::Exchanges => "exchanges",
            Self::Bodies => "bodies",
            Self::Messages => "messages",
        }
    }
}

/// What one layer counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What came in.
    pub seen: u64,
    /// What went on or was stored.
    pub kept: u64,
    /// What did not, by reason. Reasons that begin with `filter:` or `policy:` were asked for, those that
    /// begin with `ignored:` held nothing for weir (packets that are not TCP, say); all others are losses.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// Of what is told above, what is worth knowing: counts that do not enter the balance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub noted: BTreeMap<String, u64>,
}

impl Tally {
    /// Everything dropped.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// What is neither kept nor dropped yet: open exchanges, batches in the queue.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        self.seen.saturating_sub(self.kept + self.dropped_total())
    }

    /// Whether everything seen is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.seen == self.kept + self.dropped_total()
    }

    /// Counts `count` of what was kept as deleted since.
    pub fn delete(&mut self, count: u64) {
        let count = count.min(self.kept);
        if count > 0 {
            self.kept -= count;
            *self.dropped.entry(DELETED.to_owned()).or_default() += count;
        }
    }

    /// Dropped without having been asked for.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped.iter().filter(|(reason, _)| !is_wanted(reason)).map(|(_, count)| count).sum()
    }
}

fn is_wanted(reason: &str) -> bool {
    ["filter:", "policy:", "ignored:"].iter().any(|prefix| reason.starts_with(prefix))
}

/// The ledger of a session: one tally a layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger {
    layers: BTreeMap<String, Tally>,
}

impl Ledger {
    /// The tally of a layer, made when it is not there.
    pub fn layer_mut(&mut self, layer: Layer) -> &mut Tally {
        self.layers.entry(layer.as_str().to_owned()).or_default()
    }

    /// The tally of a layer, when it counted anything.
    #[must_use]
    pub fn layer(&self, layer: Layer) -> Option<&Tally> {
        self.layers.get(layer.as_str())
    }

    /// Layers in the order of the data flow; names this version does not know come last.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &Tally)> {
        let known = Layer::ALL.iter().filter_map(|layer| self.layers.get_key_value(layer.as_str()));
        let other = self.layers.iter().filter(|(name, _)| Layer::ALL.iter().all(|layer| layer.as_str() != *name));
        known.chain(other).map(|(name, tally)| (name.as_str(), tally))
    }

    /// Adds another ledger's counts to this one.
    pub fn merge(&mut self, other: &Self) {
        for (name, tally) in &other.layers {
            let mine = self.layers.entry(name.clone()).or_default();
            mine.seen += tally.seen;
            mine.kept += tally.kept;
            for (reason, count) in &tally.dropped {
                *mine.dropped.entry(reason.clone()).or_default() += count;
            }
            for (what, count) in &tally.noted {
                *mine.noted.entry(what.clone()).or_default() += count;
            }
        }
    }

    /// Whether every layer balances.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.layers.values().all(Tally::balances)
    }

    /// Everything dropped without having been asked for, over all layers.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.layers.values().map(Tally::lost).sum()
    }

    /// Of [`lost`](Self::lost), what weir could have kept: not what was missing or damaged in what it read.
    #[must_use]
    pub fn lost_by_weir(&self) -> u64 {
        let records = [Layer::Connections, Layer::Exchanges, Layer::Bodies, Layer::Messages];
        let own = |tally: &Tally| {
            let of_the_input = |reason: &&str| tally.dropped.get(*reason).copied().unwrap_or(0);
            tally.lost() - OF_THE_INPUT.iter().map(of_the_input).sum::<u64>()
        };
        records.into_iter().filter_map(|layer| self.layer(layer)).map(own).sum()
    }
}

/// Reasons of records that tell of what was read, not of weir: a hole in a body, the torn end of a file, an
/// entry that is none.
const OF_THE_INPUT: [&str; 3] = ["gap", "torn", "malformed"];

/// Counters of one layer that many threads add to.
#[derive(Debug, Default)]
struct LayerCounters {
    seen: AtomicU64,
    kept: AtomicU64,
    dropped: Mutex<BTreeMap<Cow<'static, str>, u64>>,
    noted: Mutex<BTreeMap<Cow<'static, str>, u64>>,
}

/// The ledger while it is being written: shared by all threads of a capture.
#[derive(Debug, Default)]
pub struct Counters {
    layers: [LayerCounters; Layer::ALL.len()],
}

impl Counters {
    /// Counts `count` things that came in.
    pub fn seen(&self, layer: Layer, count: u64) {
        self.layers[layer as usize].seen.fetch_add(count, Relaxed);
    }

    /// Counts `count` things that went on or were stored.
    pub fn kept(&self, layer: Layer, count: u64) {
        self.layers[layer as usize].kept.fetch_add(count, Relaxed);
    }

    /// Counts `count` things dropped for `reason`. Takes a lock: batch the counts where drops are frequent.
    pub fn dropped(&self, layer: Layer, reason: impl Into<Cow<'static, str>>, count: u64) {
        if count > 0 {
            let mut dropped = self.layers[layer as usize].dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *dropped.entry(reason.into()).or_default() += count;
        }
    }

    /// Notes `count` things that do not enter the balance.
    pub fn noted(&self, layer: Layer, what: impl Into<Cow<'static, str>>, count: u64) {
        if count > 0 {
            let mut noted = self.layers[layer as usize].noted.lock().unwrap_or_else(PoisonError::into_inner);
            *noted.entry(what.into()).or_default() += count;
        }
    }

    /// Adds what another ledger counted between two looks at it. A count may have gone back: what was taken for
    /// a message turned out to be none.
    pub fn advance(&self, before: &Ledger, now: &Ledger) {
        let none = Tally::default();
        for (layer, counters) in Layer::ALL.into_iter().zip(&self.layers) {
            let Some(tally) = now.layer(layer) else { continue };
            let old = before.layer(layer).unwrap_or(&none);
            // Modulo 2^64 a difference below zero is added like any other.
            counters.seen.fetch_add(tally.seen.wrapping_sub(old.seen), Relaxed);
            counters.kept.fetch_add(tally.kept.wrapping_sub(old.kept), Relaxed);
            for (mine, theirs, olds) in
                [(&counters.dropped, &tally.dropped, &old.dropped), (&counters.noted, &tally.noted, &old.noted)]
            {
                let mut mine = mine.lock().unwrap_or_else(PoisonError::into_inner);
                for reason in theirs.keys().chain(olds.keys().filter(|reason| !theirs.contains_key(*reason))) {
                    let of = |counts: &BTreeMap<String, u64>| counts.get(reason).copied().unwrap_or(0);
                    let difference = of(theirs).wrapping_sub(of(olds));
                    let sum = mine.entry(reason.clone().into()).or_default();
                    *sum = sum.wrapping_add(difference);
                }
            }
        }
    }

    /// Gives all that was counted to `to`, but of `Connections`, `Exchanges` and `Messages` only `seen` things and those
    /// that were dropped before anybody took them: what is still under way stays here, for the session that comes next.
    pub fn hand_over(&self, to: &Self, seen: [u64; Layer::ALL.len()], before: &[&str]) {
        let take = |from: &Mutex<BTreeMap<Cow<'static, str>, u64>>| {
            std::mem::take(&mut *from.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for layer in Layer::ALL {
            let (mine, theirs) = (&self.layers[layer as usize], &to.layers[layer as usize]);
            let (dropped, noted) = (take(&mine.dropped), take(&mine.noted));
            let count = match layer {
                Layer::Connections | Layer::Exchanges | Layer::Messages => {
                    let early = |(reason, count): (&Cow<'_, str>, &u64)| before.contains(&&**reason).then_some(*count);
                    seen[layer as usize] + dropped.iter().filter_map(early).sum::<u64>()
                }
                _ => mine.seen.load(Relaxed),
            };
            mine.seen.fetch_sub(count, Relaxed);
            theirs.seen.fetch_add(count, Relaxed);
            theirs.kept.fetch_add(mine.kept.swap(0, Relaxed), Relaxed);
            for (reason, count) in dropped {
                to.dropped(layer, reason, count);
            }
            for (what, count) in noted {
                to.noted(layer, what, count);
            }
        }
    }

    /// Counts `count` things that were kept as deleted since.
    pub fn deleted(&self, layer: Layer, count: u64) {
        self.dropped(layer, DELETED, count);
        let _ =
            self.layers[layer as usize].kept.fetch_update(Relaxed, Relaxed, |kept| Some(kept.saturating_sub(count)));
    }

    /// The ledger as of now. Layers that counted nothing are left out.
    #[must_use]
    pub fn snapshot(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for (layer, counters) in Layer::ALL.into_iter().zip(&self.layers) {
            // Kept and dropped first: what is counted meanwhile can only look under way, never lost.
            let copy = |reasons: &Mutex<BTreeMap<Cow<'static, str>, u64>>| -> BTreeMap<String, u64> {
                let reasons = reasons.lock().unwrap_or_else(PoisonError::into_inner);
                reasons
                    .iter()
                    .filter(|(_, count)| **count > 0)
                    .map(|(reason, count)| (reason.to_string(), *count))
                    .collect()
            };
            let (dropped, noted) = (copy(&counters.dropped), copy(&counters.noted));
            let kept = counters.kept.load(Relaxed);
            let seen = counters.seen.load(Relaxed);
            if seen > 0 || kept > 0 || !dropped.is_empty() || !noted.is_empty() {
                *ledger.layer_mut(layer) = Tally { seen, kept, dropped, noted };
            }
        }
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_and_tells_wanted_from_lost() {
        let counters = Counters::default();
        counters.seen(Layer::Exchanges, 10);
        counters.kept(Layer::Exchanges, 6);
        counters.dropped(Layer::Exchanges, "filter:method", 3);
        let open = counters.snapshot();
        assert_eq!(open.layer(Layer::Exchanges).map(Tally::under_way), Some(1));
        assert!(!open.balances());
        counters.dropped(Layer::Exchanges, "queue_full", 1);
        let ledger = counters.snapshot();
        assert!(ledger.balances());
        assert_eq!(ledger.lost(), 1);
        let json = serde_json::to_string(&ledger).expect("serialises");
        assert_eq!(json, r#"{"exchanges":{"seen":10,"kept":6,"dropped":{"filter:method":3,"queue_full":1}}}"#);
        assert_eq!(serde_json::from_str::<Ledger>(&json).expect("reads"), ledger);
        assert_eq!(ledger.lost_by_weir(), 1);
    }

    #[test]
    fn a_session_takes_its_counts_with_it_and_leaves_what_is_under_way() {
        let (counters, ended) = (Counters::default(), Counters::default());
        counters.seen(Layer::Exchanges, 10);
        counters.kept(Layer::Exchanges, 4);
        counters.dropped(Layer::Exchanges, "filter:method", 1);
        counters.dropped(Layer::Exchanges, "queue_full", 2);
        counters.seen(Layer::Bodies, 3);
        counters.kept(Layer::Bodies, 3);
        let mut seen = [0; Layer::ALL.len()];
        // One of those taken is not on disk yet.
        seen[Layer::Exchanges as usize] = 6;
        counters.hand_over(&ended, seen, &["queue_full"]);
        ended.kept(Layer::Exchanges, 1);
        assert!(ended.snapshot().balances(), "{:?}", ended.snapshot());
        let left = counters.snapshot();
        assert_eq!(left.layer(Layer::Exchanges).map(|tally| (tally.seen, tally.kept)), Some((2, 0)));
        assert_eq!((left.lost(), left.layer(Layer::Bodies)), (0, None));
    }

    #[test]
    fn counters_follow_another_ledger_also_back() {
        let counters = Counters::default();
        let mut before = Ledger::default();
        let mut now = Ledger::default();
        *now.layer_mut(Layer::HttpMessages) = Tally { seen: 5, kept: 5, ..Tally::default() };
        counters.advance(&before, &now);
        before = now.clone();
        let tally = now.layer_mut(Layer::HttpMessages);
        (tally.seen, tally.kept) = (6, 4);
        tally.dropped.insert("unproven".to_owned(), 2);
        tally.noted.insert("response_missing".to_owned(), 1);
        counters.advance(&before, &now);
        assert_eq!(counters.snapshot(), now);
        assert!(now.balances());
        assert_eq!((now.lost(), now.lost_by_weir()), (2, 0));
    }
}
