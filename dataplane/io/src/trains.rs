//! Trains of one fixed datagram length, for programs that speak to one other end: plain `send` and `recv` carry them.
//!
//! Contains unsafe: `setsockopt`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// From now on every `send` of more than `segment_len` bytes leaves as datagrams of that length, the last of which may be
/// shorter (UDP_SEGMENT), and a `recv` may yield such a train (UDP_GRO).
///
/// # Errors
/// `ENOPROTOOPT`: the kernel is older than Linux 4.18 (send) or 5.0 (receive).
pub fn fix(socket: impl AsFd, segment_len: u16) -> io::Result<()> {
    let socket = socket.as_fd();
    for (option, value) in [(libc::UDP_SEGMENT, libc::c_int::from(segment_len)), (libc::UDP_GRO, 1)] {
        // SAFETY: the option's value is an int that lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                option,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    #[test]
    fn a_large_send_arrives_as_a_train() {
        let [near, far] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        near.connect(far.local_addr().unwrap()).unwrap();
        fix(&near, 1000).unwrap();
        near.send(&[7; 2500]).unwrap();
        let mut buffer = [0; 4096];
        let lens = [(); 3].map(|()| far.recv(&mut buffer).unwrap());
        assert_eq!(lens, [1000, 1000, 500]);
        fix(&far, 1000).unwrap();
        near.send(&[7; 2500]).unwrap();
        assert_eq!(far.recv(&mut buffer).unwrap(), 2500);
    }
}
