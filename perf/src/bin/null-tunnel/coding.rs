//! Super-packets to trains of datagrams, and back.
//!
//! | | plain | sealed |
//! |---|---|---|
//! | train | the vnet header and the packet, cut every MTU + 32 bytes | per datagram: 16 bytes of header, up to MTU bytes of the packet, 16 of tag |
//! | length of the packet | from its IP header | in the header |
//! | copies | none | none but the cipher's own |
//!
//! Trains that the kernel has joined on receipt come apart by those lengths.
//!
//! Header of a sealed datagram: counter (u32), length of the packet (u16), vnet header (10 bytes); byte order of the machine.

use dataplane_aead::{Aead, BATCH_MAX, Cipher, KEY_LEN, Key, OpenDesc, SealDesc, Span, TAG_LEN};
use dataplane_io::inner::{PARTS_MAX, VNET_HEADER_LEN};
use dataplane_wire as wire;

/// What WireGuard adds to a packet: header and tag.
pub(crate) const SEGMENT_OVERHEAD: usize = HEADER_LEN + TAG_LEN;
const HEADER_LEN: usize = 16;
/// Where the vnet header stands in the header: at its end, so that the plaintext follows it.
const VNET_AT: usize = HEADER_LEN - VNET_HEADER_LEN;
/// Most datagrams of a train, and bytes above UDP over IPv4.
const SEGMENTS_MAX: usize = 64;
const TRAIN_MAX: usize = 65_507;

/// How bytes are put on the wire.
pub(crate) enum Coding {
    /// As they are.
    Plain {
        /// MTU + 32.
        segment: usize,
    },
    /// Sealed.
    Sealed(Box<Sealed>),
}

impl Coding {
    pub(crate) fn new(mtu: usize, cipher: Option<Cipher>) -> Self {
        let Some(cipher) = cipher else { return Self::Plain { segment: mtu + SEGMENT_OVERHEAD } };
        let keys = [Key::new([7; KEY_LEN])];
        let (train, seals, opens) =
            (vec![0; TRAIN_MAX], Vec::with_capacity(BATCH_MAX), Vec::with_capacity(BATCH_MAX));
        Self::Sealed(Box::new(Sealed { mtu, cipher, keys, counter: 0, train, seals, opens }))
    }

    /// The train for a super-packet behind its vnet header; `None` where it is too large for one.
    pub(crate) fn encode<'a>(&'a mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Plain { segment } => {
                let fits = packet.len() <= TRAIN_MAX && packet.len().div_ceil(*segment) <= SEGMENTS_MAX;
                fits.then_some(packet)
            }
            Self::Sealed(sealed) => sealed.encode(packet),
        }
    }

    /// Hands on the super-packets of a train, as head, arena and parts of a gather write. False where it does not add up.
    pub(crate) fn decode(
        &mut self,
        train: &mut [u8],
        deliver: impl FnMut(&[u8], &[u8], &[wire::Span]),
    ) -> bool {
        match self {
            Self::Plain { .. } => decode_plain(train, deliver),
            Self::Sealed(sealed) => sealed.decode(train, deliver),
        }
    }
}

fn decode_plain(mut train: &[u8], mut deliver: impl FnMut(&[u8], &[u8], &[wire::Span])) -> bool {
    while !train.is_empty() {
        let whole = ip_len(train.get(VNET_HEADER_LEN..).unwrap_or_default());
        let Some((packet, rest)) = whole.and_then(|len| train.split_at_checked(VNET_HEADER_LEN + len)) else {
            return false;
        };
        deliver(packet, &[], &[]);
        train = rest;
    }
    true
}

/// The length that an IP packet says it has.
fn ip_len(packet: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?)));
    match packet.first()? >> 4 {
        4 => word(2),
        6 => word(4).map(|payload| 40 + payload),
        _ => None,
    }
}

/// A cipher and what it works on.
pub(crate) struct Sealed {
    mtu: usize,
    cipher: Cipher,
    keys: [Key; 1],
    counter: u32,
    train: Vec<u8>,
    seals: Vec<SealDesc>,
    opens: Vec<OpenDesc>,
}

impl Sealed {
    fn encode(&mut self, packet: &[u8]) -> Option<&[u8]> {
        let (vnet, text) = packet.split_at_checked(VNET_HEADER_LEN)?;
        let segments = text.len().div_ceil(self.mtu);
        let total = text.len() + segments * SEGMENT_OVERHEAD;
        if segments > SEGMENTS_MAX || total > TRAIN_MAX {
            return None;
        }
        self.seals.clear();
        for index in 0..segments {
            let (from, at) = (index * self.mtu, index * (self.mtu + SEGMENT_OVERHEAD));
            let header = &mut self.train[at..at + HEADER_LEN];
            header[..4].copy_from_slice(&self.counter.to_ne_bytes());
            header[4..VNET_AT].copy_from_slice(&(text.len() as u16).to_ne_bytes());
            header[VNET_AT..].copy_from_slice(vnet);
            self.seals.push(SealDesc {
                counter: self.counter.into(),
                body: Span { offset: from as u32, len: self.mtu.min(text.len() - from) as u32 },
                dst: (at + HEADER_LEN) as u32,
                ..SealDesc::default()
            });
            self.counter = self.counter.wrapping_add(1);
        }
        self.cipher.seal_batch(&self.keys, &[], text, &mut self.train[..total], &self.seals).ok()?;
        Some(&self.train[..total])
    }

