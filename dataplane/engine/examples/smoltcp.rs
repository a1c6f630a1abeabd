//! A TCP connection without TUN device or kernel sockets inside: smoltcp over the queue of an interface.
//!
//! Two interfaces of one engine are each other's peers. Behind each runs a smoltcp stack: one echoes what the other sends.
//!
//! ```sh
//! cargo run --example smoltcp
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant as StdInstant};

use dataplane::{BATCH_PACKETS_MAX, Depth, Engine, InnerSide, Interface as Vpn, Packets, Peer, Secret};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

const MTU: usize = 1420;
const PORT: u16 = 7;

/// The queue as smoltcp wants a device. What it sends goes out as one batch for each poll.
struct Queue {
    packets: Packets,
    received: VecDeque<Vec<u8>>,
    sending: Vec<Vec<u8>>,
}

impl Queue {
    /// Sends what the stack has written; without credit it stays, and the stack hears that there is no room.
    fn flush(&mut self) {
        while !self.sending.is_empty()
            && let Some(mut slots) = self.packets.try_reserve(self.sending.len())
        {
            let taken = self.sending.iter().take_while(|packet| slots.push(packet).is_ok()).count();
            slots.commit();
            self.sending.drain(..taken);
        }
    }
}

impl Device for Queue {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Room<'_>)> {
        if self.received.is_empty() {
            // Copied out, so that the batch's credit goes back at once.
            self.received.extend(self.packets.try_recv()?.iter().map(<[u8]>::to_vec));
        }
        let packet = self.received.pop_front()?;
        Some((Received(packet), Room(&mut self.sending)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room<'_>> {
        (self.sending.len() < BATCH_PACKETS_MAX).then_some(Room(&mut self.sending))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Room<'q>(&'q mut Vec<Vec<u8>>);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut packet = vec![0; len];
        let result = write(&mut packet);
        self.0.push(packet);
        result
    }
}

/// A stack with one TCP socket.
struct Stack {
    device: Queue,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    begun: StdInstant,
}

impl Stack {
    fn new(packets: Packets, address: Ipv4Addr) -> Self {
        let mut device = Queue { packets, received: VecDeque::new(), sending: Vec::new() };
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24));
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 * 1024]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self { device, interface, sockets, socket, begun: StdInstant::now() }
    }

    fn poll(&mut self) -> &mut tcp::Socket<'static> {
        let now = Instant::from_micros(self.begun.elapsed().as_micros() as i64);
        self.interface.poll(now, &mut self.device, &mut self.sockets);
        self.device.flush();
        self.sockets.get_mut(self.socket)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (engine, _events) = Engine::builder().start()?;
    let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
    let addresses = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let (mut handles, mut stacks) = (Vec::new(), Vec::new());
    for (key, address) in keys.iter().zip(addresses) {
        let (side, packets) = InnerSide::queue(Depth::batches(64))?;
        handles.push(engine.add_interface(Vpn::new(side).private_key(*key.bytes()).mtu(MTU as u16))?);
        stacks.push(Stack::new(packets, address));
    }
    for (own, other) in [(0, 1), (1, 0)] {
        let port = handles[other].snapshot()?.wait()??.listen_port;
        let peer = Peer::new(keys[other].public()).endpoint(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let peer = peer.allowed_ips([format!("{}/32", addresses[other]).parse()?]);
        handles[own].upsert(peer)?.wait()??;
    }

    let [client, server] = &mut stacks[..] else { return Err("two stacks".into()) };
    server.poll().listen(PORT)?;
    let socket = client.sockets.get_mut::<tcp::Socket<'_>>(client.socket);
    socket.connect(client.interface.context(), (IpAddress::Ipv4(addresses[1]), PORT), 40_000)?;
    let (message, mut sent, mut echoed) = (vec![0x5a; 200_000], 0, 0);
    let deadline = StdInstant::now() + Duration::from_secs(30);
    while echoed < message.len() {
        if StdInstant::now() > deadline {
            return Err(format!("{echoed} of {} bytes came back", message.len()).into());
        }
        let socket = server.poll();
        while socket.can_recv() && socket.can_send() {
            let bytes =
                socket.recv(|bytes| (bytes.len().min(1024), bytes[..bytes.len().min(1024)].to_vec()))?;
            socket.send_slice(&bytes)?;
        }
        let socket = client.poll();
        if socket.can_send() && sent < message.len() {
            sent += socket.send_slice(&message[sent..])?;
        }
        while socket.can_recv() {
            echoed += socket.recv(|bytes| (bytes.len(), bytes.len()))?;
        }
        // A program with more to do would poll the descriptors of both queues, or await them.
        std::thread::sleep(Duration::from_micros(200));
    }
    println!("{echoed} bytes came back over TCP in WireGuard");
    Ok(())
}
