//! The columns of `exchanges` that a condition may name, and what kind of value each holds.

/// What a column holds, and so what it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// UTF-8 text.
    Text,
    /// An unsigned integer.
    Integer,
    /// Microseconds since the Unix epoch, UTC.
    Timestamp,
    /// 32 bytes: a BLAKE3 hash.
    Binary,
}

impl ColumnKind {
    /// The kind as a noun, for messages.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer",
            Self::Timestamp => "a timestamp",
            Self::Binary => "a hash",
        }
    }
}

macro_rules! columns {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal $kind:ident,)*) => {
        /// A column of `exchanges` with one plain value a row, in the order of the schema.
        ///
        /// The two header lists are reached as [`Field::Header`](super::Field::Header).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Column { $($(#[doc = $doc])* $name,)* }

        impl Column {
            /// Every column, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The column's name, the same in Parquet, JSON and the filter language.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the column holds.
            #[must_use]
            pub const fn kind(self) -> ColumnKind {
                match self { $(Self::$name => ColumnKind::$kind,)* }
            }
        }
    };
}

columns! {
    /// Position in the session.
    Id = "id" Integer,
    /// Way into weir.
    Source = "source" Text,
    /// Label of the client.
    Device = "device" Text,
    /// Address and port of the client.
    Client = "client" Text,
    /// Address and port of the server.
    Server = "server" Text,
    /// Row in `connections`.
    Connection = "connection" Integer,
    /// First byte of the request.
    Started = "started" Timestamp,
    /// `HTTP/1.1`, `HTTP/2`, …
    Protocol = "protocol" Text,
    /// Request method, case as seen.
    Method = "method" Text,
    /// `http`, `https`, `ws`, `wss`.
    Scheme = "scheme" Text,
    /// Host, lower case, no port.
    Domain = "domain" Text,
    /// Media type of the response without parameters.
    Type = "type" Text,
    /// Group of media types.
    Category = "category" Text,
    /// Port of the server as requested.
    Port = "port" Integer,
    /// Path of the URL.
    Path = "path" Text,
    /// Query of the URL without its `?`.
    Query = "query" Text,
    /// The complete URL.
    Url = "url" Text,
    /// Path with ids replaced.
    Endpoint = "endpoint" Text,
    /// Status code; null: no response seen.
    Status = "status" Integer,
    /// Reason phrase.
    Reason = "reason" Text,
    /// Stable code of what went wrong.
    Error = "error" Text,
    /// BLAKE3 of the request body.
    RequestBody = "request_body" Binary,
    /// BLAKE3 of the response body.
    ResponseBody = "response_body" Binary,
    /// Request body bytes on the wire.
    RequestSize = "request_size" Integer,
    /// Response body bytes on the wire.
    ResponseSize = "response_size" Integer,
    /// What became of the request body.
    RequestBodyState = "request_body_state" Text,
    /// What became of the response body.
    ResponseBodyState = "response_body_state" Text,
    /// Request start to response end.
    DurationUs = "duration_us" Integer,
    /// Name look-up.
    DnsUs = "dns_us" Integer,
    /// TCP connect.
    ConnectUs = "connect_us" Integer,
    /// TLS handshake.
    TlsUs = "tls_us" Integer,
    /// Request end to response start.
    WaitUs = "wait_us" Integer,
    /// Response start to response end.
    ReceiveUs = "receive_us" Integer,
    /// Process of the client, where known.
    Process = "process" Text,
    /// Its process id.
    Pid = "pid" Integer,
    /// Oddities, a set of bits.
    Flags = "flags" Integer,
}

impl Column {
    /// The column of this name, without regard to case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name().eq_ignore_ascii_case(name))
    }

    /// The column whose name is nearest to `name`, when it is near enough to be meant.
    #[must_use]
    pub fn nearest(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        // Words that other tools use for the same thing.
        let alias = match name.as_str() {
            "host" | "hostname" => Some(Self::Domain),
            "code" | "status_code" => Some(Self::Status),
            "content_type" | "media_type" | "mime" => Some(Self::Type),
            "time" | "timestamp" | "date" => Some(Self::Started),
            "duration" | "latency" => Some(Self::DurationUs),
            "size" => Some(Self::ResponseSize),
            "verb" => Some(Self::Method),
            _ => None,
        };
        alias.or_else(|| nearest(&name, Self::ALL.iter().map(|column| column.name())).and_then(Self::parse))
    }
}

/// The candidate nearest to `word` by edit distance, when it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let near = |candidate: &'a str| {
        let distance = distance(word, candidate);
        (distance <= limit).then_some((distance, candidate))
    };
    if word.len() > 64 {
        return None;
    }
    candidates.filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edit distance with exchanges of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_guessed() {
        for &column in Column::ALL {
            assert_eq!(Column::parse(column.name()), Some(column));
        }
        assert_eq!(Column::parse("STATUS"), Some(Column::Status));
        assert_eq!(Column::nearest("domian"), Some(Column::Domain));
        assert_eq!(Column::nearest("host"), Some(Column::Domain));
        assert_eq!(Column::nearest("methd"), Some(Column::Method));
        assert_eq!(Column::nearest("xyzzy"), None);
    }
}
