//! A control layer of one's own: a peer has two endpoints, and is reached by whichever answers.
//!
//! It is a state machine without socket or clock: facts and the time go in, paths come out. While no handshake completes, it
//! changes to the other endpoint every second.
//!
//! ```sh
//! cargo run --example controller
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dataplane::controller::{Controller, FourTuple, Input, Instant, Output};
use dataplane::{Depth, Engine, Event, InnerSide, Interface, Path, Peer, PeerId, Secret};

const PATIENCE: Duration = Duration::from_secs(1);

struct Known {
    paths: [Path; 2],
    used: u32,
    /// When the other endpoint has its turn; `None` while the peer answers.
    change_at: Option<Instant>,
}

/// Every peer has its configured endpoint, and this one.
struct TwoEndpoints {
    second: SocketAddr,
    peers: BTreeMap<PeerId, Known>,
    outputs: VecDeque<Output>,
}

impl TwoEndpoints {
    fn set_path(&mut self, peer: PeerId) {
        let Some(known) = self.peers.get(&peer) else { return };
        let path = Some(known.paths[known.used as usize % 2]);
        self.outputs.push_back(Output::SetPath { peer, generation: known.used, path, roams: false });
    }
}

impl Controller for TwoEndpoints {
    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::PeerUpserted { peer, endpoint: Some(first) } => {
                let second = FourTuple { remote: self.second, ..first };
                let paths = [first, second].map(Path::Direct);
                self.peers.insert(peer, Known { paths, used: 0, change_at: Some(now + PATIENCE) });
                self.set_path(peer);
            }
            Input::PeerRemoved { peer } => drop(self.peers.remove(&peer)),
            Input::HandshakeComplete { peer } => {
                self.peers.entry(peer).and_modify(|known| known.change_at = None);
            }
            _ => {}
        }
    }

    fn poll_output(&mut self, now: Instant) -> Option<Output> {
        let due = self.peers.iter_mut().find(|(_, known)| known.change_at.is_some_and(|at| at <= now));
        if let Some((&peer, known)) = due {
            known.used += 1;
            known.change_at = Some(now + PATIENCE);
            self.set_path(peer);
        }
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.peers.values().filter_map(|known| known.change_at).min()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (engine, mut events) = Engine::builder().start()?;
    let keys = [Secret::new([1; 32]), Secret::new([2; 32])];
    let (side, _far_packets) = InnerSide::queue(Depth::batches(16))?;
    let far = engine.add_interface(Interface::new(side).private_key(*keys[1].bytes()))?;
    far.upsert(Peer::new(keys[0].public()))?.wait()??;
    let second = SocketAddr::from((Ipv4Addr::LOCALHOST, far.snapshot()?.wait()??.listen_port));

    let (side, _packets) = InnerSide::queue(Depth::batches(16))?;
    let controller = TwoEndpoints { second, peers: BTreeMap::new(), outputs: VecDeque::new() };
    let near = Interface::new(side).private_key(*keys[0].bytes()).controller(controller);
    let near = engine.add_interface(near)?;
    // Nobody is at the first endpoint. The keepalive makes the engine want a session.
    let first = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    near.upsert(Peer::new(keys[1].public()).endpoint(first).keepalive(Duration::from_secs(1)))?.wait()??;
    while let Some(event) = events.next_timeout(Duration::from_secs(30)) {
        println!("{event:?}");
        if matches!(event, Event::Handshake { .. }) {
            return Ok(());
        }
    }
    Err("no endpoint answered".into())
}
