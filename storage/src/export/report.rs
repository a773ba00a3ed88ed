//! What an export wrote, left out, cut or hid, and why: counted while it is written, said in the output
//! and to whoever asked for it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $words:literal;)*) => {
        /// Why something is not in an export as it was recorded. Codes are added, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[doc = $doc])* $name,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What stands before the number.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

reasons! {
    /// The request was never seen.
    NoRequest = "no_request", "left out, the request was not seen";
    /// CONNECT: a tunnel is not a request to a server.
    Tunnel = "tunnel", "left out, CONNECT tunnels";
    /// A WebSocket cannot be expressed as a request.
    WebSocket = "websocket", "left out, WebSockets, which this format cannot express";
    /// The method is none that the format knows.
    Method = "method", "left out, methods that this format cannot express";
    /// Without a response.
    NoResponse = "no_response", "requests without a response";
    /// The collection that was merged into has it.
    AlreadyThere = "already_there", "left out, the collection had them already";
    /// The body is not in the session.
    BodyNotStored = "body_not_stored", "bodies that were not stored while recording";
    /// The session holds only a part of the body.
    BodyCut = "body_cut", "bodies of which only a part was recorded";
    /// The content coding cannot be undone.
    BodyUndecodable = "body_undecodable", "bodies left out whose content coding cannot be undone";
    /// The body does not fit what the format or the place can carry.
    BodyLeftOut = "body_left_out", "bodies that this format cannot carry (--files DIR saves them)";
    /// The body of an example is longer than its budget.
    ExampleCut = "example_cut", "example bodies cut to the size budget (--example-size)";
    /// The body of an example is not text.
    ExampleBinary = "example_binary", "example bodies that are not text (--files DIR saves them)";
    /// A request body that was sent compressed is written decoded.
    CodingRemoved = "coding_removed", "request bodies written decoded, without their Content-Encoding";
    /// Characters that the format cannot carry were replaced.
    TextChanged = "text_changed", "texts changed, with characters that this format cannot carry";
    /// A header line that cannot be sent.
    HeaderLeftOut = "header_left_out", "header lines left out that cannot be sent or are too long";
    /// A cell that a spreadsheet would take for a formula.
    FormulaGuarded = "formula_guarded", "cells guarded against being read as formulas";
    /// Messages past what one exchange may carry.
    MessagesCut = "messages_cut", "exchanges whose messages were cut";
    /// Text that looks like a variable, past the number that can be escaped.
    VariableBroken = "variable_broken", "texts changed from {{this}} to { {this}}";
    /// A document that merges what it sees has reached its size.
    SummaryLimit = "summary_limit", "left out, endpoints and properties past the limit of the document";
}

impl Reason {
    /// Whether it concerns whole exchanges that are not in the output.
    #[must_use]
    pub const fn leaves_out(self) -> bool {
        matches!(self, Self::NoRequest | Self::Tunnel | Self::WebSocket | Self::Method | Self::AlreadyThere)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What became of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Exchanges that the filter chose.
    pub chosen: u64,
    /// Those of them that are in the output.
    pub exported: u64,
    /// What is not in the output as it was recorded, by reason.
    pub notes: BTreeMap<Reason, u64>,
    /// Credentials hidden.
    pub hidden: u64,
    /// Files saved beside the output.
    pub files: u64,
    /// Bytes of the output, without the files beside it.
    pub bytes: u64,
    /// Parts of the session that could not be read, as sentences.
    pub warnings: Vec<String>,
}

impl Report {
    /// Counts something.
    pub(crate) fn note(&mut self, reason: Reason) {
        self.note_many(reason, 1);
    }

    /// Counts several of the same.
    pub(crate) fn note_many(&mut self, reason: Reason, count: u64) {
        if count > 0 {
            *self.notes.entry(reason).or_default() += count;
        }
    }

    /// Adds what another part of the same export counted.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { chosen, exported, hidden, notes, files, bytes, warnings } = other;
        self.chosen += chosen;
        self.exported += exported;
        self.hidden += hidden;
        self.files += files;
        self.bytes += bytes;
        self.warnings.extend(warnings);
        notes.into_iter().for_each(|(reason, count)| self.note_many(reason, count));
    }

    /// Sentences for people: what was left out, changed and hidden.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> =
            self.notes.iter().map(|(reason, count)| format!("{}: {count}", reason.words())).collect();
        if self.hidden > 0 {
            sentences.push(format!("credentials hidden (--with-secrets shows them): {}", self.hidden));
        }
        sentences
    }

    /// The same as one line for a comment in a document.
    pub(crate) fn comment(&self) -> String {
        let mut line = format!("{} of {} exchanges", self.exported, self.chosen);
        for sentence in self.sentences() {
            line.push_str("; ");
            line.push_str(&sentence);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sentences_count() {
        let mut codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
        let mut report = Report { chosen: 3, exported: 2, hidden: 1, ..Report::default() };
        report.note(Reason::Tunnel);
        assert_eq!(
            report.comment(),
            "2 of 3 exchanges; left out, CONNECT tunnels: 1; credentials hidden (--with-secrets shows them): 1"
        );
    }
}
