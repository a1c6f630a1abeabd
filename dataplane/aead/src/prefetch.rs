//! Asks the processor for memory before it is needed.
//!
//! Contains unsafe: the instruction takes a raw pointer.
//!
//! It stands here because it is the one more thing, beside vectors, that is written for a processor: a caller that knows
//! which keys and records a whole batch will use has their misses under way at once, instead of waiting for each in turn.

/// Begins to load the cache line in which a value begins. Changes nothing but time.
///
/// Cost: an instruction that waits for nothing; none where the processor is not known.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is a hint, which reads nothing into the program and faults on no address; this one is that of
        // a live value besides.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
