//! What is going to happen, in the order of its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dataplane_wire::Instant;

struct Entry<E> {
    key: Reverse<(Instant, u64)>,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Events by their time; those of one time in the order in which they were entered. Entering and taking cost the logarithm
/// of how many there are.
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Entry<E>>,
    entered: u64,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), entered: 0 }
    }

    pub(crate) fn enter(&mut self, at: Instant, event: E) {
        self.heap.push(Entry { key: Reverse((at, self.entered)), event });
        self.entered += 1;
    }

    /// When the next event is.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.key.0.0)
    }

    /// The next event if it is due by `until`.
    pub(crate) fn take(&mut self, until: Instant) -> Option<(Instant, E)> {
        let at = self.next_at().filter(|at| *at <= until)?;
        self.heap.pop().map(|entry| (at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_entry() {
        let mut agenda = Agenda::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.enter(Instant::from_nanos(at), name);
        }
        let due: String =
            core::iter::from_fn(|| agenda.take(Instant::from_nanos(4))).map(|(_, name)| name).collect();
        assert_eq!(due, "ab");
        assert_eq!(agenda.next_at(), Some(Instant::from_nanos(5)));
        let rest: String = core::iter::from_fn(|| agenda.take(Instant::FAR)).map(|(_, name)| name).collect();
        assert_eq!(rest, "cd");
    }
}
