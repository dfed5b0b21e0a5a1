//! The ports: bound before anything else is done, so that a taken one ends the start at once.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use crate::access::policy::DataPlaneAuth;
use crate::serve::edge::Port;
use crate::serve::listen::Listener;
use crate::serve::tls;
use crate::serve::transport::Place;

use super::settings::Settings;

/// What is bound.
pub(super) struct Ports {
    /// The ports of the data plane.
    pub(super) data: Vec<Port>,
    /// The admin plane.
    pub(super) admin: Listener,
    /// Where the data plane is, for people: names and URLs.
    pub(super) urls: Vec<(&'static str, String)>,
}

/// One wanted listener: its name, the options that name it, and where.
struct Wanted<'s> {
    name: &'static str,
    options: &'static str,
    address: Option<SocketAddr>,
    socket: Option<&'s Path>,
    /// Whether it speaks TLS where there is a certificate.
    tls: bool,
}

/// Binds everything that the settings name. Every port of the data plane serves all of it, over TLS where there is a
/// certificate. flagd's port for OFREP stays plain HTTP even then, as it is there, since its clients count on that; it
/// serves nothing but OFREP then.
pub(super) fn bind(settings: &Settings) -> anyhow::Result<Ports> {
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(tls::load(cert, key)?),
        _ => None,
    };
    let wanted = [
        Wanted {
            name: "data",
            options: "--listen, or --port of `start`",
            address: Some(settings.listen),
            socket: settings.listen_socket.as_deref(),
            tls: true,
        },
        Wanted {
            name: "sync",
            options: "--sync-listen, or --sync-port of `start`",
            address: settings.sync_listen,
            socket: settings.sync_socket.as_deref(),
            tls: true,
        },
        Wanted {
            name: "ofrep",
            options: "--ofrep-listen, or --ofrep-port of `start`",
            address: settings.ofrep_listen,
            socket: None,
            tls: false,
        },
    ];
    let (mut data, mut urls, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for wanted in wanted {
        let Some(listener) = listen(&wanted, settings.limits.backlog)? else { continue };
        let place = listener.place()?;
        let only_ofrep = tls.is_some() && !wanted.tls;
        let tls = tls.clone().filter(|_| wanted.tls);
        let url = match &place {
            Place::Tcp(address) if tls.is_some() => format!("https://{address}"),
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(_) => place.to_string(),
        };
        tracing::info!(port = wanted.name, %url, "bound");
        open.extend(matches!(place, Place::Tcp(address) if !address.ip().is_loopback()).then(|| place.to_string()));
        if only_ofrep && matches!(place, Place::Tcp(address) if !address.ip().is_loopback()) {
            tracing::warn!(%url, "OFREP is served here without TLS, tokens and contexts included; close the port where nobody needs it");
        }
        data.push(Port { name: wanted.name, listener: listener.with_tls(tls), only_ofrep });
        urls.push((wanted.name, url));
    }
    if settings.data_plane_auth == DataPlaneAuth::Optional && !open.is_empty() {
        tracing::warn!(
            listen = open.join(" "),
            "everybody who reaches the data plane may evaluate; PUT /v1/environments/ENV with dataPlaneAuth \"required\" asks for tokens"
        );
    }
    let admin = Listener::bind(settings.admin_listen, settings.limits.backlog).with_context(|| {
        format!("cannot listen on {} (--admin-listen, or --management-port of `start`)", settings.admin_listen)
    })?;
    tracing::info!(port = "admin", url = %format!("http://{}", admin.local_addr()?), "bound");
    Ok(Ports { data, admin, urls })
}

fn listen(wanted: &Wanted<'_>, backlog: u32) -> anyhow::Result<Option<Listener>> {
    if let Some(path) = wanted.socket {
        let bound = Listener::bind_unix(path);
        return bound.map(Some).with_context(|| format!("cannot listen on {} ({} port)", path.display(), wanted.name));
    }
    let Some(address) = wanted.address else { return Ok(None) };
    let bound = Listener::bind(address, backlog);
    bound.map(Some).with_context(|| format!("cannot listen on {address} ({})", wanted.options))
}
