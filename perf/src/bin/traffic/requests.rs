//! Both ways: how long an answer takes.
//!
//! Requests leave at their times whether or not earlier ones were answered, so a stall meets as many of them as it would meet
//! of real ones. A time runs from when its request left.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dataplane_io::poll::{Interest, Poller, Token};
use dataplane_perf::latency::Histogram;
use dataplane_perf::orders;

/// Bytes of a request: its number, then zeros.
const LEN: usize = 64;
/// How long the last answers are waited for.
const GRACE: Duration = Duration::from_millis(500);

pub(crate) fn ask(to: SocketAddrV4, rate: f64, seconds: f64) -> io::Result<()> {
    if !(rate > 0.0 && seconds > 0.0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "rate and seconds are above 0"));
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    let mut poller = Poller::new(1)?;
    poller.add(&socket, Token(0), Interest::Read)?;
    let interval = Duration::from_secs_f64(1.0 / rate);
    let requests = (rate * seconds) as usize;
    orders::ready()?;
    let start = Instant::now();
    let (mut times, mut left_at, mut request) =
        (Histogram::default(), Vec::with_capacity(requests), [0; LEN]);
    let end = interval * requests as u32 + GRACE;
    loop {
        let now = start.elapsed();
        let sent = left_at.len();
        if sent < requests && now >= interval * sent as u32 {
            request[..4].copy_from_slice(&(sent as u32).to_le_bytes());
            left_at.push(now);
            // A full queue is a lost request, and is counted as one.
            let _ = socket.send(&request);
            continue;
        }
        let mut answer = [0; LEN];
        match socket.recv(&mut answer) {
            Ok(_) => {
                let number = u32::from_le_bytes([answer[0], answer[1], answer[2], answer[3]]);
                let left_at = left_at.get(number as usize).copied();
                times.add(start.elapsed().saturating_sub(left_at.unwrap_or_default()));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if now >= end || (sent == requests && times.count() == requests as u64) {
                    break;
                }
                let until = if sent < requests { interval * sent as u32 } else { end };
                poller.wait(Some(until.saturating_sub(now)))?;
            }
            Err(error) => return Err(error),
        }
    }
    let sent = left_at.len();
    report(&times, sent);
    Ok(())
}

fn report(times: &Histogram, sent: usize) {
    let buckets: Vec<String> = times.buckets().map(|(ns, count)| format!("[{ns}, {count}]")).collect();
    println!(
        "{{\"requests\": {sent}, \"answers\": {}, \"p50_ns\": {}, \"p99_ns\": {}, \"p999_ns\": {}, \"buckets\": [{}]}}",
        times.count(),
        times.quantile_ns(0.5),
        times.quantile_ns(0.99),
        times.quantile_ns(0.999),
        buckets.join(", ")
    );
}

pub(crate) fn answer(listen: SocketAddrV4) -> io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    orders::ready()?;
    let ended = orders::end_of_input();
    let (mut answers, mut packet) = (0_u64, [0; 2048]);
    while !ended.load(Ordering::Relaxed) {
        match socket.recv_from(&mut packet) {
            Ok((len, from)) => answers += u64::from(socket.send_to(&packet[..len], from).is_ok()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    orders::report(&[("answers", answers as f64)]);
    Ok(())
}
