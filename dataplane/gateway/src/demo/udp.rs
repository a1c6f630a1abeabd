//! UDP datagrams through the tunnel at a given rate, sent and received in trains where the kernel can.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use super::sandbox::{Networks, Side};

/// Payload of a datagram: what fits an MTU of 1420 with IPv4 and UDP headers.
const DATAGRAM_LEN: usize = 1392;
/// Datagrams of a train: as many as fit one UDP super-packet of 65,507 bytes, and some room.
const TRAIN_MAX: usize = 44;
/// Buffers of one receive call, each for a train.
const RECV_BUFFERS: usize = 8;
const RECV_LEN: usize = 64 * 1024;
/// How often a receiver that hears nothing looks whether it shall stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The longest pause between two trains: a late sender does not make up for more than this.
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// Room for what arrives while the receiver does not run.
const SOCKET_BUFFER_LEN: usize = 8 << 20;

/// A flow of datagrams that goes on until it is dropped.
pub(super) struct Flow {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop_sending: AtomicBool,
    stop: AtomicBool,
    sent: AtomicU64,
    delivered: AtomicU64,
}

impl Flow {
    /// Begins to send so many payload bytes a second.
    pub(super) fn start(networks: &Networks, from: Side, to: Side, bytes_per_s: f64) -> io::Result<Self> {
        let address = IpAddr::V4(to.inner());
        let reader = networks.within(to, || UdpSocket::bind((address, 0)))?;
        let target = reader.local_addr()?;
        let writer = networks.within(from, || UdpSocket::bind((IpAddr::V4(from.inner()), 0)))?;
        let (read_state, write_state) =
            (UdpSocketState::new((&reader).into())?, UdpSocketState::new((&writer).into())?);
        // As much as the system lets an ordinary user have.
        let _ = read_state.set_recv_buffer_size((&reader).into(), SOCKET_BUFFER_LEN);
        reader.set_nonblocking(false)?;
        writer.set_nonblocking(false)?;
        reader.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;
        writer.set_write_timeout(Some(STOP_CHECK_INTERVAL))?;

        let mut flow = Self { shared: Arc::default(), threads: Vec::new() };
        let shared = Arc::clone(&flow.shared);
        let read = std::thread::Builder::new().name("demo-read".into());
        flow.threads.push(read.spawn(move || receive(&reader, &read_state, &shared))?);
        let shared = Arc::clone(&flow.shared);
        let write = std::thread::Builder::new().name("demo-write".into());
        flow.threads.push(write.spawn(move || send(&writer, &write_state, target, bytes_per_s, &shared))?);
        Ok(flow)
    }

    /// Stops to send, lets the last datagrams arrive, and says how many bytes were sent and delivered.
    pub(super) fn settle(&self) -> (u64, u64) {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        std::thread::sleep(2 * STOP_CHECK_INTERVAL);
        (self.shared.sent.load(Ordering::Relaxed), self.delivered_bytes())
    }

    /// Payload bytes that have arrived.
    pub(super) fn delivered_bytes(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.shared.stop_sending.store(true, Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn send(socket: &UdpSocket, state: &UdpSocketState, target: SocketAddr, bytes_per_s: f64, shared: &Shared) {
    let train = TRAIN_MAX.min(state.max_gso_segments().max(1));
    let contents = vec![0xa5; train * DATAGRAM_LEN];
    let segment_size = (train > 1).then_some(DATAGRAM_LEN);
    let transmit =
        Transmit { destination: target, ecn: None, contents: &contents, segment_size, src_ip: None };
    let interval = Duration::from_secs_f64(contents.len() as f64 / bytes_per_s.max(1.0));
    let mut due = Instant::now();
    while !shared.stop_sending.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < due {
            std::thread::sleep((due - now).min(PAUSE_MAX));
            continue;
        }
        due = (due + interval).max(now.checked_sub(PAUSE_MAX).unwrap_or(now));
        // Without a system call that fails for good: a full interface takes the next one.
        if state.try_send(socket.into(), &transmit).is_ok() {
            shared.sent.fetch_add(contents.len() as u64, Ordering::Relaxed);
        }
    }
}

fn receive(socket: &UdpSocket, state: &UdpSocketState, shared: &Shared) {
    let mut memory = vec![vec![0; RECV_LEN]; RECV_BUFFERS];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut buffers: Vec<IoSliceMut<'_>> =
            memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut metas = [RecvMeta::default(); RECV_BUFFERS];
        match state.recv(socket.into(), &mut buffers, &mut metas) {
            Ok(count) => {
                let bytes: usize = metas.iter().take(count).map(|meta| meta.len).sum();
                shared.delivered.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => std::thread::sleep(STOP_CHECK_INTERVAL),
        }
    }
}
