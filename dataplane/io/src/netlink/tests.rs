//! Links of a real kernel, in a namespace of each test's own.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::*;
use crate::inner::Inner;
use crate::poll::{Interest, Poller, Token};
use crate::testing::{Namespace, in_namespace};
use crate::tun::{Existing, Offloads, Options, open};

const TUN: Options<'static> =
    Options { name: "nl0", queues: 1, existing: Existing::Refuse, offloads: Offloads::NONE };

fn next(monitor: &mut LinkMonitor) -> LinkEvent {
    let mut poller = Poller::new(1).unwrap();
    poller.add(monitor.as_fd(), Token(0), Interest::Read).unwrap();
    loop {
        if let Some(change) = monitor.poll_change().unwrap() {
            return change.event;
        }
        poller.wait(Some(Duration::from_secs(5))).unwrap();
        assert!(poller.ready().count() > 0, "no event came");
    }
}

#[test]
fn a_link_is_found_by_name_and_by_number_or_not_at_all() {
    in_namespace(|| {
        let mut links = Links::open().unwrap();
        let loopback = links.find("lo").unwrap();
        assert_eq!((loopback.name.as_str(), loopback.up), ("lo", true));
        assert_eq!(links.state(loopback.index).unwrap(), loopback);
        for error in [links.find("nosuch0").unwrap_err(), links.state(4711).unwrap_err()] {
            assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        }
    });
}

#[test]
fn up_down_mtu_and_removal_are_told_in_order() {
    in_namespace(|| {
        let (mut device, _queues) = open(&TUN).unwrap();
        let mut monitor = LinkMonitor::open().unwrap();
        let state = monitor.watch(device.index().unwrap()).unwrap();
        assert!(!state.up);
        device.set_up(true).unwrap();
        device.set_mtu(1400).unwrap();
        device.set_up(false).unwrap();
        Links::open().unwrap().remove(state.index).unwrap();
        let events = [(); 4].map(|()| next(&mut monitor));
        assert_eq!(events, [LinkEvent::Up, LinkEvent::Mtu(1400), LinkEvent::Down, LinkEvent::Gone]);
        assert_eq!(monitor.poll_change().unwrap(), None);
    });
}

#[test]
fn an_interface_that_moves_to_another_namespace_is_told_of_and_carries_on() {
    let Some(other) = Namespace::new() else { return };
    let netns = other.run(|| std::fs::File::open("/proc/thread-self/ns/net").unwrap());
    in_namespace(move || {
        let (device, mut queues) = open(&TUN).unwrap();
        let mut monitor = LinkMonitor::open().unwrap();
        let index = monitor.watch(device.index().unwrap()).unwrap().index;
        let mut links = Links::open().unwrap();
        let mut request = Request::link(libc::RTM_SETLINK, index, 0, 0);
        request.push(attr::NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        links.acknowledged(request).unwrap();
        assert_eq!(next(&mut monitor), LinkEvent::Moved);
        assert_eq!(links.state(index).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        // There it can be set up, and what it is given to send still comes here.
        other.run(|| {
            let mut links = Links::open().unwrap();
            let index = links.find("nl0").unwrap().index;
            links.add_address(index, "10.0.0.1".parse().unwrap(), 24).unwrap();
            links.set(index, &LinkSettings { up: Some(true), ..LinkSettings::default() }).unwrap();
            std::net::UdpSocket::bind("10.0.0.1:0").unwrap().send_to(b"there", "10.0.0.2:7").unwrap();
        });
        let mut buffer = [0; 2048];
        let arrived =
            std::iter::from_fn(|| queues[0].recv(&mut buffer).unwrap().map(|len| buffer[..len].to_vec()));
        assert!(arrived.take(50).any(|packet| packet.ends_with(b"there")));
    });
}

#[test]
fn links_that_are_not_watched_are_told_of_as_one_event() {
    in_namespace(|| {
        let (mut device, _queues) = open(&TUN).unwrap();
        let mut monitor = LinkMonitor::open().unwrap();
        assert_eq!(monitor.poll_change().unwrap(), None);
        device.set_mtu(1300).unwrap();
        device.set_mtu(1400).unwrap();
        assert_eq!(next(&mut monitor), LinkEvent::Elsewhere);
    });
}

// FT-1
#[test]
fn an_address_on_a_link_that_is_not_watched_is_told_of_and_one_on_a_watched_link_is_not() {
    in_namespace(|| {
        let (mut device, _queues) = open(&TUN).unwrap();
        let (mut monitor, mut watcher) = (LinkMonitor::open().unwrap(), LinkMonitor::open().unwrap());
        watcher.watch(device.index().unwrap()).unwrap();
        device.add_address("10.9.8.7".parse().unwrap(), 24).unwrap();
        assert_eq!(next(&mut monitor), LinkEvent::Elsewhere);
        assert_eq!(watcher.poll_change().unwrap(), None);
    });
}

#[test]
fn a_burst_that_overruns_the_socket_is_made_good_by_asking() {
    in_namespace(|| {
        let (mut device, _queues) = open(&TUN).unwrap();
        let mut monitor = LinkMonitor::open().unwrap();
        monitor.watch(device.index().unwrap()).unwrap();
        for mtu in 1000..1900 {
            device.set_mtu(mtu).unwrap();
        }
        device.set_up(true).unwrap();
        let (mut mtu, mut up) = (0, false);
        while let Some(change) = monitor.poll_change().unwrap() {
            match change.event {
                LinkEvent::Mtu(now) => mtu = now,
                LinkEvent::Up => up = true,
                _ => {}
            }
        }
        assert_eq!((mtu, up), (1899, true));
    });
}

#[test]
fn an_address_is_added_once() {
    in_namespace(|| {
        let (mut device, _queues) = open(&TUN).unwrap();
        for address in ["10.9.8.7", "fd00::7"] {
            let address: IpAddr = address.parse().unwrap();
            device.add_address(address, 32).unwrap();
            device.set_up(true).unwrap();
            std::net::UdpSocket::bind((address, 0)).unwrap();
            assert!(device.add_address(address, 32).is_err());
        }
    });
}
