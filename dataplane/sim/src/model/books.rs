//! Conservation: what goes in comes out, or is counted where it vanished.

use super::Violation;
use crate::link::Loss;

/// Packets that may wait for one peer (WG-40).
const STAGED_PER_PEER: i64 = 128;
/// Bytes that an engine may keep for itself, and for each peer: three sessions with a replay window of 1 KiB each, and
/// tables that double when they grow.
const BYTES_BASE: u64 = 64 << 10;
const BYTES_PER_PEER: u64 = 32 << 10;

/// What a host itself says that it did, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) rx_packets: u64,
    pub(crate) rx_keepalives: u64,
    pub(crate) rx_handshakes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_keepalives: u64,
    pub(crate) tx_handshakes: u64,
    /// Given from one core to another.
    pub(crate) foreign: u64,
    /// Dropped of what came from the network, and of what came from the inner side.
    pub(crate) dropped_in: u64,
    pub(crate) dropped_out: u64,
    /// Dropped because no source address was left.
    pub(crate) unsent: u64,
    pub(crate) peers: u64,
    pub(crate) bytes: u64,
}

/// What was seen of a host from outside, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    /// Inner packets handed in, each segment of a super-packet counted.
    pub(crate) offered: u64,
    /// Inner packets that came out.
    pub(crate) delivered: u64,
    /// Datagrams that came in, those again that cores handed to each other.
    pub(crate) datagrams: u64,
    /// Datagrams that went out: with a packet inside, without one, and handshakes.
    pub(crate) data: u64,
    pub(crate) keepalives: u64,
    pub(crate) handshakes: u64,
}

impl Books {
    /// Enters what was seen meanwhile.
    pub(crate) fn add(&mut self, more: &Self) {
        self.offered += more.offered;
        self.delivered += more.delivered;
        self.datagrams += more.datagrams;
        self.data += more.data;
        self.keepalives += more.keepalives;
        self.handshakes += more.handshakes;
    }

    /// Enters a datagram that left.
    pub(crate) fn sent(&mut self, datagram: &[u8]) {
        match (datagram.first(), datagram.len()) {
            (Some(4), 32) => self.keepalives += 1,
            (Some(4), _) => self.data += 1,
            _ => self.handshakes += 1,
        }
    }

    /// Holds what was seen against what the host says. Returns how many packets wait in it.
    pub(crate) fn audit(&self, host: &str, account: &Account) -> Result<u64, Violation> {
        let balance = |what, seen: u64, counted: u64| {
            if seen == counted {
                return Ok(());
            }
            let account = format!("{self:?} {account:?}");
            let (host, seen, counted) = (host.to_owned(), seen as i64, counted as i64);
            Err(Violation::Unaccounted { host, what, seen, counted, account })
        };
        let Account { rx_packets, rx_keepalives, rx_handshakes, foreign, dropped_in, .. } = *account;
        let taken = rx_packets + rx_keepalives + rx_handshakes + foreign + dropped_in;
        balance("datagrams received", self.datagrams, taken)?;
        balance("packets delivered", self.delivered, rx_packets)?;
        balance("datagrams with packets sent", self.data, account.tx_packets)?;
        balance("keepalives sent", self.keepalives, account.tx_keepalives)?;
        balance("handshake messages sent", self.handshakes, account.tx_handshakes)?;
        let gone = account.tx_packets + account.dropped_out;
        let staged = self.offered as i64 - gone as i64;
        if staged < 0 {
            balance("packets sent", self.offered, gone)?;
        }
        let bounded = |what, held: u64, most: u64| {
            if held <= most {
                return Ok(());
            }
            Err(Violation::Unbounded { host: host.to_owned(), what, held, most })
        };
        bounded("waiting packets", staged as u64, STAGED_PER_PEER as u64 * account.peers)?;
        bounded("bytes", account.bytes, BYTES_BASE + BYTES_PER_PEER * account.peers)?;
        Ok(staged as u64)
    }
}

