//! Hot: tags of up to 8 packets side by side.
//!
//! 1. Each packet's message is its associated data, its ciphertext, each filled up with zeroes to 16 bytes, and their
//!    lengths (RFC 8439 §2.8), cut into steps of 64 bytes. Messages are aligned at their ends: before a shorter one begins,
//!    its lane idles, and its first step is filled up in front with zero blocks that do not count.
//! 2. Steps that lie in the ciphertext as a whole are read where they are.
//! 3. The others, a first and a last one as a rule, are put together in slots.
//!
//! Contains unsafe: calls the kernel with pointers into the arenas.

use crate::lanes::ahead;
use crate::lanes::ends;
use crate::lanes::kernel::{
    BLOCK_LEN, Block, Kernel, Lengths, MARK, Marks, Part, STEP_BLOCKS, SUM_LEN, SUMS, Tags,
};
use crate::lanes::packet::Bytes;

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

/// Sums of those packets of whom `steps` steps are summed up, joined to the others.
///
/// Not inlined, so that its copies of sums lie where the stack is erased.
///
/// # Safety
/// As [`even_tags`].
#[inline(never)]
unsafe fn join<K: Kernel>(at: usize, steps: &[usize; SUMS], keys: &[&Block; SUMS], desk: &mut Desk<K>) {
    let mut words = [[0; SUMS]; 3];
    for lane in 0..SUMS {
        if steps[lane] == at {
            [words[0][lane], words[1][lane], words[2][lane]] = ahead::sum(keys[lane]);
        }
    }
    // SAFETY: the caller's.
    unsafe { K::join(&mut desk.sums, &words) };
}

/// Tags of 1..=8 texts of `len` bytes without associated data, of which `done` blocks are summed up already.
///
/// # Safety
/// The processor has the kernel; texts can be read, and 16 bytes behind each, where its tag belongs; there are as many keys
/// and counts as texts; sums stand behind keys where there are blocks done.
#[inline(always)]
pub(crate) unsafe fn even_tags<K: Kernel>(
    texts: &[*const u8],
    len: usize,
    done: &[usize],
    keys: &[&Block],
    desk: &mut Desk<K>,
) -> Tags {
    if K::ENDS && done.iter().any(|done| *done > 0) {
        // SAFETY: the caller's.
        return unsafe { ends::tags::<K>(texts, len, done, keys) };
    }
    let count = texts.len().min(keys.len()).min(done.len()).min(SUMS);
    let all = u8::MAX >> (SUMS - count);
    let text: [*const u8; SUMS] = core::array::from_fn(|lane| texts[if lane < count { lane } else { 0 }]);
    let keys: [&Block; SUMS] = core::array::from_fn(|lane| keys[if lane < count { lane } else { 0 }]);
    // Chains stop at whole steps.
    let steps = core::array::from_fn(|lane| done[if lane < count { lane } else { 0 }] / STEP_BLOCKS);
    // SAFETY: the caller's.
    unsafe { K::powers(&mut desk.powers, keys) };
    desk.sums = K::SUMS;
    let (least, most) = steps.iter().fold((steps[0], steps[0]), |(l, m), of| (l.min(*of), m.max(*of)));
    if least < most {
        // A four may be ahead of the other: the other is brought to the same step first, alone.
        if least > 0 {
            // SAFETY: the caller's.
            unsafe { join::<K>(least, &steps, &keys, desk) };
        }
        let behind = (0..SUMS).fold(0, |lanes, lane| lanes | u8::from(steps[lane] == least) << lane);
        let at = text.map(|text| text.wrapping_add(least * BLOCK_LEN));
        // SAFETY: so many steps lie in each text, for all are of equal length.
        unsafe { K::absorb(&mut desk.sums, &desk.powers, &at, most - least, &Marks::ALL, behind) };
    }
    if most > 0 {
        // SAFETY: the caller's.
        unsafe { join::<K>(most, &steps, &keys, desk) };
    }
    let whole = len / BLOCK_LEN;
    if whole > most {
        let at = text.map(|text| text.wrapping_add(most * BLOCK_LEN));
        // SAFETY: so many steps lie in each text.
        unsafe { K::absorb(&mut desk.sums, &desk.powers, &at, whole - most, &Marks::ALL, all) };
    }
    // What is left are less than 64 bytes and the lengths: 1 to 5 blocks.
    let rest = len % BLOCK_LEN;
    let lengths = Lengths { at: STEP_BLOCKS - 1, aad: 0, text: len as u64 };
    let nothing = Part { ptr: core::ptr::null(), len: 0, offset: 0 };
    let mut blocks = rest.div_ceil(SUM_LEN) + 1;
    if rest > 0 {
        let offset = (STEP_BLOCKS.saturating_sub(blocks) * SUM_LEN) as isize;
        for (slot, text) in desk.slots.iter_mut().zip(&text[..count]) {
            let part = Part { ptr: text.wrapping_add(whole * BLOCK_LEN), len: rest, offset };
            // SAFETY: the rest of the text can be read.
            unsafe { K::stage(slot, [part, nothing], (blocks <= STEP_BLOCKS).then_some(lengths)) };
        }
    }
    let slot =
        |lane: usize, slots: &[Block; SUMS]| (&raw const slots[if lane < count { lane } else { 0 }]).cast();
    let mut at: [*const u8; SUMS] = core::array::from_fn(|lane| slot(lane, &desk.slots));
    if blocks > STEP_BLOCKS {
        // SAFETY: slots are 64 bytes.
        unsafe { K::absorb(&mut desk.sums, &desk.powers, &at, 1, &Marks::ALL, all) };
        blocks = 1;
    }
    if blocks == 1 {
        // Nothing but lengths, which are everyone's.
        // SAFETY: there is no part to be read.
        unsafe { K::stage(&mut desk.slots[0], [nothing; 2], Some(lengths)) };
        at = [(&raw const desk.slots[0]).cast(); SUMS];
    }
    // SAFETY: slots are 64 bytes.
    unsafe {
        K::last(&mut desk.sums, &desk.powers, &at, blocks);
        K::finish(&desk.sums, &desk.powers)
    }
}

/// Tags of 1..=8 messages. Lanes without a message repeat the first one's.
///
/// # Safety
/// The processor has the kernel; associated data and text of each message can be read.
#[inline(always)]
pub(crate) unsafe fn tags<K: Kernel>(messages: &mut [Message], keys: &[&Block], desk: &mut Desk<K>) -> Tags {
    let count = messages.len().min(keys.len()).min(SUMS);
    let key = |lane: usize| keys[if lane < count { lane } else { 0 }];
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
