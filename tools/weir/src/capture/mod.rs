//! `weir capture`: puts the parts together, watches over them, and takes them apart in order.
//!
//! - [`options`]: flags into the libraries' configurations.
//! - [`ports`], [`addresses`]: where to listen, and what phones see.
//! - [`packets`]: interfaces whose packets are recorded too. [`privileges`]: what is given up before.
//! - [`per_device`]: a session for each device beside that of the capture.
//! - [`running`]: the parts while they run, and how they are steered and stopped.
//! - [`watch`]: signals, `--duration`, the status line.
//! - [`welcome`], [`live`], [`rate`]: what users see meanwhile.

mod addresses;
pub(crate) mod live;
mod options;
mod packets;
mod per_device;
pub(crate) mod ports;
mod privileges;
mod rate;
mod running;
mod watch;
pub(crate) mod welcome;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, WhenFull, queue},
};
use weir_proxy::{Proxy, ca::Authority};
use weir_storage::{Catalogue, Home, Labels, Recorder, SessionEntry, SessionState};

use self::{
    options::Options,
    running::Running,
    welcome::{Stopped, Welcome},
};
use crate::{
    api::{
        Server,
        token::{Token, TokenFile},
    },
    cli::CaptureArgs,
    outcome::Outcome,
    output::{Out, units},
    trust::{self, Anchor, Machine, Target, Trust},
};

/// Batches between proxy and recorder at most: 64 MiB of large bodies, 16 thousand small exchanges. More would only be a longer
/// wait in more memory.
const QUEUE_BATCHES: usize = 64;
/// What is under way at a stop gets this long to end.
const GRACE: Duration = Duration::from_secs(3);

/// Runs a capture from start to end.
pub(crate) fn run(args: &CaptureArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let options = Options::from_args(args)?;
    // First, while this is the only thread: what follows runs without the rights that packets do not need.
    let packets = options.packets.clone().map(packets::Opened::open).transpose()?;
    if packets.is_some() {
        privileges::drop_others(home, options.listen().map(|listen| listen.port()));
    }
    let watch = watch::Watch::begin()?;
    recover(home)?;
    let authority = match options.listen() {
        Some(listen) => {
            ports::check(listen, "--proxy")?;
            Some(Arc::new(Authority::load_or_create(&home.ca_dir())?))
        }
        None => None,
    };
    let ui = options.ui.map(options::Ui::bind).transpose()?;
    let ui_address = ui.as_ref().map(std::net::TcpListener::local_addr).transpose()?;

    let (sender, receiver) = queue(QUEUE_BATCHES);
    let counters = Arc::new(Counters::default());
    let ids = Arc::new(Ids::default());
    let budget = Budget::new(options.memory);
    let when_full = if args.shed { WhenFull::Shed } else { WhenFull::Wait };
    let labels = Labels::load(home)?;
    let recorder_options = options.recorder(home, &labels);
    // Between the proxy and the recorder stands the router, where each device has a session.
    let (rest, unrouted) = queue(QUEUE_BATCHES);
    let (receiver, routed) =
        if args.session_per_device { (unrouted, Some((receiver, rest))) } else { (receiver, None) };
    let recorder = Recorder::start(recorder_options.clone(), receiver, Arc::clone(&counters), Arc::clone(&ids))?;
    let session = recorder.id();
    let devices = routed
        .map(|(receiver, rest)| {
            let plan = per_device::Plan {
                options: recorder_options,
                parent: session,
                ui: ui_address.map(|ui| ui.to_string()),
                ids: Arc::clone(&ids),
                counters: Arc::clone(&counters),
            };
            per_device::PerDevice::start(plan, labels, receiver, rest)
        })
        .transpose()?;

    let keep = Arc::clone(&options.proxy.keep);
    let interfaces = packets.as_ref().map_or_else(Vec::new, |packets| packets.interfaces().to_vec());
    let begun = (|| {
        // The proxy's clients can be slowed down; packets cannot.
        let shedding = Outlet::new(sender.clone(), Arc::clone(&counters), WhenFull::Shed);
        let outlet = Outlet::new(sender, Arc::clone(&counters), when_full);
        let proxy = authority.as_ref().map(|authority| {
            let mut config = options.proxy.clone();
            config.refuse.extend(ui_address);
            Proxy::start(config, Arc::clone(authority), outlet, Arc::clone(&ids), budget.clone())
        });
        let proxy = proxy.transpose()?;
        let packets = packets.map(|packets| {
            let folder = home.packets_dir(&session);
            let save = packets.saves().then(|| (folder.as_path(), options.filters.clone()));
            packets.start(&shedding, &ids, &budget, &keep, save)
        });
        let packets = packets.transpose()?;
        anyhow::Ok((proxy, packets))
    })();
    let (proxy, packets) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing was recorded: no session is left behind.
            devices.map_or(Ok(()), per_device::PerDevice::finish)?;
            recorder.finish()?;
            Catalogue::open(home).delete(&session)?;
            return Err(error);
        }
    };
    let address = proxy.as_ref().map(Proxy::local_addr);
    let entry = recorder.update_entry(|entry| {
        entry.proxy = address.map(|address| address.to_string());
        entry.ui = ui_address.map(|ui| ui.to_string());
    })?;

    let running = Arc::new(Running::new(
        home.clone(),
        counters,
        budget,
        keep,
        running::Begun { recorder, devices, proxy, packets, entry },
    ));
    let api = Api::start(ui, home, &session.to_string(), &running)?;
    let proxy = address.zip(authority.as_deref());
    announce(&options, proxy, &interfaces, home, &running, &api, out)?;

    let entry = watch.until_stopped(&running, args.duration, out.json)?;
    drop(api);
    report(&entry, out)?;
    if entry.state == SessionState::Failed {
        bail!(
            "session {session} could not be put into the lake: {}; its {} are kept and weir reads them, other programs \
             do not; see to the disk and record again",
            entry.last_error.as_deref().unwrap_or("the cause is in the log"),
            units::counted(entry.exchanges, "exchange", "exchanges")
        );
    }
    // Packets that were not there (gaps, connections that had begun before) are the line's doing, not weir's.
    let lost = if interfaces.is_empty() {
        entry.ledger.lost()
    } else {
        entry.ledger.lost_by_weir() + packets::lost(&entry.ledger)
    };
    Ok(if lost > 0 { Outcome::Lost } else { Outcome::Done })
}

