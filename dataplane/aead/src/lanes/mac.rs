//! Hot: tags of up to 8 packets side by side.
//!
//! 1. Each packet's message is its associated data, its ciphertext, each filled up with zeroes to 16 bytes, and their
//!    lengths (RFC 8439 §2.8), cut into steps of 64 bytes. Messages are aligned at their ends: before a shorter one begins,
//!    its lane idles, and its first step is filled up in front with zero blocks that do not count.
//! 2. Steps that lie in the ciphertext as a whole are read where they are.
//! 3. The others, a first and a last one as a rule, are put together in slots.
//!
//! Contains unsafe: calls the kernel with pointers into the arenas.

use crate::lanes::kernel::{BLOCK_LEN, Block, Kernel, Lengths, MARK, Marks, Part, STEP_BLOCKS, SUMS, Tags};
use crate::lanes::packet::Bytes;

/// Bytes of a Poly1305 block.
const SUM_LEN: usize = 16;

/// The message of one packet.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    aad: Bytes,
    text: Bytes,
    /// Where the text begins, in bytes from the first step's beginning: zero blocks and associated data come before it.
    text_at: usize,
    /// Zero blocks before the message, fewer than 4.
    before: usize,
    /// The step in which the message begins.
    start: usize,
    /// Its steps.
    steps: usize,
    /// Steps, counted from `start`, that lie in the text as a whole.
    whole: (usize, usize),
}

impl Message {
    pub(crate) fn new(aad: Bytes, text: Bytes) -> Self {
        let aad_blocks = aad.len.div_ceil(SUM_LEN);
        let blocks = aad_blocks + text.len.div_ceil(SUM_LEN) + 1;
        let steps = blocks.div_ceil(STEP_BLOCKS);
        let before = steps * STEP_BLOCKS - blocks;
        let text_at = (before + aad_blocks) * SUM_LEN;
        Self {
            aad,
            text,
            text_at,
            before,
            start: 0,
            steps,
            whole: (text_at.div_ceil(BLOCK_LEN), (text_at + text.len) / BLOCK_LEN),
        }
    }

    /// Whether a step of the batch lies in the text as a whole.
    #[inline(always)]
    fn is_whole(&self, step: usize) -> bool {
        step >= self.start + self.whole.0 && step < self.start + self.whole.1
    }

    /// Where a whole step lies.
    #[inline(always)]
    fn place(&self, step: usize) -> *const u8 {
        self.text.ptr.wrapping_add((step - self.start) * BLOCK_LEN).wrapping_sub(self.text_at)
    }

    /// # Safety
    /// The processor has the kernel; associated data and text can be read.
    #[inline(always)]
    unsafe fn stage<K: Kernel>(&self, step: usize, slot: &mut Block) {
        let at = ((step - self.start) * BLOCK_LEN) as isize;
        let parts = [
            Part { ptr: self.aad.ptr, len: self.aad.len, offset: (self.before * SUM_LEN) as isize - at },
            Part { ptr: self.text.ptr, len: self.text.len, offset: self.text_at as isize - at },
        ];
        let lengths = (step + 1 == self.start + self.steps).then_some(Lengths {
            at: STEP_BLOCKS - 1,
            aad: self.aad.len as u64,
            text: self.text.len as u64,
        });
        // SAFETY: the caller's.
        unsafe { K::stage(slot, parts, lengths) };
    }
}

/// What tags are made on. It holds secrets; its owner erases it.
pub(crate) struct Desk<K: Kernel> {
    powers: K::Powers,
    sums: K::Sums,
    slots: [Block; SUMS],
}

impl<K: Kernel> Desk<K> {
    pub(crate) fn new() -> Self {
        Self { powers: K::POWERS, sums: K::SUMS, slots: [Block::ZERO; SUMS] }
    }
}

/// Tags of 1..=8 messages. Lanes without a message repeat the first one's.
///
/// # Safety
/// The processor has the kernel; associated data and text of each message can be read.
#[inline(always)]
pub(crate) unsafe fn tags<K: Kernel>(messages: &mut [Message], keys: &[Block], desk: &mut Desk<K>) -> Tags {
    let count = messages.len().min(keys.len()).min(SUMS);
    let key = |lane: usize| &keys[if lane < count { lane } else { 0 }];
    // SAFETY: the caller's.
    unsafe { K::powers(&mut desk.powers, core::array::from_fn(key)) };
    desk.sums = K::SUMS;
    let steps = messages.iter().map(|m| m.steps).max().unwrap_or(0);
    let mut longest = 0;
    for (lane, message) in messages.iter_mut().enumerate() {
        message.start = steps - message.steps;
        if message.start == 0 {
            longest = lane;
        }
    }
    let mut step = 0;
    while step < steps {
        // SAFETY: the caller's.
        step += unsafe { advance::<K>(messages, longest, step, desk) };
    }
    // SAFETY: the caller's.
    unsafe { K::finish(&desk.sums, &desk.powers) }
}

/// As many steps as can be done alike, and how many they were.
///
/// # Safety
/// As [`tags`].
#[inline(always)]
unsafe fn advance<K: Kernel>(messages: &[Message], longest: usize, step: usize, desk: &mut Desk<K>) -> usize {
    // How long every lane stays as it is now: idle, or within its text.
    let mut run = usize::MAX;
    let mut active = 0u8;
    let mut whole = 0u8;
    for (lane, message) in messages.iter().enumerate() {
        if step < message.start {
            run = run.min(message.start - step);
            continue;
        }
        active |= 1 << lane;
        if message.is_whole(step) {
            whole |= 1 << lane;
            run = run.min(message.start + message.whole.1 - step);
        }
    }
    let mut at = [core::ptr::null(); SUMS];
    if whole == active {
        // An idle lane reads what the longest message reads; the kernel clears its sum.
        for (lane, at) in at.iter_mut().enumerate() {
            let lane = if active & (1 << lane) == 0 { longest } else { lane };
            *at = messages[lane].place(step);
        }
        // SAFETY: `run` steps lie in the text of every message read here.
        unsafe { K::absorb(&mut desk.sums, &desk.powers, &at, run, &Marks::ALL, active) };
        return run;
    }
    let mut marks = Marks::ALL;
    for (lane, at) in at.iter_mut().enumerate() {
        let from = if active & (1 << lane) == 0 { longest } else { lane };
        if whole & (1 << from) != 0 {
            *at = messages[from].place(step);
            continue;
        }
        let slot = &mut desk.slots[lane];
        *at = (slot as *mut Block).cast();
        let message = &messages[from];
        // SAFETY: the caller's.
        unsafe { message.stage::<K>(step, slot) };
        if step == message.start {
            for (j, mark) in marks.0.iter_mut().enumerate() {
                mark[lane] = if j < message.before { 0 } else { MARK };
            }
        }
    }
    // SAFETY: every pointer is to a slot or to a step within a text.
    unsafe { K::absorb(&mut desk.sums, &desk.powers, &at, 1, &marks, active) };
    1
}
