//! The peers, and how they get their sessions.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use dataplane_aead::{Aead, Cipher, Key, SealInPlaceDesc, Span};
use dataplane_perf::end::{End, host, way};
use dataplane_perf::orders;
use dataplane_proto::keys::Secret;
use dataplane_wire::wireguard::{DATA_HEADER_LEN, DATA_OVERHEAD, Data, Message};
use dataplane_wire::{Span as Bytes, TxMeta, TxSink};

use crate::Run;
use crate::handshake::{Begun, Gateway, Session};

/// Handshakes under way at a time: fewer than what a gateway takes for a flood.
const WINDOW: usize = 32;
/// How long an answer is waited for before another try. Responders refuse a peer's second initiation within 20 to 50 ms.
const RETRY: Duration = Duration::from_millis(500);
/// Least time between two handshakes of a peer: what responders let pass of one.
const PAUSE: Duration = Duration::from_millis(60);

/// One peer.
pub(crate) struct Peer {
    private: Secret,
    /// Where its datagrams go, and from which address.
    pub(crate) way: TxMeta,
    begun: Option<(Begun, Instant)>,
    cookie: Option<[u8; 16]>,
    pub(crate) remote_index: u32,
    pub(crate) counter: u64,
    connected: bool,
    ended: Option<Instant>,
}

