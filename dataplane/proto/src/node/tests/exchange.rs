//! The messages of a handshake between two nodes.

use super::*;

#[test]
fn a_handshake_gives_both_ends_the_same_session() {
    let (mut alice, bob_at_alice, mut bob, _) = pair();
    let (ours, theirs) = shake(at(1.0), &mut alice, bob_at_alice, &mut bob);
    assert_eq!(ours.send.bytes(), theirs.recv.bytes());
    assert_eq!(ours.recv.bytes(), theirs.send.bytes());
    assert_eq!((ours.local_index, ours.remote_index), (theirs.remote_index, theirs.local_index));
    assert_eq!(alice.node.drops().iter().sum::<u64>() + bob.node.drops().iter().sum::<u64>(), 0);
}
