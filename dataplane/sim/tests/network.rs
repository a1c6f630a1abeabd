//! The world itself: the same seed gives the same bytes, and the model notices what is broken on purpose.

use core::time::Duration;

use dataplane_sim::{Conditions, Failure, Network, scenarios};

fn talk(seed: u64) -> Result<Network, Box<Failure>> {
    let mut net = Network::new("talk", seed);
    let (alice, bob) = (net.host("alice"), net.host("bob"));
    net.peers(alice, bob);
    net.conditions(
        bob,
        Conditions { loss: 100_000, jitter: Duration::from_millis(30), ..Conditions::default() },
    );
    for _ in 0..300 {
        net.send(alice, bob)?;
        net.send(bob, alice)?;
        net.run_for(Duration::from_secs(1))?;
    }
    assert!(net.delivered(alice, bob) > 250);
    Ok(net)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_gives_others() {
    let hash = |seed| talk(seed).unwrap_or_else(|failure| panic!("{failure}")).hash();
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_whole_storm_gives_the_same_bytes_twice() {
    let run = || {
        scenarios::run("whole", 7, false).expect("the scenario").unwrap_or_else(|failure| panic!("{failure}"))
    };
    assert_eq!(run(), run());
}