    fn decode(&mut self, train: &mut [u8], mut deliver: impl FnMut(&[u8], &[u8], &[wire::Span])) -> bool {
        let mut at = 0;
        while at < train.len() {
            let Some(end) = self.describe(train, at) else { return false };
            let opened = self.cipher.open_batch(&self.keys, &[], train, &mut self.opens);
            if opened != Ok(self.opens.len()) {
                return false;
            }
            let mut parts = [wire::Span::default(); PARTS_MAX];
            for (part, open) in parts.iter_mut().zip(&self.opens[1..]) {
                *part = wire::Span { offset: open.text.offset, len: open.text.len };
            }
            let head = at + VNET_AT..at + HEADER_LEN + self.opens[0].text.len as usize;
            deliver(&train[head], train, &parts[..self.opens.len() - 1]);
            at = end;
        }
        true
    }

    /// Describes the datagrams of the super-packet that begins at `at`, and returns where it ends.
    fn describe(&mut self, train: &[u8], mut at: usize) -> Option<usize> {
        let mut left = usize::from(u16::from_ne_bytes(train.get(at + 4..at + VNET_AT)?.try_into().ok()?));
        self.opens.clear();
        while left > 0 || self.opens.is_empty() {
            let counter = u32::from_ne_bytes(train.get(at..at + 4)?.try_into().ok()?);
            let text = Span { offset: (at + HEADER_LEN) as u32, len: left.min(self.mtu) as u32 };
            self.opens.push(OpenDesc { counter: counter.into(), text, ..OpenDesc::default() });
            left -= text.len as usize;
            at += text.len as usize + SEGMENT_OVERHEAD;
        }
        (at <= train.len() && self.opens.len() <= SEGMENTS_MAX).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet behind a vnet header.
    fn packet(len: usize, seed: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..VNET_HEADER_LEN + len).map(|at| (at as u8).wrapping_mul(31) ^ seed).collect();
        let ip = &mut bytes[VNET_HEADER_LEN..];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        bytes
    }

    fn decoded(coding: &mut Coding, mut train: Vec<u8>) -> (bool, Vec<Vec<u8>>) {
        let mut packets = vec![];
        let whole = coding.decode(&mut train, |head, arena, parts| {
            let mut packet = head.to_vec();
            for part in parts {
                packet.extend_from_slice(&arena[part.range()]);
            }
            packets.push(packet);
        });
        (whole, packets)
    }

    #[test]
    fn packets_of_every_length_survive_joined_trains() {
        for cipher in [None, Some(Cipher::auto())] {
            let (mut near, mut far) = (Coding::new(1420, cipher), Coding::new(1420, cipher));
            for len in [20, 52, 1419, 1420, 1421, 1430, 1442, 1443, 2840, 61_612] {
                let packets = [packet(len, 1), packet(len.min(2000), 2)];
                let trains = [0, 1].map(|index| near.encode(&packets[index]).unwrap().to_vec());
                let (whole, back) = decoded(&mut far, trains.concat());
                assert!(whole && back == packets, "{len} bytes");
            }
        }
    }

    #[test]
    fn sealed_datagrams_are_as_long_as_wireguards() {
        let mut coding = Coding::new(1420, Some(Cipher::auto()));
        assert_eq!(coding.encode(&packet(1420, 0)).unwrap().len(), 1452);
        assert_eq!(coding.encode(&packet(1420 * 44, 0)).unwrap().len(), 1452 * 44);
        assert!(coding.encode(&packet(65_500, 0)).is_none());
    }

    #[test]
    fn what_does_not_add_up_is_dropped() {
        for cipher in [None, Some(Cipher::auto())] {
            let mut coding = Coding::new(1420, cipher);
            let train = coding.encode(&packet(5000, 3)).unwrap().to_vec();
            for len in [1, 5, 15, 31, 1452, train.len() - 1] {
                assert_eq!(decoded(&mut coding, train[..len].to_vec()), (false, vec![]), "{len} bytes");
            }
        }
        let mut coding = Coding::new(1420, Some(Cipher::auto()));
        let mut train = coding.encode(&packet(5000, 3)).unwrap().to_vec();
        train[3000] ^= 1;
        assert_eq!(decoded(&mut coding, train), (false, vec![]));
    }
}