/// All of them.
pub(crate) struct Peers {
    gateway: Gateway,
    pub(crate) end: End,
    pub(crate) all: Vec<Peer>,
    /// Two for each peer: for what it sends, for what it receives.
    pub(crate) keys: Vec<Key>,
    pub(crate) cipher: Cipher,
    sealing: Vec<SealInPlaceDesc>,
    next: usize,
    under_way: usize,
    done: u64,
    cookies: u64,
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl Peers {
    pub(crate) fn new(run: &Run) -> io::Result<Self> {
        let end = End::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, run.port), run.burst > 1)?;
        let peer = |number| Peer {
            private: crate::secret(number),
            way: way(SocketAddr::V4(run.gateway), Some(host(run.outer, number))),
            begun: None,
            cookie: None,
            remote_index: 0,
            counter: 0,
            connected: false,
            ended: None,
        };
        Ok(Self {
            gateway: Gateway::new(run.key),
            end,
            all: (0..run.count).map(peer).collect(),
            keys: vec![Key::new([0; 32]); run.count * 2],
            cipher: Cipher::auto(),
            sealing: Vec::new(),
            next: 0,
            under_way: 0,
            done: 0,
            cookies: 0,
        })
    }

    /// Makes a session for each peer and says so to the gateway.
    pub(crate) fn connect_all(&mut self, patience: f64) -> io::Result<()> {
        let start = Instant::now();
        while self.all.iter().any(|peer| !peer.connected) {
            if start.elapsed().as_secs_f64() > patience {
                let missing = self.all.iter().filter(|peer| !peer.connected).count();
                return Err(failed(format!(
                    "{missing} of {} peers never connected within {patience} s",
                    self.all.len()
                )));
            }
            self.begin_some(|peer| !peer.connected)?;
            self.take_answers()?;
        }
        Ok(())
    }

    /// Handshakes as fast as the gateway answers them.
    pub(crate) fn over_and_over(&mut self, seconds: f64) -> io::Result<()> {
        orders::ready()?;
        (self.done, self.cookies) = (0, 0);
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < seconds {
            self.begin_some(|peer| peer.ended.is_none_or(|ended| ended.elapsed() > PAUSE))?;
            self.take_answers()?;
        }
        orders::report(&[
            ("handshakes", self.done as f64),
            ("cookies", self.cookies as f64),
            ("seconds", start.elapsed().as_secs_f64()),
        ]);
        Ok(())
    }

    /// Begins handshakes of peers that want one, as far as the window reaches; begins those anew that wait for too long.
    fn begin_some(&mut self, wants: impl Fn(&Peer) -> bool) -> io::Result<()> {
        for _ in 0..self.all.len() {
            if self.under_way >= WINDOW {
                break;
            }
            let number = self.next;
            self.next = (self.next + 1) % self.all.len();
            if self.all[number].begun.is_none() && wants(&self.all[number]) {
                self.begin(number)?;
                self.under_way += 1;
            }
        }
        let late = |peer: &Peer| peer.begun.as_ref().is_some_and(|(_, since)| since.elapsed() > RETRY);
        for number in 0..self.all.len() {
            if late(&self.all[number]) {
                self.begin(number)?;
            }
        }
        self.end.send();
        Ok(())
    }

    fn begin(&mut self, number: usize) -> io::Result<()> {
        let peer = &mut self.all[number];
        let begun =
            self.gateway.begin(peer.private.bytes(), number as u32, peer.cookie.as_ref()).map_err(failed)?;
        let len = begun.message.len();
        let mut train =
            self.end.tx.reserve_train(&peer.way, len, 1, len).map_err(|_| failed("batch full"))?;
        train.bytes().copy_from_slice(&begun.message);
        train.commit();
        peer.begun = Some((begun, Instant::now()));
        Ok(())
    }

    fn take_answers(&mut self) -> io::Result<()> {
        if !self.end.recv(Duration::from_millis(1))? {
            return Ok(());
        }
        let places: Vec<Bytes> =
            self.end.rx.metas().iter().flat_map(|meta| meta.segments()).map(as_span).collect();
        for place in places {
            let datagram = self.end.rx.arena()[place.range()].to_vec();
            match Message::parse(&datagram) {
                Ok(Message::Response(response)) => {
                    let number = response.receiver() as usize;
                    let Some((begun, _)) = self.all.get_mut(number).and_then(|peer| peer.begun.take()) else {
                        continue;
                    };
                    self.under_way -= 1;
                    let session = begun.finish(&response, &datagram).map_err(failed)?;
                    self.connected(number, session)?;
                }
                Ok(Message::CookieReply(reply)) => {
                    let number = reply.receiver() as usize;
                    let Some(peer) = self.all.get_mut(number) else { continue };
                    let Some((begun, _)) = &peer.begun else { continue };
                    if let Some(cookie) = self.gateway.cookie(begun, &reply) {
                        peer.cookie = Some(cookie);
                        self.cookies += 1;
                        self.begin(number)?;
                    }
                }
                // Data that the gateway sent early, or a keepalive.
                _ => {}
            }
        }
        self.seal_and_send();
        Ok(())
    }

    /// A session is there; an empty packet tells the gateway, which may not send before.
    fn connected(&mut self, number: usize, session: Session) -> io::Result<()> {
        let peer = &mut self.all[number];
        (peer.remote_index, peer.counter, peer.connected) = (session.remote_index, 0, true);
        peer.ended = Some(Instant::now());
        (self.keys[number * 2], self.keys[number * 2 + 1]) = (session.send, session.recv);
        self.done += 1;
        self.write(number, 0, |_| ())
    }

    /// Describes a datagram of a peer around an inner packet of so many bytes, which `fill` writes.
    pub(crate) fn write(
        &mut self,
        number: usize,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> io::Result<()> {
        let peer = &mut self.all[number];
        let padded = len.next_multiple_of(16);
        let whole = padded + DATA_OVERHEAD;
        let mut train =
            self.end.tx.reserve_train(&peer.way, whole, 1, whole).map_err(|_| failed("batch full"))?;
        let text = Span { offset: (train.offset() + DATA_HEADER_LEN) as u32, len: padded as u32 };
        if let Some((header, rest)) = train.bytes().split_first_chunk_mut() {
            Data::emit_header(header, peer.remote_index, peer.counter);
            fill(&mut rest[..len]);
            rest[len..padded].fill(0);
        }
        train.commit();
        self.sealing.push(SealInPlaceDesc {
            key: number as u32 * 2,
            counter: peer.counter,
            aad: Span::default(),
            text,
        });
        peer.counter += 1;
        Ok(())
    }

    /// Seals what was described, and sends it. Returns how many datagrams left.
    pub(crate) fn seal_and_send(&mut self) -> u64 {
        for batch in self.sealing.chunks(dataplane_aead::BATCH_MAX) {
            let sealed = self.cipher.seal_in_place(&self.keys, &[], self.end.tx.arena(), batch);
            debug_assert_eq!(sealed, Ok(()));
        }
        self.sealing.clear();
        self.end.send()
    }
}

/// A segment as a span.
pub(crate) fn as_span((offset, len): (usize, usize)) -> Bytes {
    Bytes { offset: offset as u32, len: len as u32 }
}
