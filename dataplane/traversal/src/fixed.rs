//! Fixed endpoints: plain WireGuard. The configured endpoint is the path until an authenticated packet moves it.

use std::collections::{BTreeMap, VecDeque};

use dataplane_proto::controller::{Controller, Input, Output};
use dataplane_proto::messages::Path;
use dataplane_wire::{Instant, PeerId};

/// What is known of one peer.
#[derive(Default)]
struct Known {
    path: Option<Path>,
    generation: u32,
}

/// The control layer of plain WireGuard.
///
/// A configured endpoint becomes the path at once and takes the place of a roamed one, as `wg set` is expected to work. A
/// peer without one waits until it is heard from. Every path may be moved by authenticated packets (WG-54).
#[derive(Default)]
pub struct Fixed {
    peers: BTreeMap<PeerId, Known>,
    outputs: VecDeque<Output>,
}

impl Fixed {
    /// A controller that knows no peer yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Controller for Fixed {
    fn handle_input(&mut self, _now: Instant, input: Input) {
        match input {
            Input::PeerUpserted { peer, endpoint } => {
                let known = self.peers.entry(peer).or_default();
                let configured = endpoint.map(Path::Direct);
                if configured.is_some() {
                    known.path = configured;
                }
                known.generation += 1;
                let (generation, path) = (known.generation, known.path);
                self.outputs.push_back(Output::SetPath { peer, generation, path, roams: true });
            }
            Input::PeerRemoved { peer } => {
                self.peers.remove(&peer);
            }
            Input::Roamed { peer, path } => {
                // The shard has moved already; remembering it keeps a later upsert without endpoint from moving it back.
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.path = Some(path);
                }
            }
            _ => {}
        }
    }

    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.outputs.is_empty()).then_some(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_wire::{FourTuple, SocketId};

    const PEER: PeerId = PeerId { slot: 3, generation: 1 };

    fn at(port: u16) -> FourTuple {
        FourTuple { socket: SocketId(0), remote: ([192, 0, 2, 1], port).into(), local_ip: None }
    }

    fn path_after(controller: &mut Fixed, input: Input) -> Option<(u32, Option<Path>)> {
        controller.handle_input(Instant::ZERO, input);
        match controller.poll_output(Instant::ZERO)? {
            Output::SetPath { generation, path, roams: true, .. } => Some((generation, path)),
            other => panic!("a fixed endpoint only ever sets roaming paths, not {other:?}"),
        }
    }

    #[test]
    fn a_configured_endpoint_is_the_path_and_an_upsert_without_one_keeps_what_roaming_found() {
        let mut fixed = Fixed::new();
        let upsert = |endpoint| Input::PeerUpserted { peer: PEER, endpoint };
        assert_eq!(path_after(&mut fixed, upsert(None)), Some((1, None)));
        assert_eq!(path_after(&mut fixed, upsert(Some(at(1)))), Some((2, Some(Path::Direct(at(1))))));
        let roamed = Input::Roamed { peer: PEER, path: Path::Direct(at(2)) };
        assert_eq!(path_after(&mut fixed, roamed), None);
        assert_eq!(path_after(&mut fixed, upsert(None)), Some((3, Some(Path::Direct(at(2))))));
        assert_eq!(path_after(&mut fixed, upsert(Some(at(3)))), Some((4, Some(Path::Direct(at(3))))));
    }

    #[test]
    fn output_is_due_at_once_while_it_is_queued_and_a_removed_peer_is_forgotten() {
        let mut fixed = Fixed::new();
        assert_eq!(fixed.poll_timeout(), None);
        fixed.handle_input(Instant::ZERO, Input::PeerUpserted { peer: PEER, endpoint: Some(at(1)) });
        assert_eq!(fixed.poll_timeout(), Some(Instant::ZERO));
        while fixed.poll_output(Instant::ZERO).is_some() {}
        fixed.handle_input(Instant::ZERO, Input::PeerRemoved { peer: PEER });
        assert!(fixed.peers.is_empty());
        assert_eq!(fixed.poll_timeout(), None);
    }
}
