//! The replay window against the plainest thing that does what it must: the set of all counters that were accepted.

use std::collections::BTreeSet;

use dataplane_proto::replay::{EMPTY, REJECT_AFTER_MESSAGES, Replay, WINDOW};

use crate::input::Input;

/// The rule in plain words: new, below the limit, and not more than the window behind the highest.
#[derive(Default)]
struct Model(BTreeSet<u64>);

impl Model {
    fn accept(&mut self, counter: u64) -> bool {
        let near = self.0.last().is_none_or(|last| counter > *last || last - counter <= WINDOW);
        counter < REJECT_AFTER_MESSAGES && near && self.0.insert(counter)
    }

    fn highest(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }
}

/// Counters in any order: the bitmap takes what the set takes, checking changes nothing, and no counter is taken twice.
pub fn replay(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut window, mut bitmap, mut model) = (Replay::default(), Box::new(EMPTY), Model::default());
    let mut offer = |model: &mut Model, counter: u64| {
        let before = window;
        let said = window.may_accept(&bitmap, counter);
        assert_eq!(window, before, "checking {counter} moved the window");
        let did = window.accept(&mut bitmap, counter);
        assert_eq!(said, did, "check and commit differ on {counter}");
        assert_eq!(did, model.accept(counter), "counter {counter}, highest {}", model.highest());
        assert!(!window.may_accept(&bitmap, counter), "{counter} could come twice");
        assert_eq!(window.is_fresh(), model.0.is_empty());
    };
    while !input.is_empty() {
        let highest = model.highest();
        let step = |step: i64| highest.saturating_add_signed(step);
        match input.pick(8) {
            0 => offer(&mut model, step(i64::from(input.byte() as i8))),
            1 => offer(&mut model, step(i64::from(input.u16() as i16))),
            // Both edges of the window, and a whole bitmap ahead.
            2 => offer(&mut model, step(i64::from(input.byte() as i8) - WINDOW as i64)),
            3 => offer(&mut model, step(i64::from(input.byte() as i8) + WINDOW as i64)),
            4 => offer(&mut model, input.u64()),
            5 => offer(&mut model, REJECT_AFTER_MESSAGES.wrapping_add_signed(i64::from(input.u16() as i16))),
            6 => {
                let (first, count) = (step(i64::from(input.byte() as i8) * 64), u64::from(input.byte()));
                (0..count).for_each(|more| offer(&mut model, first.saturating_add(more)));
            }
            _ => {
                // One that is known, or lies beside one that is.
                let (at, beside) = (input.below(65_536), input.byte() & 1);
                let known = model.0.iter().nth(at % model.0.len().max(1)).copied().unwrap_or(0);
                offer(&mut model, known + u64::from(beside));
            }
        }
    }
}
