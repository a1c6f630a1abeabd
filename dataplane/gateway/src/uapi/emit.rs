//! Writes requests and answers as text.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use super::types::{DeviceSnapshot, PeerRequest, PeerSnapshot, SetRequest};
use crate::keys::{Hex, KEY_LEN, Secret};

impl SetRequest {
    /// Writes the request as `wg` would, with the empty line that ends it.
    ///
    /// # Errors
    /// Only those of `out`.
    pub fn emit(&self, out: &mut impl Write) -> fmt::Result {
        out.write_str("set=1\n")?;
        if let Some(key) = &self.private_key {
            writeln!(out, "private_key={}", Hex(key.bytes()))?;
        }
        if let Some(port) = self.listen_port {
            writeln!(out, "listen_port={port}")?;
        }
        if let Some(mark) = self.fwmark {
            writeln!(out, "fwmark={mark}")?;
        }
        if self.replace_peers {
            out.write_str("replace_peers=true\n")?;
        }
        for peer in &self.peers {
            peer.emit(out)?;
        }
        out.write_str("\n")
    }
}

impl PeerRequest {
    fn emit(&self, out: &mut impl Write) -> fmt::Result {
        writeln!(out, "public_key={}", Hex(&self.public_key.0))?;
        if self.update_only {
            out.write_str("update_only=true\n")?;
        }
        if self.remove {
            out.write_str("remove=true\n")?;
        }
        if let Some(key) = &self.preshared_key {
            writeln!(out, "preshared_key={}", Hex(key.bytes()))?;
        }
        if let Some(endpoint) = self.endpoint {
            emit_endpoint(endpoint, out)?;
        }
        if let Some(seconds) = self.keepalive_s {
            writeln!(out, "persistent_keepalive_interval={seconds}")?;
        }
        if self.replace_allowed_ips {
            out.write_str("replace_allowed_ips=true\n")?;
        }
        for ip in &self.allowed_ips {
            writeln!(out, "allowed_ip={}{}", if ip.remove { "-" } else { "" }, ip.prefix)?;
        }
        Ok(())
    }
}

/// The answer to `get=1`, written piece by piece, so that a slow client of a large interface costs one buffer.
#[derive(Debug)]
pub struct GetReply {
    snapshot: DeviceSnapshot,
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Interface,
    /// The facts of a peer but for its allowed IPs.
    Peer(usize),
    /// An allowed IP of a peer.
    AllowedIp(usize, usize),
    Nothing,
}

impl GetReply {
    /// An answer of which nothing is written yet.
    pub fn new(snapshot: DeviceSnapshot) -> Self {
        Self { snapshot, next: Next::Interface }
    }

    /// Writes on until `out` holds `len_bytes` (or some hundred more) or nothing is left; says whether anything is.
    pub fn fill(&mut self, out: &mut String, len_bytes: usize) -> bool {
        while out.len() < len_bytes {
            // Formatting into a string does not fail.
            self.next = self.step(out).unwrap_or(Next::Nothing);
            if matches!(self.next, Next::Nothing) {
                return false;
            }
        }
        true
    }

    /// Writes the next piece; says what comes after it.
    fn step(&self, out: &mut String) -> Result<Next, fmt::Error> {
        let peers = &self.snapshot.peers;
        match self.next {
            Next::Interface => {
                emit_interface(&self.snapshot, out)?;
                Ok(Next::Peer(0))
            }
            Next::Peer(at) => match peers.get(at) {
                Some(peer) => {
                    emit_peer(peer, out)?;
                    Ok(Next::AllowedIp(at, 0))
                }
                None => {
                    out.write_str("errno=0\n\n")?;
                    Ok(Next::Nothing)
                }
            },
            Next::AllowedIp(at, ip) => match peers.get(at).and_then(|peer| peer.allowed_ips.get(ip)) {
                Some(prefix) => {
                    writeln!(out, "allowed_ip={prefix}")?;
                    Ok(Next::AllowedIp(at, ip + 1))
                }
                None => Ok(Next::Peer(at + 1)),
            },
            Next::Nothing => Ok(Next::Nothing),
        }
    }
}

fn emit_interface(snapshot: &DeviceSnapshot, out: &mut String) -> fmt::Result {
    if let Some(key) = &snapshot.private_key {
        writeln!(out, "private_key={}", Hex(key.bytes()))?;
    }
    if snapshot.listen_port != 0 {
        writeln!(out, "listen_port={}", snapshot.listen_port)?;
    }
    if snapshot.fwmark != 0 {
        writeln!(out, "fwmark={}", snapshot.fwmark)?;
    }
    Ok(())
}

fn emit_peer(peer: &PeerSnapshot, out: &mut String) -> fmt::Result {
    writeln!(out, "public_key={}", Hex(&peer.public_key.0))?;
    let preshared_key = peer.preshared_key.as_ref().map_or(&[0; KEY_LEN], Secret::bytes);
    writeln!(out, "preshared_key={}", Hex(preshared_key))?;
    out.write_str("protocol_version=1\n")?;
    if let Some(endpoint) = peer.endpoint {
        emit_endpoint(endpoint, out)?;
    }
    writeln!(out, "last_handshake_time_sec={}", peer.last_handshake.as_secs())?;
    writeln!(out, "last_handshake_time_nsec={}", peer.last_handshake.subsec_nanos())?;
    writeln!(out, "tx_bytes={}", peer.tx_bytes)?;
    writeln!(out, "rx_bytes={}", peer.rx_bytes)?;
    writeln!(out, "persistent_keepalive_interval={}", peer.keepalive_s)
}

/// `SocketAddr` shows itself as the protocol wants it: brackets around IPv6, a numeric zone behind a percent sign.
fn emit_endpoint(endpoint: SocketAddr, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "endpoint={endpoint}")
}
