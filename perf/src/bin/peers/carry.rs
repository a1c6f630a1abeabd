//! Traffic of all peers, once they are connected.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dataplane_aead::{Aead, OpenDesc, Span};
use dataplane_perf::end::{NAP, host};
use dataplane_perf::orders;
use dataplane_perf::pace::Pace;
use dataplane_perf::pattern::Pattern;
use dataplane_wire::checksum::Sum;
use dataplane_wire::wireguard::{Message, peek_data};

use crate::Run;
use crate::connect::{Peers, as_span};

/// Packets between two sends.
const TURN: usize = 256;
/// How long a generator with nothing due waits.
const PAUSE: Duration = Duration::from_micros(200);
/// How long what is still under way is taken in.
const DRAIN: Duration = Duration::from_millis(100);
/// One datagram of so many is opened, to see that it is what it should be.
const LOOK: u64 = 256;
const IP_LEN: usize = 20;
const UDP_LEN: usize = 8;
const SOURCE_PORT: u16 = 9000;

/// Peers to gateway: sealed here, opened there.
pub(crate) fn send(peers: &mut Peers, run: &Run) -> io::Result<()> {
    let to = run.to.ok_or_else(|| io::Error::other("--to says where packets go"))?;
    let mut pattern = Pattern::new(run.size, run.burst, run.count, 1);
    let mut pace = Pace::new(run.rate);
    orders::ready()?;
    let (start, span) = (Instant::now(), Duration::from_secs_f64(run.seconds));
    let (mut packets, mut bytes) = (0, 0_u64);
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
            let from = host(run.inner, number);
            // Counts as the kernel's do for a connected socket: only so do receivers merge packets again.
            let id = peers.all[number].counter as u16;
            peers.write(number, IP_LEN + UDP_LEN + len, |packet| write_udp(packet, from, to, id))?;
            bytes += len as u64;
        }
        packets += peers.seal_and_send();
    }
    orders::report(&[
        ("packets", packets as f64),
        ("bytes", bytes as f64),
        ("refused", peers.end.refused as f64),
        ("seconds", start.elapsed().as_secs_f64()),
    ]);
    Ok(())
}

/// An IPv4 packet with zeros behind its UDP header, and right checksums.
fn write_udp(packet: &mut [u8], from: Ipv4Addr, to: SocketAddrV4, id: u16) {
    let (len, udp_len) = (packet.len() as u16, (packet.len() - IP_LEN) as u16);
    packet.fill(0);
    packet[..2].copy_from_slice(&[0x45, 0]);
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6] = 0x40;
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    let sum = Sum::of(&packet[..IP_LEN]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..22].copy_from_slice(&SOURCE_PORT.to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..26].copy_from_slice(&udp_len.to_be_bytes());
    let pseudo = Sum::of(&packet[12..28]).and_word(17).and_word(udp_len);
    packet[26..28].copy_from_slice(&pseudo.checksum().to_be_bytes());
}

/// What came of data.
#[derive(Default)]
struct Seen {
    packets: u64,
    /// Bytes of UDP payload, padding included.
    bytes: u64,
    /// Opened to see, and how many of them did not open.
    looked: u64,
    bad: u64,
}

/// Gateway to peers: counted here, one of many opened.
pub(crate) fn receive(peers: &mut Peers) -> io::Result<()> {
    orders::ready()?;
    let ended = orders::end_of_input();
    let (mut seen, mut batches) = (Seen::default(), 0_u64);
    let mut last = Instant::now();
    while !ended.load(Ordering::Relaxed) || last.elapsed() < DRAIN {
        if peers.end.take() {
            look(peers, &mut seen);
            batches += 1;
            last = Instant::now();
        } else {
            std::thread::sleep(NAP);
        }
    }
    orders::report(&[
        ("packets", seen.packets as f64),
        ("bytes", seen.bytes as f64),
        ("batches", batches as f64),
        ("looked", seen.looked as f64),
        ("bad", seen.bad as f64),
        ("overflowed", peers.end.overflowed() as f64),
    ]);
    Ok(())
}

fn look(peers: &mut Peers, seen: &mut Seen) {
    let (arena, metas) = peers.end.rx.split();
    for place in metas.iter().flat_map(|meta| meta.segments()).map(as_span) {
        let datagram = &mut arena[place.range()];
        // A keepalive is no packet.
        let Some(inner) = datagram.len().checked_sub(32 + IP_LEN + UDP_LEN) else { continue };
        if peek_data(datagram).is_none_or(|(index, _)| index as usize >= peers.all.len()) {
            continue;
        }
        seen.packets += 1;
        seen.bytes += inner as u64;
        if seen.packets.is_multiple_of(LOOK) {
            let Ok(Message::Data(data)) = Message::parse(datagram) else { continue };
            let text = data.text();
            let mut desc = [OpenDesc {
                key: data.receiver() * 2 + 1,
                counter: data.counter(),
                aad: Span::default(),
                text: Span { offset: text.start as u32, len: text.len() as u32 },
                opened: false,
            }];
            let opened = peers.cipher.open_batch(&peers.keys, &[], datagram, &mut desc);
            seen.looked += 1;
            seen.bad += u64::from(opened != Ok(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_right_checksums() {
        let mut packet = [0xff; 128];
        let (from, to) = (Ipv4Addr::new(10, 64, 1, 2), SocketAddrV4::new(Ipv4Addr::new(10, 20, 0, 1), 9));
        write_udp(&mut packet, from, to, 7);
        assert!(Sum::of(&packet[..20]).is_intact());
        assert!(Sum::of(&packet[12..]).and_word(17).and_word(108).is_intact());
    }
}