/// What was seen of the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    pub(crate) sent: u64,
    pub(crate) injected: u64,
    pub(crate) duplicated: u64,
    pub(crate) arrived: u64,
    pub(crate) in_flight: u64,
    pub(crate) lost: [u64; Loss::COUNT],
}

impl Wire {
    /// Holds what went into the network against what came out.
    pub(crate) fn audit(&self) -> Result<(), Violation> {
        let seen = self.sent + self.injected + self.duplicated;
        let counted = self.arrived + self.in_flight + self.lost.iter().sum::<u64>();
        if seen == counted {
            return Ok(());
        }
        Err(Violation::Unaccounted {
            host: "the network".to_owned(),
            what: "datagrams carried",
            seen: seen as i64,
            counted: counted as i64,
            account: format!("{self:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Books and account of a host with one peer that agree, all numbers different.
    fn agreed() -> (Books, Account) {
        let account = Account {
            rx_packets: 100,
            rx_keepalives: 20,
            rx_handshakes: 3,
            tx_packets: 200,
            tx_keepalives: 40,
            tx_handshakes: 5,
            foreign: 7,
            dropped_in: 11,
            dropped_out: 13,
            unsent: 0,
            peers: 1,
            bytes: BYTES_BASE,
        };
        let books =
            Books { offered: 213, delivered: 100, datagrams: 141, data: 200, keepalives: 40, handshakes: 5 };
        (books, account)
    }

    /// What is said of books that do not balance.
    fn said(change: impl FnOnce(&mut Books, &mut Account)) -> &'static str {
        let (mut books, mut account) = agreed();
        change(&mut books, &mut account);
        match books.audit("alice", &account) {
            Ok(_) => "all is well",
            Err(Violation::Unaccounted { what, .. } | Violation::Unbounded { what, .. }) => what,
            Err(_) => "something else",
        }
    }

    #[test]
    fn each_of_the_sums_is_found_when_it_does_not_balance() {
        assert_eq!(said(|_, _| {}), "all is well");
        assert_eq!(said(|books, _| books.datagrams += 1), "datagrams received");
        assert_eq!(said(|_, account| account.foreign += 1), "datagrams received");
        assert_eq!(said(|_, account| account.dropped_in -= 1), "datagrams received");
        assert_eq!(said(|books, _| books.delivered -= 1), "packets delivered");
        assert_eq!(said(|books, _| books.data += 1), "datagrams with packets sent");
        assert_eq!(said(|books, _| books.keepalives += 1), "keepalives sent");
        assert_eq!(said(|books, _| books.handshakes -= 1), "handshake messages sent");
        assert_eq!(said(|books, _| books.offered -= 1), "packets sent");
        assert_eq!(said(|_, account| account.dropped_out += 1), "packets sent");
    }

    #[test]
    fn what_waits_and_what_is_kept_may_be_just_so_much() {
        assert_eq!(said(|books, _| books.offered += 128), "all is well");
        assert_eq!(said(|books, _| books.offered += 129), "waiting packets");
        assert_eq!(said(|_, account| account.bytes = BYTES_BASE + BYTES_PER_PEER), "all is well");
        assert_eq!(said(|_, account| account.bytes = BYTES_BASE + BYTES_PER_PEER + 1), "bytes");
        let (mut books, account) = agreed();
        books.offered += 2;
        assert_eq!(books.audit("alice", &account), Ok(2));
    }

    #[test]
    fn each_loss_of_the_network_has_to_be_recorded() {
        let whole =
            Wire { sent: 10, injected: 2, duplicated: 3, arrived: 9, in_flight: 1, ..Wire::default() };
        for at in 0..Loss::COUNT {
            let mut wire = whole;
            wire.lost[at] = 5;
            assert_eq!(wire.audit(), Ok(()));
            wire.lost[at] = 4;
            assert!(matches!(wire.audit(), Err(Violation::Unaccounted { seen: 15, counted: 14, .. })));
        }
    }
}
