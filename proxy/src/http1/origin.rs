//! A connection to a server for the next request: from the pool, or made.
//!
//! In: an [`Origin`]. Out: a [`Server`] that is ready for a request, with TLS on it where it must be.

use std::rc::Rc;

use weir_engine::record::Fault;

use super::{
    pool::{Origin, Server},
    wire::Wire,
};
use crate::{
    client::Client,
    dial::{self, Purpose},
    failure::Failure,
    hooks::Alpn,
};

/// A connection to `origin`; `fresh`: not one that served before.
///
/// # Errors
/// Why there is none.
pub async fn acquire(client: &Rc<Client>, origin: &Origin, fresh: bool) -> Result<Box<Server>, Failure> {
    let core = &client.core;
    let now_ms = core.watches.now_ms();
    if !fresh && let Some(server) = core.pool.take(origin, now_ms, &core.slabs) {
        return Ok(server);
    }
    let timeouts = core.config().upstream.timeouts;
    let purpose = if origin.secure { Purpose::Tunnel } else { Purpose::PlainHttp };
    client.watch.arm(timeouts.connect * 2);
    let dialled = client
        .watch
        .guard(dial::dial(core, &origin.host, origin.port, purpose))
        .await
        .map_err(|interrupt| interrupted(interrupt, Fault::ConnectTimeout))??;
    let mut server = Box::new(Server::new(Wire::new(dialled.stream), dialled.address, now_ms));
    server.dns_us = dialled.dns_us;
    server.connect_us = dialled.connect_us;
    if !origin.secure {
        return Ok(server);
    }
    let Some(interceptor) = core.shared.hooks.interceptor.clone() else {
        return Err(Failure::new(Fault::UpstreamTlsFailed, "TLS is not set up in this proxy."));
    };
    client.watch.arm(timeouts.handshake);
    let offer = [Alpn::Http11];
    let secured = client
        .watch
        .guard(interceptor.secure(server.wire.into_stream(), origin.server_name(), &offer))
        .await
        .map_err(|interrupt| interrupted(interrupt, Fault::UpstreamTlsFailed))??;
    server.wire = Wire::new(secured.stream);
    server.tls_us = Some(secured.tls_us);
    server.tls = Some(secured.tls);
    Ok(server)
}

fn interrupted(interrupt: crate::watch::Interrupt, late: Fault) -> Failure {
    match interrupt {
        crate::watch::Interrupt::Stopped => Fault::Stopped.into(),
        crate::watch::Interrupt::Deadline => Failure::new(late, "The server did not answer in time."),
    }
}
