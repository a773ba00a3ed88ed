//! The stable codes of the `error` columns: why a half is missing, or what was cut.

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// Why something is missing, cut or was refused. The code is what users see and filter by;
        /// codes are added, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault { $($(#[doc = $doc])* $name,)* }

        impl Fault {
            /// Every fault there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code in the `error` column.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

faults! {
    /// The server's name has no address.
    DnsFailed = "dns_failed",
    /// The server refused the connection.
    ConnectRefused = "connect_refused",
    /// No answer to the connect within the limit.
    ConnectTimeout = "connect_timeout",
    /// The network says the server cannot be reached.
    ConnectUnreachable = "connect_unreachable",
    /// Connecting failed otherwise.
    ConnectFailed = "connect_failed",
    /// The proxy refuses to dial its own listeners.
    LoopRefused = "loop_refused",
    /// The upstream proxy refused the CONNECT or the request.
    UpstreamProxyFailed = "upstream_proxy_failed",
    /// TLS with the server failed.
    UpstreamTlsFailed = "upstream_tls_failed",
    /// The server's certificate has expired.
    UpstreamCertificateExpired = "upstream_certificate_expired",
    /// The server's certificate is for other names.
    UpstreamCertificateName = "upstream_certificate_name",
    /// The server's certificate comes from no known authority (self-signed ones too).
    UpstreamCertificateUnknownIssuer = "upstream_certificate_unknown_issuer",
    /// The server's certificate is not acceptable otherwise.
    UpstreamCertificateInvalid = "upstream_certificate_invalid",
    /// The client does not trust weir's CA.
    ClientRefusedCa = "client_refused_ca",
    /// TLS with the client failed otherwise.
    ClientTlsFailed = "client_tls_failed",
    /// The server closed before a response was complete.
    ServerClosed = "server_closed",
    /// The server reset the connection.
    ServerReset = "server_reset",
    /// The server was silent past the limit.
    ServerTimeout = "server_timeout",
    /// What the server sent is not HTTP.
    ServerMalformed = "server_malformed",
    /// The response head is over the limit.
    ResponseHeadTooLarge = "response_head_too_large",
    /// The client closed before its request was complete.
    ClientClosed = "client_closed",
    /// The client closed before it had the whole response.
    ClientAborted = "client_aborted",
    /// The client was silent past the limit in the middle of a request.
    ClientTimeout = "client_timeout",
    /// What the client sent is not HTTP.
    ClientMalformed = "client_malformed",
    /// The request could be read in two ways (RFC 9112 §6.3); refused.
    RequestSmuggling = "request_smuggling",
    /// The response could be read in two ways (RFC 9112 §6.3); refused.
    ResponseSmuggling = "response_smuggling",
    /// The request head is over the limit.
    RequestHeadTooLarge = "request_head_too_large",
    /// A chunk size or chunk extension is not acceptable.
    BadChunk = "bad_chunk",
    /// The client did not give the proxy's credentials.
    ProxyAuthRequired = "proxy_auth_required",
    /// Too many connections from this client.
    TooManyConnections = "too_many_connections",
    /// A stream was reset (HTTP/2 RST_STREAM).
    StreamReset = "stream_reset",
    /// The HTTP/2 connection failed.
    Http2Failed = "http2_failed",
    /// weir was stopped while it was under way.
    Stopped = "stopped",
    /// The capture ended before the exchange did (packet path).
    CaptureEnded = "capture_ended",
    /// The response was never seen (packet path).
    ResponseMissing = "response_missing",
    /// The request was never seen (packet path).
    RequestMissing = "request_missing",
    /// Bytes of the message were lost (packet path).
    Gap = "gap",
    /// The flow was dropped to stay within the memory budget (packet path).
    Evicted = "evicted",
    /// A body was cut because the memory budget was used up.
    MemoryLimit = "memory_limit",
    /// A body is longer than what is stored of one body.
    BodyLimit = "body_limit",
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<_> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
        codes.sort_unstable();
        let all = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
