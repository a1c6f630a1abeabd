//! A WireGuard interface on a TUN device, until standard input ends.
//!
//! ```sh
//! # as root, or with CAP_NET_ADMIN
//! cargo run --example tun -- wg-example 51820
//! ip address add 10.0.0.1/24 dev wg-example && ip link set wg-example up
//! # with a peer: its public key in hexadecimal, its endpoint, its allowed IP
//! cargo run --example tun -- wg-example 51820 PUBLIC_KEY 192.0.2.1:51820 10.0.0.2/32
//! ```
//!
//! The private key is read from the variable `PRIVATE_KEY`, in hexadecimal; without it, the interface has one that everybody
//! knows, which will do for a look around.

use std::error::Error;

use dataplane::{Engine, InnerSide, Interface, Peer, PublicKey, Secret};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("wg-example", String::as_str);
    let port = arguments.get(1).map_or(Ok(0), |port| port.parse())?;
    let key = match std::env::var("PRIVATE_KEY") {
        Ok(hex) => Secret::new(key_of(&hex)?),
        Err(_) => Secret::new([7; 32]),
    };

    let (engine, mut events) = Engine::builder().start()?;
    let interface = Interface::new(InnerSide::tun(name)).private_key(*key.bytes()).listen(port).mtu(1420);
    let interface = engine.add_interface(interface)?;
    if let [_, _, key, endpoint, allowed_ip] = &arguments[..] {
        let peer = Peer::new(PublicKey(key_of(key)?)).endpoint(endpoint.parse()?);
        interface.upsert(peer.allowed_ips([allowed_ip.parse()?]))?.wait()??;
    }
    let snapshot = interface.snapshot()?.wait()??;
    let device = interface.device_name().unwrap_or(name);
    println!("{device}: public key {:?}, UDP port {}", key.public(), snapshot.listen_port);
    println!("{} workers, cipher {}", engine.workers(), engine.cipher());

    std::thread::spawn(move || {
        while let Some(event) = events.next_timeout(std::time::Duration::MAX) {
            println!("{event:?}");
        }
    });
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    println!("{} packets from peers", engine.stats().total().inner_out_packets);
    engine.shutdown();
    Ok(())
}

fn key_of(hex: &str) -> Result<[u8; 32], Box<dyn Error>> {
    let wrong = || format!("{hex:?} is no key: expected 64 hexadecimal digits");
    let mut key = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return Err(wrong().into());
    }
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(key)
}
