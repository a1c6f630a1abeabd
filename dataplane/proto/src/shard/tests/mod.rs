//! Scenarios in virtual time: two shards joined in memory.

mod data;
mod inner;
mod loops;
mod pair;
mod paths;
mod refused;
mod relays;
mod sessions;
mod shunned;
mod timers;

use core::time::Duration;

use dataplane_wire::{DropReason, Ecn, FourTuple, Instant, TrafficClass};

use super::*;
use crate::messages::{Command, Event, HandshakeBytes, HandshakeCause, Path};
use pair::{A, B, INTERFACE, Pair, Side, tcp_super, udp4};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
