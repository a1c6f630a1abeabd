//! An IP prefix: address and length, host bits zero.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// An IPv4 or IPv6 prefix whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    len: u8,
}

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// The part before the slash.
    #[error("not an IPv4 or IPv6 address: write it as 192.0.2.0/24 or 2001:db8::/32")]
    Address,
    /// The part behind the slash.
    #[error("not a prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6")]
    Length,
}

impl IpPrefix {
    /// The first of all prefixes in their order.
    pub(crate) const FIRST: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), len: 0 };

    /// The prefix of `len` bits that `address` lies in; `None` if the family has no such length.
    pub fn new(address: IpAddr, len: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if len <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) if len <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, len })
    }

    /// The first address of the prefix.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of fixed bits.
    pub fn bits(&self) -> u8 {
        self.len
    }

    /// Whether an address of the same family lies in the prefix.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.len).is_some_and(|of| of == *self)
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for IpPrefix {
    type Err = PrefixError;

    /// Reads `address/length`, or an address alone for a single host. Host bits are cleared.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => full,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| PrefixError::Length)?
            }
            Some(_) => return Err(PrefixError::Length),
        };
        Self::new(address, len).ok_or(PrefixError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_edges_hold() {
        assert_eq!("10.1.2.3/8".parse::<IpPrefix>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("::1".parse::<IpPrefix>().unwrap().to_string(), "::1/128");
        assert_eq!("1.2.3.4/0".parse::<IpPrefix>().unwrap().to_string(), "0.0.0.0/0");
        assert_eq!("1.2.3.4/33".parse::<IpPrefix>(), Err(PrefixError::Length));
        assert_eq!("1.2.3.4/+8".parse::<IpPrefix>(), Err(PrefixError::Length));
        assert_eq!("1.2.3/8".parse::<IpPrefix>(), Err(PrefixError::Address));
        let prefix: IpPrefix = "2001:db8::/33".parse().unwrap();
        assert!(prefix.contains("2001:db8:7fff::1".parse().unwrap()));
        assert!(!prefix.contains("2001:db8:8000::1".parse().unwrap()));
        assert!(!prefix.contains("10.0.0.1".parse().unwrap()));
    }
}
