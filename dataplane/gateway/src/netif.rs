//! Network interfaces by name.

/// The index of the interface that a zone of a link-local address names; a number is taken as it is.
pub(crate) fn index_of(zone: &str) -> Option<u32> {
    crate::uapi::zone_number(zone).or_else(|| {
        let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM);
        let socket = rustix::net::socket(family, kind, None).ok()?;
        rustix::net::netdevice::name_to_index(socket, zone).ok()
    })
}
