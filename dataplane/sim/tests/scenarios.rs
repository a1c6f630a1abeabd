//! Every scenario, for a few seeds each; `scripts/sim` runs them for more.

use dataplane_sim::scenarios::{self, Summary};

fn run(name: &str, seeds: core::ops::Range<u64>) -> Vec<Summary> {
    let one = |seed| scenarios::run(name, seed, false).expect("a scenario of this name");
    seeds.map(|seed| one(seed).unwrap_or_else(|failure| panic!("{failure}"))).collect()
}

// WG-54
#[test]
fn a_peer_that_moves_is_followed_at_its_first_packet_and_keeps_its_session() {
    run("roaming", 0..5);
}

// WG-61
#[test]
fn a_keepalive_opens_the_way_again_when_a_nat_has_forgotten_it() {
    run("rebinding", 0..5);
}

#[test]
fn ends_behind_restricted_nats_stay_reachable_for_a_third() {
    run("restricted", 0..5);
}

#[test]
fn a_healed_network_carries_again_within_one_retry() {
    run("partition", 0..3);
}

// WG-42
#[test]
fn a_restarted_end_is_reached_again_within_22_seconds() {
    run("restart", 0..5);
}

// WG-31
#[test]
fn ends_that_begin_at_once_have_one_session_and_lose_nothing() {
    run("crossing", 0..5);
}

// WG-32
#[test]
fn rekeys_come_through_for_an_hour_of_loss() {
    run("rekey", 0..2);
}

// FT-6
#[test]
fn after_a_suspend_no_old_key_is_used_and_the_first_packet_gets_through() {
    run("suspend", 0..3);
}

// FT-6, WG-62
#[test]
fn timers_and_handshakes_do_not_mind_a_wall_clock_that_jumps() {
    run("clock", 0..3);
}

// FT-9
#[test]
fn data_flows_while_the_control_thread_stalls_and_the_rekey_is_made_up_for() {
    run("stall", 0..3);
}

// WG-45, WG-46
#[test]
fn nothing_comes_of_what_strangers_replay_or_change() {
    run("replay", 0..2);
}

// WG-45
#[test]
fn of_reordered_datagrams_those_alone_are_lost_that_the_window_has_left_behind() {
    run("window", 0..2);
}

/// Whether it also has the processor's time is what perf/flood measures.
#[test]
fn who_has_a_session_loses_nothing_beside_floods_and_renews_it() {
    run("floods", 0..2);
}

/// A part of the fifty seeds of the whole network that are an ordinary test: on several cores they run at once.
fn storm(seeds: core::ops::Range<u64>) {
    for summary in run("whole", seeds) {
        assert!(summary.packets.1 > 3000, "{summary:?}");
    }
}

#[test]
fn the_whole_network_recovers_from_everything_seeds_0_to_24() {
    storm(0..25);
}

#[test]
fn the_whole_network_recovers_from_everything_seeds_25_to_49() {
    storm(25..50);
}

#[test]
fn an_empty_datagram_before_one_that_is_handed_to_another_core_is_not_taken_for_it_seeds_103_and_735() {
    storm(103..104);
    storm(735..736);
}

#[test]
fn a_response_that_waited_for_a_stalled_control_thread_makes_no_young_session_seed_2262() {
    storm(2262..2263);
}

#[test]
fn ends_that_use_each_others_session_after_a_late_response_begin_anew_seed_344() {
    storm(344..345);
}
