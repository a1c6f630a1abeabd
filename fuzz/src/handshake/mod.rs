//! Handshakes between our node and boringtun, in both roles, with an attacker in between.
//!
//! Beside our node stands a twin of the same seed, to which only honest messages are given. What an attacker sends to our node
//! must leave it as it was: it is dropped and counted, nothing comes out, and from then on both nodes say the same bytes, down
//! to every key, timer and random number. Whether an initiation is honest is boringtun's word, in the place of our node.

mod ends;
mod theirs;

use std::time::Duration;

use dataplane_proto::gate::{Gate, InterfaceKeys, Verdict};
use dataplane_proto::node::Node;
use dataplane_wire::wireguard::{INITIATION_LEN, Message, RESPONSE_LEN};
use dataplane_wire::{CoreId, Instant};

use crate::gate::mac;
use crate::input::Input;
use ends::{Said, Session, THEIR_ADDRESS, ends};
use theirs::Theirs;

/// Steps of one input: each may cost several Diffie-Hellmans.
const STEPS_MAX: usize = 24;
/// Least time between two accepted initiations of one peer (WG-14).
const ACCEPT_MIN: Duration = Duration::from_millis(20);

struct World {
    ours: Node,
    twin: Node,
    gate: Gate,
    theirs: Theirs,
    now: Instant,
    /// Handshake messages that were sent, oldest first.
    from_us: Vec<Vec<u8>>,
    from_them: Vec<Vec<u8>>,
    /// The index of our initiation that waits for its response.
    pending: Option<u32>,
    /// Which of their initiations we took last, counted from 1, and when.
    taken: (usize, Option<Instant>),
    /// Their initiations in the order of their timestamps.
    initiations: Vec<Vec<u8>>,
}

/// What both ends and an attacker do, in any order.
pub fn handshake(data: &[u8]) {
    let mut input = Input::new(data);
    let psk = (input.byte() & 1 == 1).then_some([5; 32]);
    let (ours, twin, theirs) = ends(psk);
    let mut world = World {
        ours,
        twin,
        gate: Gate::new(&[1; 32], CoreId(0), 16),
        theirs,
        now: Instant::ZERO + Duration::from_secs(1),
        from_us: Vec::new(),
        from_them: Vec::new(),
        pending: None,
        taken: (0, None),
        initiations: Vec::new(),
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.pick(10) {
            0 => world.wait(Duration::from_millis(u64::from(input.byte()) * 5)),
            1 => world.wait(Duration::from_secs(u64::from(input.byte()))),
            2 => world.we_initiate(),
            3 => world.they_initiate(),
            4 | 5 => {
                let Some(message) = newest(&world.from_them, &mut input) else { continue };
                world.give_us(&message);
            }
            6 | 7 => {
                let Some(message) = newest(&world.from_us, &mut input) else { continue };
                world.give_them(&message);
            }
            8 => {
                let Some(message) = newest(&world.from_them, &mut input) else { continue };
                world.attack(&message, &mut input);
            }
            _ => world.attack_blindly(&mut input),
        }
    }
    // Whatever an attacker has done: the next honest handshake is the same for both.
    world.wait(Duration::from_secs(6));
    world.we_initiate();
    world.they_initiate();
    let last = world.from_them.last().cloned().unwrap_or_default();
    world.give_us(&last);
}

/// One of the last messages, the newest for 0.
fn newest(messages: &[Vec<u8>], input: &mut Input<'_>) -> Option<Vec<u8>> {
    let back = usize::from(input.pick(4));
    messages.iter().rev().nth(back).cloned()
}

