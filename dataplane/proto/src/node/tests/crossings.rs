//! Two ends that initiate at once, step by step. Whole worlds of them: `whole.rs`.

use super::*;

/// Both have sent an initiation before either came. The host with the smaller key is first: its session prevails.
struct Crossing {
    first: Host,
    second: Host,
    second_at_first: PeerId,
    first_at_second: PeerId,
    initiations: [HandshakeBytes; 2],
}

fn crossing() -> Crossing {
    let (mut first, second_at_first, mut second, first_at_second) = pair();
    assert!(first.public() < second.public());
    first.want(at(1.0), second_at_first);
    second.want(at(1.0), first_at_second);
    let initiations = [first.messages().pop().unwrap(), second.messages().pop().unwrap()];
    Crossing { first, second, second_at_first, first_at_second, initiations }
}

impl Crossing {
    /// Both answer. The sessions that they answered, and the responses.
    fn answered(&mut self) -> [(Keypair, HandshakeBytes); 2] {
        self.second.take(at(1.1), 1, &self.initiations[0]);
        self.first.take(at(1.1), 2, &self.initiations[1]);
        [&mut self.first, &mut self.second].map(|host| {
            let (keypair, _, response) = keypairs(host.commands()).pop().unwrap();
            (keypair, response.unwrap())
        })
    }
}

// WG-31
#[test]
fn the_session_of_the_smaller_key_is_taken_and_the_other_is_erased_when_it_is_confirmed() {
    let mut crossing = crossing();
    let [(_, of_first), (prevailing, of_second)] = crossing.answered();
    crossing.first.take(at(1.2), 2, &of_second);
    let (ours, keep_next, _) = keypairs(crossing.first.commands()).pop().unwrap();
    // The session that the first end answered steps back.
    assert_eq!((ours.role, keep_next), (Role::Initiator, false));

    crossing.second.take(at(1.2), 1, &of_first);
    assert_eq!(crossing.second.commands().len(), 0);
    assert!(crossing.second.settled().contains("kept: Some"));
    // A packet that wants a session now need not wait for a retry, and causes none.
    crossing.second.want(at(1.25), crossing.first_at_second);
    let confirmed = Event::Confirmed { peer: crossing.first_at_second, local_index: prevailing.local_index };
    crossing.second.node.handle_event(at(1.3), CoreId(0), confirmed);
    assert!(crossing.second.settled().contains("kept: None"));
    for host in [&mut crossing.first, &mut crossing.second] {
        host.run_until(at(100.0));
        assert_eq!(host.commands().len(), 0);
    }
}

// WG-31
#[test]
fn what_was_kept_is_taken_when_the_other_session_is_not_confirmed_soon() {
    // As against an end that forgets what it had begun when it answers.
    let mut crossing = crossing();
    let [(theirs, of_first), _] = crossing.answered();
    crossing.second.take(at(1.2), 1, &of_first);
    assert_eq!(crossing.second.due(), Some(at(1.7)));
    crossing.second.run_until(at(1.69));
    assert_eq!(crossing.second.commands().len(), 0);
    crossing.second.run_until(at(1.7));
    let (ours, keep_next, _) = keypairs(crossing.second.commands()).pop().unwrap();
    assert_eq!((ours.remote_index, ours.role, keep_next), (theirs.local_index, Role::Initiator, true));
    assert_eq!(ours.send.bytes(), theirs.recv.bytes());
    assert_eq!(crossing.second.due(), None);
}

// WG-31, WG-38
#[test]
fn a_confirmation_that_comes_after_all_has_both_sessions_replaced_by_the_same_end() {
    let mut crossing = crossing();
    let [(_, of_first), (prevailing, _)] = crossing.answered();
    crossing.second.take(at(1.2), 1, &of_first);
    crossing.second.run_until(at(2.0));
    crossing.second.commands();
    let confirmed = Event::Confirmed { peer: crossing.first_at_second, local_index: prevailing.local_index };
    crossing.second.node.handle_event(at(2.1), CoreId(0), confirmed);
    crossing.second.run_until(at(5.9));
    assert_eq!(crossing.second.messages().len(), 0);
    crossing.second.run_until(at(6.0));
    assert_eq!(crossing.second.messages().len(), 1);
    // The first end does nothing of that kind.
    crossing.first.run_until(at(1.5));
    assert_eq!(crossing.first.messages().len(), 0);
    assert_eq!(crossing.second_at_first, PeerId::default());
}

// WG-31, WG-32
#[test]
fn a_response_too_late_to_be_kept_and_a_confirmation_after_it_have_both_sessions_replaced_too() {
    // Otherwise each end uses the session that the other one began, and nobody renews either.
    let mut crossing = crossing();
    let [(_, of_first), (prevailing, _)] = crossing.answered();
    crossing.second.take(at(3.2), 1, &of_first);
    let (ours, keep_next, _) = keypairs(crossing.second.commands()).pop().unwrap();
    assert_eq!((ours.role, keep_next), (Role::Initiator, true), "taken at once");
    let confirmed = Event::Confirmed { peer: crossing.first_at_second, local_index: prevailing.local_index };
    crossing.second.node.handle_event(at(3.3), CoreId(0), confirmed);
    crossing.second.run_until(at(6.0));
    assert_eq!(crossing.second.messages().len(), 1);
}

// WG-31
#[test]
fn who_has_just_answered_waits_for_the_confirmation_before_it_initiates() {
    let (mut alice, bob_at_alice, mut bob, alice_at_bob) = pair();
    alice.want(at(1.0), bob_at_alice);
    bob.take(at(1.0), 1, &alice.messages().pop().unwrap());
    bob.commands();
    bob.want(at(1.1), alice_at_bob);
    bob.run_until(at(1.49));
    assert_eq!(bob.messages().len(), 0);
    // The response was lost, it seems.
    bob.run_until(at(1.5));
    assert_eq!(bob.messages().len(), 1);
}

// WG-31, WG-37
#[test]
fn what_is_kept_is_erased_with_everything_else() {
    let changes = [
        Change::SetUp { interface: WG0, up: false },
        Change::SetPrivateKey { interface: WG0, key: Secret::new([9; 32]) },
        Change::RemovePeers { interface: WG0 },
    ];
    for change in changes {
        let mut crossing = crossing();
        let [(_, of_first), _] = crossing.answered();
        crossing.second.take(at(1.2), 1, &of_first);
        assert!(crossing.second.settled().contains("kept: Some"));
        crossing.second.node.apply(at(1.3), &[change]).unwrap();
        assert!(!crossing.second.settled().contains("kept: Some"));
        crossing.second.run_until(at(10.0));
        assert!(keypairs(crossing.second.commands()).is_empty());
    }
}
