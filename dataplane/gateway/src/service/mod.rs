//! What a program that carries an interface is to those who operate it: metrics, health, word to the service manager, and no
//! more rights than it needs.
//!
//! Enters: an engine with its interface, an address to serve on, the environment of a service manager. Leaves: text, states.
//! Never: a key, a packet, anything whose size depends on the number of peers.

mod exposition;
mod health;
mod metrics;
mod notify;
pub mod privileges;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use dataplane::{Engine, InterfaceHandle};

pub use health::{Health, Verdict};

use crate::http::{Answer, HttpError, Server, Status};
use health::Inquiry;
use notify::Watchdog;

/// How a program is watched.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServiceOptions {
    /// Serves /metrics (Prometheus), /healthz and /readyz over HTTP on this address, such as 127.0.0.1:9586; off by default.
    /// Whoever reaches it may read them.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics: Option<SocketAddr>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address with a port, as 127.0.0.1:9586 or [::1]:9586".to_owned())
}

/// What is reported of: an interface and the engine behind it. It keeps neither alive.
#[derive(Clone)]
pub struct Subject {
    /// The name of the interface.
    pub name: String,
    /// The engine.
    pub engine: Weak<Engine>,
    /// The interface.
    pub handle: InterfaceHandle,
    /// What its watchers have seen.
    pub health: Arc<Health>,
}

/// Watches a subject for as long as it lives: to be dropped before the engine.
#[derive(Debug)]
pub struct Service {
    server: Option<Server>,
    watchdog: Option<Watchdog>,
}

impl Service {
    /// Serves what is asked for, and keeps the watchdog of a service manager quiet while the subject is well.
    ///
    /// # Errors
    /// [`HttpError`]: the address cannot be served. Nothing has been started then.
    pub fn start(subject: &Subject, options: &ServiceOptions) -> Result<Self, HttpError> {
        let server = options.metrics.map(|address| serve(subject.clone(), address)).transpose()?;
        if let Some(server) = &server {
            tracing::info!("metrics are served on http://{}/metrics", server.address());
        }
        Ok(Self { server, watchdog: Watchdog::start(subject.clone()) })
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Tells the service manager, if there is one, that everything stands.
    pub fn ready(&self) {
        notify::ready();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        notify::stopping();
        // The watchdog first: it asks the engine, which may be about to end.
        self.watchdog = None;
        self.server = None;
    }
}

/// The type of Prometheus's text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

fn serve(subject: Subject, address: SocketAddr) -> Result<Server, HttpError> {
    let mut inquiry = Inquiry::new(subject);
    Server::start(address, move |path| answer(&mut inquiry, path))
}

fn answer(inquiry: &mut Inquiry, path: &str) -> Answer {
    let verdict = |verdict: Verdict| match verdict {
        Verdict::Good => Answer::text(Status::Ok, "ok\n"),
        Verdict::Bad(why) => Answer::text(Status::Unavailable, format!("{why}\n")),
    };
    match path {
        "/metrics" => {
            let body = metrics::render(inquiry);
            Answer { status: Status::Ok, content_type: METRICS_TYPE, body }
        }
        "/healthz" => {
            let snapshot = inquiry.snapshot();
            verdict(inquiry.health(&snapshot))
        }
        "/readyz" => {
            let snapshot = inquiry.snapshot();
            verdict(inquiry.readiness(&snapshot))
        }
        _ => Answer::text(Status::NotFound, "there are /metrics, /healthz and /readyz\n"),
    }
}