impl World {
    /// Fetches what both nodes have to say, which must be the same, and follows it.
    fn hear(&mut self) -> Vec<Session> {
        let (ours, twin) = (Said::by(&mut self.ours, self.now), Said::by(&mut self.twin, self.now));
        assert!(ours == twin, "an attacker has changed our state: {ours:?}, and without: {twin:?}");
        for message in ours.messages {
            if let Ok(Message::Initiation(initiation)) = Message::parse(&message) {
                self.pending = Some(initiation.sender());
            }
            self.from_us.push(message);
        }
        if ours.given_up {
            self.pending = None;
        }
        ours.sessions
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.ours.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.ours.handle_timeout(self.now);
            self.twin.handle_timeout(self.now);
            self.hear();
        }
        self.now = until;
    }

    fn we_initiate(&mut self) {
        for node in [&mut self.ours, &mut self.twin] {
            ends::want(node, self.now);
        }
        self.hear();
    }

    fn they_initiate(&mut self) {
        let message = self.theirs.initiate();
        self.initiations.push(message.clone());
        self.from_them.push(message);
    }

    /// An honest message reaches us: what it must do follows from what was said before.
    fn give_us(&mut self, message: &[u8]) {
        let Ok(parsed) = Message::parse(message) else { return };
        let expected = match parsed {
            Message::Initiation(_) => {
                let number = 1 + self.initiations.iter().position(|sent| sent == message).expect("theirs");
                let (last, when) = self.taken;
                let taken = number > last && when.is_none_or(|when| self.now.since(when) >= ACCEPT_MIN);
                if taken {
                    self.taken = (number, Some(self.now));
                }
                taken
            }
            Message::Response(response) => {
                self.pending.take_if(|index| *index == response.receiver()).is_some()
            }
            _ => false,
        };
        let dropped = ends::dropped(&self.ours);
        assert!(self.pass_gate(message), "an honest message has the right mac1");
        for node in [&mut self.ours, &mut self.twin] {
            ends::give(node, self.now, message);
        }
        let taken = ends::dropped(&self.ours) == dropped;
        assert_eq!(taken, expected, "whether we take {message:x?}");
        for session in self.hear() {
            session.reaches(&mut self.theirs);
        }
    }

    fn pass_gate(&mut self, message: &[u8]) -> bool {
        let Ok(parsed) = Message::parse(message) else { return false };
        let keys = InterfaceKeys::of(&ends::our_public().0);
        self.gate.check(self.now, &keys, THEIR_ADDRESS, &parsed, 0, 1024) == Verdict::Pass
    }

    /// A message of ours reaches them; what they answer is kept, or shown to be the session's first data.
    fn give_them(&mut self, message: &[u8]) {
        let answer = self.theirs.take(message);
        if Message::parse(&answer).is_ok_and(|answer| matches!(answer, Message::Response(_))) {
            self.from_them.push(answer);
        }
    }

    /// A message of theirs, changed on the way, its mac1 made right again or not.
    fn attack(&mut self, message: &[u8], input: &mut Input<'_>) {
        let mut changed = message.to_vec();
        for _ in 0..=input.pick(3) {
            let at = input.below(changed.len());
            changed[at] ^= input.byte();
        }
        match input.pick(8) {
            0 => changed.truncate(input.below(changed.len() + 1)),
            1 => changed.extend_from_slice(input.take(4)),
            2 => {
                // The head of one message on the body of another.
                let other = newest(&self.from_them, input).unwrap_or_default();
                let at = input.below(changed.len()).min(other.len());
                let end = changed.len().min(other.len()).max(at);
                changed[at..end].copy_from_slice(&other[at..end]);
            }
            _ => {}
        }
        self.sign(&mut changed, input);
        self.suffer(&changed);
    }

    /// Bytes that follow nothing, in the shape of a message.
    fn attack_blindly(&mut self, input: &mut Input<'_>) {
        let (kind, len) =
            [(1, INITIATION_LEN), (2, RESPONSE_LEN), (3, 64), (4, 48)][usize::from(input.pick(4))];
        let mut message = vec![0; len];
        message[0] = kind;
        if kind == 2 || kind == 3 {
            let at = if kind == 2 { 8 } else { 4 };
            message[at..at + 4].copy_from_slice(&self.pending.unwrap_or(7).to_le_bytes());
        }
        let start = 12 + input.below(32);
        let body = input.take(len);
        let end = (start + body.len()).min(len);
        message[start..end].copy_from_slice(&body[..end - start]);
        self.sign(&mut message, input);
        self.suffer(&message);
    }

    /// Anyone who knows our public key can make mac1 right.
    fn sign(&self, message: &mut [u8], input: &mut Input<'_>) {
        if input.byte() & 1 == 0 || message.len() < 32 {
            return;
        }
        let at = message.len() - 32;
        let key = InterfaceKeys::of(&ends::our_public().0).mac1;
        let mac1 = mac(&key, &message[..at]);
        message[at..at + 16].copy_from_slice(&mac1);
    }

    /// What an attacker sends reaches our node alone. If it is as good as honest (a copy, another mac2, another index of the
    /// sender, which nothing but mac1 covers), it goes to the twin too.
    fn suffer(&mut self, message: &[u8]) {
        if !self.pass_gate(message) {
            return;
        }
        let before = (ends::dropped(&self.ours), Said::shown(&self.ours));
        ends::give(&mut self.ours, self.now, message);
        let dropped = ends::dropped(&self.ours) - before.0;
        match Message::parse(message) {
            Ok(Message::Initiation(_)) => {
                let honest = Theirs::double_takes(self.theirs.psk, message);
                assert!(honest || dropped == 1, "we take what boringtun does not: {message:x?}");
                let known = |sent: &&Vec<u8>| sent[8..116] == message[8..116];
                let number = self.initiations.iter().position(|sent| known(&sent));
                assert_eq!(honest, number.is_some(), "boringtun takes a forgery: {message:x?}");
                if let (0, Some(number)) = (dropped, number) {
                    self.taken = (number + 1, Some(self.now));
                    self.follow(message);
                }
            }
            Ok(Message::Response(response)) if dropped == 0 => {
                let known = |sent: &&Vec<u8>| sent.len() == RESPONSE_LEN && sent[8..60] == message[8..60];
                assert!(self.from_them.iter().any(|sent| known(&sent)), "we take a forged response");
                assert_eq!(self.pending.take(), Some(response.receiver()));
                self.follow(message);
            }
            _ => assert_eq!(dropped, 1, "neither taken nor dropped: {message:x?}"),
        }
        if dropped == 1 {
            assert_eq!(Said::shown(&self.ours), before.1);
        }
        self.hear();
    }

    /// The twin gets what turned out to be honest but for the index of the sender, which says where data goes.
    fn follow(&mut self, message: &[u8]) {
        ends::give(&mut self.twin, self.now, message);
    }
}
