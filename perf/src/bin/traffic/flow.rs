//! One way: the generator and the sink.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dataplane_perf::end::{End, NAP, host, way};
use dataplane_perf::orders;
use dataplane_perf::pace::Pace;
use dataplane_perf::pattern::Pattern;
use dataplane_wire::TxSink;

use crate::Send;

/// Packets between two looks at the clock: enough for several full trains.
const TURN: usize = 256;
/// How long a generator with nothing due waits.
const PAUSE: Duration = Duration::from_micros(200);
/// How long a sink takes in what is still under way when it is told to end.
const DRAIN: Duration = Duration::from_millis(100);

/// Sends as it is told; the payload is whatever lies in the arena.
pub(crate) fn send(send: &Send) -> io::Result<()> {
    let mut end = End::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), send.burst > 1)?;
    let mut pattern = Pattern::new(send.size, send.burst, send.hosts, send.seed);
    let mut pace = Pace::new(send.rate);
    orders::ready()?;
    let (start, span) = (Instant::now(), Duration::from_secs_f64(send.seconds));
    let (mut packets, mut bytes) = (0, 0);
    loop {
        let since = start.elapsed();
        if since >= span {
            break;
        }
        let due = pace.take(since, TURN);
        if due == 0 {
            std::thread::sleep(PAUSE);
            continue;
        }
        for _ in 0..due {
            let (number, len) = pattern.packet();
            let to = way(SocketAddr::new(host(send.net, number).into(), send.port), None);
            let train = end.tx.reserve_train(&to, len, 1, len).map_err(|_| io::Error::other("batch full"))?;
            train.commit();
            bytes += len as u64;
        }
        packets += end.send();
    }
    let seconds = start.elapsed().as_secs_f64();
    orders::report(&[
        ("packets", packets as f64),
        ("bytes", bytes as f64),
        ("refused", end.refused as f64),
        ("seconds", seconds),
    ]);
    Ok(())
}

/// Counts until it is told to end, and what comes within a moment after that.
pub(crate) fn sink(listen: SocketAddrV4) -> io::Result<()> {
    let mut end = End::bind(listen, false)?;
    orders::ready()?;
    let ended = orders::end_of_input();
    let (mut packets, mut bytes, mut batches) = (0, 0, 0_u64);
    let mut last = Instant::now();
    while !ended.load(Ordering::Relaxed) || last.elapsed() < DRAIN {
        if end.take() {
            let (more, len) = end.received();
            (packets, bytes, batches) = (packets + more, bytes + len, batches + 1);
            last = Instant::now();
        } else {
            std::thread::sleep(NAP);
        }
    }
    orders::report(&[
        ("packets", packets as f64),
        ("bytes", bytes as f64),
        ("batches", batches as f64),
        ("overflowed", end.overflowed() as f64),
    ]);
    Ok(())
}
