//! An HTTP control plane around an engine, by axum.
//!
//! ```sh
//! cargo run --example control_plane -- 127.0.0.1:8080
//! curl -X PUT 'http://127.0.0.1:8080/peers/PUBLIC_KEY_IN_HEX?' -d '10.0.0.2/32 192.0.2.1:51820'
//! curl http://127.0.0.1:8080/peers
//! curl http://127.0.0.1:8080/stats
//! curl -X DELETE http://127.0.0.1:8080/peers/PUBLIC_KEY_IN_HEX
//! ```
//!
//! The engine knows nothing of the runtime: what may take time is awaited by wakers.

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use dataplane::{Depth, Engine, InnerSide, Interface, InterfaceHandle, Peer, PublicKey, Secret, Workers};

struct Gateway {
    engine: Engine,
    interface: InterfaceHandle,
}

type Answer = Result<String, (StatusCode, String)>;

/// Anything that was wrong with a request.
fn refused(error: impl ToString) -> (StatusCode, String) {
    (StatusCode::UNPROCESSABLE_ENTITY, error.to_string() + "\n")
}

/// The engine has ended.
fn gone(error: impl ToString) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string() + "\n")
}

/// Body: an allowed IP, and optionally an endpoint.
async fn put_peer(State(gateway): State<Arc<Gateway>>, Path(key): Path<String>, body: String) -> Answer {
    let mut words = body.split_whitespace();
    let prefix = words.next().ok_or_else(|| refused("expected: ALLOWED_IP [ENDPOINT]"))?;
    let mut peer = Peer::new(key_of(&key)?).allowed_ips([prefix.parse().map_err(refused)?]);
    if let Some(endpoint) = words.next() {
        peer = peer.endpoint(endpoint.parse().map_err(refused)?);
    }
    let id = gateway.interface.upsert(peer).map_err(gone)?.await.map_err(gone)?.map_err(refused)?;
    Ok(format!("peer {}.{}\n", id.slot, id.generation))
}

async fn delete_peer(State(gateway): State<Arc<Gateway>>, Path(key): Path<String>) -> Answer {
    let key = key_of(&key)?;
    let snapshot = gateway.interface.snapshot().map_err(gone)?.await.map_err(gone)?.map_err(refused)?;
    let peer = snapshot.device.peers.iter().find(|peer| peer.public_key == key);
    let peer = peer.ok_or_else(|| (StatusCode::NOT_FOUND, "no such peer\n".to_owned()))?.peer;
    gateway.interface.remove_peer(peer).map_err(gone)?.await.map_err(gone)?.map_err(refused)?;
    Ok("removed\n".to_owned())
}

async fn list_peers(State(gateway): State<Arc<Gateway>>) -> Answer {
    let snapshot = gateway.interface.snapshot().map_err(gone)?.await.map_err(gone)?.map_err(refused)?;
    let mut text = String::new();
    for peer in &snapshot.device.peers {
        let _ = writeln!(
            text,
            "{:?} {:?} {} bytes",
            peer.public_key,
            peer.endpoint,
            peer.rx_bytes + peer.tx_bytes
        );
    }
    Ok(text)
}

async fn stats(State(gateway): State<Arc<Gateway>>) -> String {
    let mut text = String::new();
    for (number, worker) in gateway.engine.stats().workers().iter().enumerate() {
        let _ = writeln!(text, "worker {number}: busy {:.3}", worker.busy_ratio());
        worker.named().for_each(|(name, count)| _ = writeln!(text, "  {name} {count}"));
        worker
            .drops
            .nonzero()
            .for_each(|(reason, count)| _ = writeln!(text, "  dropped: {} {count}", reason.name()));
    }
    text
}

fn key_of(hex: &str) -> Result<PublicKey, (StatusCode, String)> {
    let digits = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate().filter(|_| digits) {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap_or_default();
    }
    if digits { Ok(PublicKey(key)) } else { Err(refused("a key is 64 hexadecimal digits")) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let (engine, mut events) = Engine::builder().workers(Workers::Count(1)).start()?;
    // A real one would have a TUN device, or do something with the packets.
    let (side, _packets) = InnerSide::queue(Depth::batches(16))?;
    let interface = engine.add_interface(Interface::new(side).private_key(*Secret::new([7; 32]).bytes()))?;
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            eprintln!("{event:?}");
        }
    });
    let router = Router::new()
        .route("/peers", get(list_peers))
        .route("/peers/{key}", put(put_peer).delete(delete_peer))
        .route("/stats", get(stats))
        .with_state(Arc::new(Gateway { engine, interface }));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
