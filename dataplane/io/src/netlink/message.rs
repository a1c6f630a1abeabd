//! rtnetlink messages to bytes and back (linux/netlink.h, linux/rtnetlink.h, linux/if_link.h).
//!
//! All numbers are in the byte order of the machine. Headers and attributes begin at multiples of four bytes.

use std::net::IpAddr;

use super::LinkState;

/// length u32, type u16, flags u16, sequence u32, port u32.
const HEADER_LEN: usize = 16;
/// family u8, pad u8, device type u16, index i32, flags u32, change mask u32.
const LINK_LEN: usize = 16;
/// length u16 (of itself and its value, not of the padding), type u16.
const ATTRIBUTE_LEN: usize = 4;

/// Numbers of attributes (linux/if_link.h, linux/if_addr.h).
pub(super) mod attr {
    pub(in crate::netlink) const IFNAME: u16 = 3;
    pub(in crate::netlink) const MTU: u16 = 4;
    pub(in crate::netlink) const TXQLEN: u16 = 13;
    pub(in crate::netlink) const LINKINFO: u16 = 18;
    #[cfg(test)]
    pub(in crate::netlink) const NET_NS_FD: u16 = 28;
    pub(in crate::netlink) const GSO_MAX_SEGS: u16 = 40;
    pub(in crate::netlink) const GSO_MAX_SIZE: u16 = 41;
    pub(in crate::netlink) const NEW_NETNSID: u16 = 45;
    pub(in crate::netlink) const TSO_MAX_SIZE: u16 = 59;
    pub(in crate::netlink) const TSO_MAX_SEGS: u16 = 60;
    pub(in crate::netlink) const GSO_IPV4_MAX_SIZE: u16 = 63;

    /// Within LINKINFO.
    pub(in crate::netlink) const INFO_KIND: u16 = 1;
    /// Within LINKINFO.
    pub(in crate::netlink) const INFO_DATA: u16 = 2;
    /// Within the INFO_DATA of a TUN.
    pub(in crate::netlink) const TUN_PI: u16 = 4;

    pub(in crate::netlink) const IFA_ADDRESS: u16 = 1;
    pub(in crate::netlink) const IFA_LOCAL: u16 = 2;
}

/// Flags of a type that carry nothing of its number: nested, byte order.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3FFF;

/// A request in the making.
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: libc::c_int) -> Self {
        let mut bytes = Vec::with_capacity(128);
        // Length and sequence are written by `finish`; port 0 lets the kernel name the sender.
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// A request about an interface; the flags in `mask` are set to `flags`.
    pub(super) fn link(kind: u16, index: u32, flags: u32, mask: u32) -> Self {
        let mut request = Self::new(kind, 0);
        request.bytes.extend_from_slice(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
        for word in [index, flags, mask] {
            request.bytes.extend_from_slice(&word.to_ne_bytes());
        }
        request
    }

    /// A request about an address of an interface.
    pub(super) fn address(kind: u16, index: u32, address: IpAddr, prefix_len: u8) -> Self {
        let mut request = Self::new(kind, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        let (family, flags) = match address {
            IpAddr::V4(_) => (libc::AF_INET, 0),
            IpAddr::V6(_) => (libc::AF_INET6, libc::IFA_F_NODAD),
        };
        let scope = libc::RT_SCOPE_UNIVERSE;
        request.bytes.extend_from_slice(&[family as u8, prefix_len, flags as u8, scope]);
        request.bytes.extend_from_slice(&index.to_ne_bytes());
        let mut both = |bytes: &[u8]| {
            request.push(attr::IFA_LOCAL, bytes);
            request.push(attr::IFA_ADDRESS, bytes);
        };
        match address {
            IpAddr::V4(address) => both(&address.octets()),
            IpAddr::V6(address) => both(&address.octets()),
        }
        request
    }

    /// Appends an attribute.
    pub(super) fn push(&mut self, kind: u16, value: &[u8]) {
        let len = (ATTRIBUTE_LEN + value.len()) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished bytes.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message of an answer, or of a notification.
pub(super) struct Reply<'m> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    /// Of an acknowledgement: the positive errno, or 0.
    pub(super) error: Option<i32>,
    pub(super) body: &'m [u8],
}

/// The messages in one receive. Stops at the first that is cut off.
pub(super) fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..len).filter(|message| message.len() >= HEADER_LEN)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        let (kind, body) = (u16_at(message, 4)?, &message[HEADER_LEN..]);
        let error = (i32::from(kind) == libc::NLMSG_ERROR)
            .then(|| u32_at(body, 0).map_or(libc::EBADMSG, |errno| (errno as i32).wrapping_neg()));
        Some(Reply { kind, sequence: u32_at(message, 8)?, error, body })
    })
}

