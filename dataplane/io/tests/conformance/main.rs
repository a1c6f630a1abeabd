//! One suite over every backend: what `PacketIo` promises, whoever implements it.

mod faults;
mod labs;
mod suite;

/// The suite over one lab.
macro_rules! conformance {
    ($($module:ident: $lab:ty,)+) => {$(
        mod $module {
            use super::{labs, suite};
            type Lab = $lab;

            // EN-3 EN-4 EN-11
            #[test]
            fn trains_arrive_as_the_datagrams_that_were_sent() { suite::trains_arrive_as_the_datagrams_that_were_sent::<Lab>(); }
            // EN-11
            #[test]
            fn datagrams_of_every_length_keep_their_boundaries() { suite::datagrams_of_every_length_keep_their_boundaries::<Lab>(); }
            // EN-4
            #[test]
            fn each_destination_gets_its_own_in_order() { suite::each_destination_gets_its_own_in_order::<Lab>(); }
            // EN-4
            #[test]
            fn ecn_marks_are_carried_and_never_mixed() { suite::ecn_marks_are_carried_and_never_mixed::<Lab>(); }
            #[test]
            fn addresses_of_both_ends_are_reported() { suite::addresses_of_both_ends_are_reported::<Lab>(); }
            // WG-55
            #[test]
            fn a_chosen_source_is_used() { suite::a_chosen_source_is_used::<Lab>(); }
            // WG-55
            #[test]
            fn a_source_that_is_not_ours_is_reported_and_left_out() { suite::a_source_that_is_not_ours_is_reported_and_left_out::<Lab>(); }
            // EN-3
            #[test]
            fn what_exceeds_a_slot_is_counted_and_the_rest_arrives() { suite::what_exceeds_a_slot_is_counted_and_the_rest_arrives::<Lab>(); }
            // EN-13
            #[test]
            fn without_a_socket_datagrams_are_counted() { suite::without_a_socket_datagrams_are_counted::<Lab>(); }
            // FT-1
            #[test]
            fn an_unreachable_destination_is_counted_and_stops_nobody() { suite::an_unreachable_destination_is_counted_and_stops_nobody::<Lab>(); }
            // EN-5
            #[test]
            fn without_offloads_the_same_datagrams_arrive_singly() { suite::without_offloads_the_same_datagrams_arrive_singly::<Lab>(); }
            #[test]
            fn descriptors_become_readable_and_tell_which_socket() { suite::descriptors_become_readable_and_tell_which_socket::<Lab>(); }
            #[test]
            fn a_small_ring_loses_nothing() { suite::a_small_ring_loses_nothing::<Lab>(); }
            #[test]
            fn a_busy_socket_does_not_starve_the_others() { suite::a_busy_socket_does_not_starve_the_others::<Lab>(); }
            #[test]
            fn removed_sockets_come_back_out_and_their_id_is_free_again() { suite::removed_sockets_come_back_out_and_their_id_is_free_again::<Lab>(); }
            // EN-13
            #[test]
            fn under_overload_every_datagram_is_counted_once() { suite::under_overload_every_datagram_is_counted_once::<Lab>(); }
        }
    )+};
}

conformance! {
    udp_v4: labs::Udp<false>,
    udp_v6: labs::Udp<true>,
    mem_v4: labs::Mem<false>,
    mem_v6: labs::Mem<true>,
    faulty_udp: labs::Shaken<labs::Udp<false>>,
    faulty_mem: labs::Shaken<labs::Mem<true>>,
}
