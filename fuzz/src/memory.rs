//! Buffers and send trains under ghost ownership: beside each pool stands a record of who owns which byte.

use std::collections::BTreeMap;
use std::ops::Range;

use dataplane_io::memory::{Pool, PoolSizes, Region, Run};
use dataplane_io::{Buf, Class, Plan};

use crate::input::Input;

/// Steps of one input.
const STEPS_MAX: usize = 300;
/// Of each pool, and of what is left for runs.
const FRAMES: usize = 6;
const SLABS: usize = 2;
const RESERVE: usize = 2;

/// Something alive that owns bytes.
enum Held {
    Buf { buf: Buf, pool: usize, mark: u8 },
    Run { run: Run, mark: u8 },
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buf { buf, .. } => buf,
            Self::Run { run, .. } => run,
        }
    }

    fn write(&mut self, value: u8) {
        let (bytes, mark): (&mut [u8], _) = match self {
            Self::Buf { buf, mark, .. } => (buf, mark),
            Self::Run { run, mark } => (run, mark),
        };
        *mark = value;
        // Both ends, and the middle: enough to see an overlap with any other.
        let (len, middle) = (bytes.len(), bytes.len() / 2);
        for at in [0, 1, middle, len - 1] {
            bytes[at] = value;
        }
    }

    fn holds(&self) -> bool {
        let (bytes, mark) = (
            self.bytes(),
            match self {
                Self::Buf { mark, .. } | Self::Run { mark, .. } => *mark,
            },
        );
        [0, 1, bytes.len() / 2, bytes.len() - 1].iter().all(|at| bytes[*at] == mark)
    }
}

struct World {
    region: Region,
    /// `None` once it is dropped: its buffers live on.
    pools: [Option<Pool>; 2],
    held: Vec<Held>,
    /// First and last address of everything alive.
    owned: BTreeMap<usize, usize>,
}

/// Two pools and runs of one region: taken, written, put back to the right pool or the wrong one, dropped, pools dropped under
/// their buffers. No byte ever has two owners, none is lost, and ordinary traffic never gets the reserve.
pub fn memory(data: &[u8]) {
    let mut input = Input::new(data);
    let plan = Plan::new()
        .with("pools", Class::Frame, 2 * FRAMES)
        .with("pools", Class::Slab, 2 * SLABS)
        .with("runs", Class::Frame, FRAMES);
    let region = Region::new(&plan).expect("memory");
    let sizes = PoolSizes { slabs: SLABS, slabs_reserve: 0, frames: FRAMES, frames_reserve: RESERVE };
    let pools = [0, 1].map(|_| Some(Pool::new(&region, sizes).expect("its line of the plan")));
    let mut world = World { region, pools, held: Vec::new(), owned: BTreeMap::new() };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let number = usize::from(input.byte() & 1);
        match input.pick(9) {
            0 | 1 => self.take(number, Class::Frame, false),
            2 => self.take(number, Class::Slab, false),
            3 => self.take(number, if input.byte() & 1 == 0 { Class::Frame } else { Class::Slab }, true),
            4 => {
                let Some(held) = self.any(input) else { return };
                match (held, &mut self.pools[number]) {
                    (Held::Buf { buf, .. }, Some(pool)) => pool.put(buf),
                    // Goes home by itself.
                    (held, _) => drop(held),
                }
            }
            5 => drop(self.any(input)),
            6 => {
                let value = input.byte();
                if let Some(at) = self.held.len().checked_sub(1).map(|last| input.below(last + 1)) {
                    self.held[at].write(value);
                }
            }
            7 => self.run(1 + usize::from(input.pick(4))),
            _ => {
                // Rare: afterwards there is little left to do.
                if input.pick(8) == 0 {
                    self.pools[number] = None;
                }
            }
        }
        for number in 0..2 {
            self.counts(number);
        }
        assert!(self.held.iter().all(Held::holds), "somebody wrote into another's bytes");
    }

    /// Buffers of a pool that are out.
    fn out(&self, number: usize, class: Class) -> usize {
        let of = |held: &&Held| matches!(held, Held::Buf { buf, pool, .. } if *pool == number && buf.class() == class);
        self.held.iter().filter(of).count()
    }

    fn take(&mut self, number: usize, class: Class, reserved: bool) {
        let (all, reserve) = if class == Class::Frame { (FRAMES, RESERVE) } else { (SLABS, 0) };
        let free = all - self.out(number, class);
        let Some(pool) = &mut self.pools[number] else { return };
        let (buf, given) = match reserved {
            true => (pool.take_reserved(class), free > 0),
            false => (pool.take(class), free > reserve),
        };
        assert_eq!(buf.is_some(), given, "{free} of {all} {class:?} were free");
        let Some(buf) = buf else { return };
        assert_eq!((buf.class(), buf.len()), (class, class.bytes()));
        let mark = buf[0];
        self.own(Held::Buf { buf, pool: number, mark });
    }

    fn run(&mut self, count: usize) {
        // Pools that are gone have given their units back, where no buffer of theirs is alive.
        let of_pools: usize = (0..2)
            .filter(|number| {
                self.pools[*number].is_some()
                    || self.out(*number, Class::Frame) + self.out(*number, Class::Slab) > 0
            })
            .map(|_| FRAMES)
            .sum();
        let of_runs: usize =
            self.held.iter().map(|held| if let Held::Run { run, .. } = held { run.count() } else { 0 }).sum();
        let left = 3 * FRAMES - of_pools - of_runs;
        match self.region.run(Class::Frame, count) {
            Ok(run) => {
                assert!(count <= left, "{count} frames where {left} are left");
                let mark = run[0];
                self.own(Held::Run { run, mark });
            }
            // Free units may lie apart; a single one never does.
            Err(_) => assert!(count > 1 || left == 0, "{left} frames are left"),
        }
    }

    /// Enters an owner, whose bytes nobody else may have.
    fn own(&mut self, mut held: Held) {
        let Range { start, end } = held.bytes().as_ptr_range();
        let (start, end) = (start as usize, end as usize);
        let before = self.owned.range(..end).next_back();
        assert!(before.is_none_or(|(_, last)| *last <= start), "bytes with two owners");
        assert!(start.is_multiple_of(2048), "aligned to a frame");
        self.owned.insert(start, end);
        held.write(self.held.len() as u8);
        self.held.push(held);
    }

    fn any(&mut self, input: &mut Input<'_>) -> Option<Held> {
        let last = self.held.len().checked_sub(1)?;
        let held = self.held.swap_remove(input.below(last + 1));
        self.owned.remove(&(held.bytes().as_ptr() as usize));
        Some(held)
    }

    fn counts(&mut self, number: usize) {
        let out = [Class::Frame, Class::Slab].map(|class| self.out(number, class));
        let Some(pool) = &mut self.pools[number] else { return };
        let free = [Class::Frame, Class::Slab].map(|class| pool.free(class));
        assert_eq!([free[0] + out[0], free[1] + out[1]], [FRAMES, SLABS], "a buffer was lost or made");
    }

    /// When everybody has let go, the region is whole again.
    fn end(self) {
        let Self { region, pools, held, .. } = self;
        drop((held, pools));
        assert!(region.run(Class::Frame, 3 * FRAMES).is_ok(), "frames were lost");
        assert!(region.run(Class::Slab, 2 * SLABS).is_ok(), "slabs were lost");
    }
}