/// The attributes of a message about a link, by number and value.
pub(super) struct Attributes<'m>(&'m [u8]);

impl<'m> Iterator for Attributes<'m> {
    type Item = (u16, &'m [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = u16_at(self.0, 0)? as usize;
        let kind = u16_at(self.0, 2)? & ATTRIBUTE_TYPE_MASK;
        let value = self.0.get(ATTRIBUTE_LEN..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The attributes behind the fixed part of a message about a link.
pub(super) fn link_attributes(body: &[u8]) -> Attributes<'_> {
    Attributes(body.get(LINK_LEN..).unwrap_or_default())
}

/// The state that a message about a link tells. `None` for what is none, such as a bridge's own notes about its ports.
pub(super) fn link_state(body: &[u8]) -> Option<LinkState> {
    if body.len() < LINK_LEN || i32::from(body[0]) != libc::AF_UNSPEC {
        return None;
    }
    let mut state = LinkState { index: u32_at(body, 4)?, ..LinkState::default() };
    state.up = u32_at(body, 8)? & libc::IFF_UP as u32 != 0;
    for (kind, value) in link_attributes(body) {
        let number = || u32_at(value, 0).unwrap_or_default();
        match kind {
            attr::IFNAME => {
                state.name = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
            }
            attr::MTU => state.mtu = number(),
            attr::TXQLEN => state.tx_queue_len = number(),
            attr::GSO_MAX_SIZE => state.gso_max_size = number(),
            attr::GSO_IPV4_MAX_SIZE => state.gso_ipv4_max_size = number(),
            attr::GSO_MAX_SEGS => state.gso_max_segments = number(),
            attr::TSO_MAX_SIZE => state.tso_max_size = number(),
            attr::TSO_MAX_SEGS => state.tso_max_segments = number(),
            attr::LINKINFO => state.tun_packet_information = tun_packet_information(value),
            _ => {}
        }
    }
    Some(state)
}

/// The number of the link that a message about an address speaks of (family u8, prefix length u8, flags u8, scope u8, index u32).
pub(super) fn address_index(body: &[u8]) -> Option<u32> {
    u32_at(body, 4)
}

fn tun_packet_information(link_info: &[u8]) -> Option<bool> {
    let find = |bytes, wanted| Attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    if find(link_info, attr::INFO_KIND)? != b"tun\0" {
        return None;
    }
    Some(*find(find(link_info, attr::INFO_DATA)?, attr::TUN_PI)?.first()? != 0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// family u8, prefix length u8, flags u8, scope u8, index u32.
    const ADDRESS_LEN: usize = 8;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let mut request = Request::link(libc::RTM_SETLINK, 7, 1, 1);
        request.push(attr::MTU, &1420u32.to_ne_bytes());
        request.push(attr::IFNAME, b"wg0\0");
        let bytes = request.finish(9);
        assert_eq!(bytes.len(), HEADER_LEN + LINK_LEN + 8 + 8);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!((u16_at(&bytes, 4), u32_at(&bytes, 8)), (Some(libc::RTM_SETLINK), Some(9)));
        let state = link_state(&bytes[HEADER_LEN..]).unwrap();
        assert_eq!((state.index, state.up, state.mtu, state.name.as_str()), (7, true, 1420, "wg0"));
    }

    #[test]
    fn an_address_request_has_its_fixed_part_and_two_attributes() {
        let address = "10.1.2.3".parse().unwrap();
        let bytes = Request::address(libc::RTM_NEWADDR, 3, address, 24).finish(1);
        assert_eq!(bytes[HEADER_LEN..HEADER_LEN + 2], [libc::AF_INET as u8, 24]);
        let attributes: Vec<_> = Attributes(&bytes[HEADER_LEN + ADDRESS_LEN..]).collect();
        assert_eq!(attributes, [(attr::IFA_LOCAL, &[10, 1, 2, 3][..]), (attr::IFA_ADDRESS, &[10, 1, 2, 3])]);
    }

    #[test]
    fn an_acknowledgement_yields_its_errno() {
        let answer = |errno: i32| {
            let mut bytes = vec![];
            bytes.extend_from_slice(&20u32.to_ne_bytes());
            bytes.extend_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
            bytes.extend_from_slice(&[0; 2]);
            bytes.extend_from_slice(&5u32.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&(-errno).to_ne_bytes());
            replies(&bytes).next().map(|reply| (reply.sequence, reply.error))
        };
        assert_eq!(answer(0), Some((5, Some(0))));
        assert_eq!(answer(libc::EPERM), Some((5, Some(libc::EPERM))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for reply in replies(&bytes).take(1000) {
                let _ = (link_state(reply.body), address_index(reply.body));
            }
            let _ = link_state(&bytes);
            prop_assert!(link_attributes(&bytes).count() <= bytes.len());
        }
    }
}
