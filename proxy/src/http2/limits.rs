//! The bounds of HTTP/2 connections: streams, heads, windows, resets, silence.

use std::time::Duration;

use crate::config::ProxyConfig;

/// Bounds of HTTP/2, for both sides.
#[derive(Debug, Clone)]
pub struct Http2Limits {
    /// Streams a client may have open at once on one connection.
    pub max_concurrent_streams: u32,
    /// Decoded size of a head (RFC 9113 §6.5.2, `SETTINGS_MAX_HEADER_LIST_SIZE`).
    pub max_header_list_size: u32,
    /// Flow-control window of a stream: what one slow reader makes weir hold at most.
    pub stream_window: u32,
    /// Flow-control window of a connection.
    pub connection_window: u32,
    /// Bytes of one stream that wait to be written.
    pub max_send_buffer: usize,
    /// Streams reset by the peer before they were looked at (rapid reset, CVE-2023-44487).
    pub max_pending_resets: usize,
    /// Streams reset by weir because the peer broke the protocol.
    pub max_error_resets: usize,
    /// Connections to one origin on one core.
    pub max_connections_per_origin: usize,
    /// Silence before a connection to a server is asked whether it lives (PING).
    pub ping_after: Duration,
    /// How long the answer to that may take.
    pub ping_timeout: Duration,
    /// How long a connection without streams stays open.
    pub idle_timeout: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 256,
            max_header_list_size: 64 << 10,
            stream_window: 256 << 10,
            connection_window: 2 << 20,
            max_send_buffer: 128 << 10,
            max_pending_resets: 64,
            max_error_resets: 256,
            max_connections_per_origin: 16,
            ping_after: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(90),
        }
    }
}

impl Http2Limits {
    /// Towards clients, as configured.
    #[must_use]
    pub fn towards_clients(config: &ProxyConfig) -> Self {
        Self { idle_timeout: config.limits.client_idle, ..Self::towards_servers(config) }
    }

    /// Towards servers, as configured.
    #[must_use]
    pub fn towards_servers(config: &ProxyConfig) -> Self {
        Self {
            max_header_list_size: u32::try_from(config.limits.head_bytes).unwrap_or(u32::MAX),
            idle_timeout: config.upstream.timeouts.pool_idle,
            ..Self::default()
        }
    }
}