/// Closes sessions whose process died, with a notice.
pub(crate) fn recover(home: &Home) -> Result<()> {
    let recovered = Catalogue::open(home).recover().context("an earlier session could not be recovered")?;
    for entry in recovered {
        TokenFile::sweep(home.root(), &entry.id.to_string());
        eprintln!(
            "recovered session {} ({}): {} on disk",
            crate::output::text::one_line(&entry.name),
            entry.id,
            units::counted(entry.exchanges, "exchange", "exchanges")
        );
    }
    Ok(())
}

/// The control API with its token, or none.
struct Api {
    link: Option<String>,
    _token_file: Option<TokenFile>,
    server: Mutex<Option<Server>>,
}

impl Api {
    fn start(
        listener: Option<std::net::TcpListener>,
        home: &Home,
        session: &str,
        running: &Arc<Running>,
    ) -> Result<Self> {
        let Some(listener) = listener else {
            return Ok(Self { link: None, _token_file: None, server: Mutex::new(None) });
        };
        let token = Token::generate().context("no random bytes for the token")?;
        let file = TokenFile::write(home.root(), session, &token).context("the token's file cannot be written")?;
        let server = Server::start(listener, token.clone(), Arc::clone(running) as Arc<dyn crate::api::Steer>)?;
        let link = format!("http://{}/?token={}", server.address(), token.as_str());
        Ok(Self { link: Some(link), _token_file: Some(file), server: Mutex::new(Some(server)) })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            server.stop();
        }
    }
}

fn announce(
    options: &Options,
    proxy: Option<(SocketAddr, &Authority)>,
    interfaces: &[String],
    home: &Home,
    running: &Running,
    api: &Api,
    out: &mut Out,
) -> Result<()> {
    use crate::api::Steer;
    let status = running.status();
    let proxy = proxy.map(|(address, authority)| welcome::ProxyFacts {
        address,
        ca: authority.certificate_path().unwrap_or_else(|| home.ca_dir()),
        trusted: is_trusted(authority),
        phones: if address.ip().is_unspecified() { addresses::reachable(address.port()) } else { Vec::new() },
        auth: options.proxy.auth.as_ref(),
    });
    let welcome = Welcome {
        session: &status.session,
        name: &status.name,
        proxy,
        interfaces,
        ui: api.link.as_deref(),
        filters: status.filters.as_deref(),
    };
    welcome.print(out)?;
    Ok(())
}

/// Whether the system's store, which most programs use, trusts the CA.
fn is_trusted(authority: &Authority) -> bool {
    let status = |machine| trust::status(&Anchor::of(authority), &[Target::System], &machine);
    let stores = Machine::this().map(status).unwrap_or_default();
    stores.iter().any(|(_, trust)| *trust == Trust::Trusted)
}

fn report(entry: &SessionEntry, out: &mut Out) -> Result<()> {
    use std::io::Write;
    let id = entry.id.to_string();
    if out.json {
        out.json_line(&Stopped::new(&id, entry.exchanges, &entry.ledger))?;
    } else {
        let exchanges = units::counted(entry.exchanges, "exchange", "exchanges");
        let name = crate::output::text::one_line(&entry.name).into_owned();
        writeln!(out, "recorded {exchanges} in session {name} ({id}); weir overview shows them")?;
        match entry.ledger.lost() {
            0 => {}
            lost => writeln!(out, "{} lost; weir ledger says why", units::count(lost))?,
        }
    }
    out.flush()?;
    Ok(())
}
