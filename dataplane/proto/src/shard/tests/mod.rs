//! Scenarios in virtual time: two shards joined in memory.

mod data;
mod pair;

use dataplane_wire::Ecn;

use super::*;
use pair::{A, B, Pair, tcp_super, udp4};
