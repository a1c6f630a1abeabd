//! One TCP stream through the tunnel, as fast as it goes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sandbox::{Networks, Side};

/// Bytes of one write.
const WRITE_LEN: usize = 256 * 1024;
/// Bytes of one read.
const READ_LEN: usize = 1024 * 1024;
/// How long a connection may take, and how often a stalled writer looks whether it shall stop.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// A stream that flows until it is dropped.
pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    delivered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Connects `from` with the other side and begins.
    pub(super) fn start(networks: &Networks, from: Side, to: Side) -> io::Result<Self> {
        let address = IpAddr::V4(to.inner());
        let listener = networks.within(to, || TcpListener::bind((address, 0)))?;
        let target = SocketAddr::new(address, listener.local_addr()?.port());
        let writer = networks.within(from, || TcpStream::connect_timeout(&target, CONNECT_TIME_MAX))?;
        let (reader, _) = listener.accept()?;
        writer.set_write_timeout(Some(STOP_CHECK_INTERVAL))?;
        reader.set_read_timeout(Some(STOP_CHECK_INTERVAL))?;

        let (stop, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&delivered));
        let read = std::thread::Builder::new().name("demo-read".into());
        let read = read.spawn(move || receive(reader, &stopped, &count))?;
        let mut stream = Self { stop: Arc::clone(&stop), delivered, threads: vec![read] };
        let write = std::thread::Builder::new().name("demo-write".into());
        stream.threads.push(write.spawn(move || send(writer, &stop))?);
        Ok(stream)
    }

    /// Bytes that have arrived.
    pub(super) fn delivered_bytes(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn send(mut writer: TcpStream, stop: &AtomicBool) {
    let buffer = vec![0x5a; WRITE_LEN];
    while !stop.load(Ordering::Relaxed) {
        match writer.write(&buffer) {
            Ok(_) => {}
            Err(error) if is_pause(&error) => {}
            Err(_) => return,
        }
    }
}

fn receive(mut reader: TcpStream, stop: &AtomicBool, delivered: &AtomicU64) {
    let mut buffer = vec![0; READ_LEN];
    while !stop.load(Ordering::Relaxed) {
        match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                delivered.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if is_pause(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
