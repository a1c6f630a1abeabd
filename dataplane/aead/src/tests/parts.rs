//! What each part of a kernel costs, printed; no assertion. Ignored by default, for it is a measurement: `perf/cipher` runs it.
//!
//! Contains unsafe: it reads the time stamp counter, and calls kernels as their callers do.

use core::arch::x86_64::_rdtsc;
use core::hint::black_box;

use super::*;
use crate::lanes::kernel::{BLOCKS, Block, Chains, Group, Kernel, Marks, SUMS};

/// Cycles of the time stamp counter for one call, the least of many.
fn least(mut call: impl FnMut()) -> f64 {
    let mut least = u64::MAX;
    for _ in 0..2_000 {
        // SAFETY: every x86-64 processor has the counter.
        let start = unsafe { _rdtsc() };
        for _ in 0..16 {
            call();
        }
        // SAFETY: as above.
        least = least.min(unsafe { _rdtsc() } - start);
    }
    least as f64 / 16.0
}

/// Core cycles in a cycle of the time stamp counter: additions that wait for each other take one each.
fn clock() -> f64 {
    1_000.0
        / least(|| {
            let mut x = black_box(1u64);
            for _ in 0..125 {
                // SAFETY: adds registers.
                unsafe {
                    core::arch::asm!(
                        "add {x}, {x}", "add {x}, {x}", "add {x}, {x}", "add {x}, {x}",
                        "add {x}, {x}", "add {x}, {x}", "add {x}, {x}", "add {x}, {x}",
                        x = inout(reg) x, options(nostack, nomem)
                    );
                }
            }
            black_box(x);
        })
}

fn parts<K: Kernel>() {
    let keys = Random(20).keys(2);
    let mut arena = vec![Block::ZERO; 256];
    let base: *mut u8 = arena.as_mut_ptr().cast();
    let clock = clock();
    println!("{}: {clock:.2} core cycles per TSC cycle", K::LABEL);
    let mut group = Group::EMPTY;
    for lane in 0..BLOCKS {
        group.src[lane] = base.wrapping_add(8_192 + lane * 64 + 8);
        group.dst[lane] = base.wrapping_add(lane * 64 + 16);
    }
    let mut chains = Chains::IDLE;
    chains.blocks = K::CHAIN_BLOCKS;
    for runs in [1, 2, 32] {
        group.count = 0;
        for run in 0..runs {
            group.segment(run * BLOCKS / runs, BLOCKS / runs, run as u32 % 2, 1, [0; 3]);
        }
        // SAFETY: pointers lie in the arena; the processor was asked.
        let cycles = clock * least(|| unsafe { K::chacha(&keys, &group, &mut chains) });
        println!("  chacha, {runs} runs of keys: {cycles:.0} cycles, {:.3} per byte", cycles / 2048.0);
    }
    let mut powers = K::POWERS;
    // SAFETY: the processor was asked.
    let cycles = clock * least(|| unsafe { K::powers(&mut powers, [&arena[0]; SUMS]) });
    println!("  powers: {cycles:.0} cycles");
    let mut sums = K::SUMS;
    let at = core::array::from_fn(|lane| base.cast_const().wrapping_add(lane * 1468 + 16));
    for steps in [1, 4, 22] {
        // SAFETY: pointers lie in the arena; the processor was asked.
        let call = || unsafe { K::absorb(&mut sums, &powers, &at, steps, &Marks::ALL, 255) };
        let cycles = clock * least(call);
        println!("  absorb {steps}: {cycles:.0} cycles, {:.3} per byte", cycles / (512 * steps) as f64);
    }
    let call = || {
        // SAFETY: the processor was asked.
        black_box(unsafe { K::finish(&sums, &powers) });
    };
    let cycles = clock * least(call);
    println!("  finish: {cycles:.0} cycles");
}

#[test]
#[ignore = "a measurement, which proves nothing: perf/cipher runs it"]
fn parts_cost_what_is_printed() {
    if crate::avx512::lanes().is_some() {
        parts::<crate::avx512::Avx512>();
    }
    if crate::avx2::lanes().is_some() {
        parts::<crate::avx2::Avx2>();
    }
}
