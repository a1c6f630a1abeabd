//! What a vector kernel offers, and the shapes it is given.
//!
//! A kernel knows nothing of packets. It works on 32 ChaCha20 blocks side by side, whatever packets they belong to, and on 8
//! Poly1305 sums side by side, each of another packet. A narrower machine does either in several turns.

/// Blocks of ChaCha20 that one call makes.
pub(crate) const BLOCKS: usize = 32;
/// Blocks that a kernel makes if only the first lanes have work.
pub(crate) const BLOCKS_FEW: usize = 16;
/// Poly1305 sums that one call carries on.
pub(crate) const SUMS: usize = 8;
/// Bytes of a ChaCha20 block, and of what one step of Poly1305 takes of each packet.
pub(crate) const BLOCK_LEN: usize = 64;
/// Poly1305 blocks in a step.
pub(crate) const STEP_BLOCKS: usize = 4;
/// "expand 32-byte k" (RFC 8439 §2.3).
pub(crate) const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Bit 128 of a Poly1305 block as the kernels want it: in the block's third limb of 44 bits.
pub(crate) const MARK: u64 = 1 << 40;

/// 64 bytes that fill a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Block(pub(crate) [u8; BLOCK_LEN]);

impl Block {
    pub(crate) const ZERO: Self = Self([0; BLOCK_LEN]);
}

/// Lanes of a [`Group`], from `first` to the next segment's, that share a key and a nonce, with rising block counters.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    /// First lane.
    pub(crate) first: u32,
    /// Which of the keys of the call.
    pub(crate) key: u32,
    /// Block counter of the first lane.
    pub(crate) counter: u32,
    /// The nonce as words.
    pub(crate) nonce: [u32; 3],
}

impl Segment {
    pub(crate) const EMPTY: Self = Self { first: 0, key: 0, counter: 0, nonce: [0; 3] };
}

/// Blocks to be made: what from, and where to.
///
/// Of each lane 64 bytes at `src` are combined with the keystream block and written to `dst`; both may be the same place.
pub(crate) struct Group {
    pub(crate) segments: [Segment; BLOCKS],
    pub(crate) count: usize,
    /// Whether only the first [`BLOCKS_FEW`] lanes have work, and segments.
    pub(crate) few: bool,
    pub(crate) src: [*const u8; BLOCKS],
    pub(crate) dst: [*mut u8; BLOCKS],
}

/// Bytes to be laid into a block: byte 0 belongs at `offset`, which may be before the block or behind it.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
    pub(crate) offset: isize,
}

impl Part {
    /// The bytes of the block that the part covers, as `start..end` within 0..=64.
    #[inline(always)]
    pub(crate) fn cover(&self) -> (usize, usize) {
        let clamp = |at: isize| at.clamp(0, BLOCK_LEN as isize) as usize;
        (clamp(self.offset), clamp(self.offset.wrapping_add_unsigned(self.len)))
    }
}

/// The last block of a Poly1305 message, two lengths, and which 16 bytes of the step it takes.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) at: usize,
    pub(crate) aad: u64,
    pub(crate) text: u64,
}

/// Tags of 8 packets as two little-endian halves each.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Tags {
    pub(crate) low: [u64; SUMS],
    pub(crate) high: [u64; SUMS],
}

/// Whether block `j` of a step counts for a packet: [`MARK`] or, before the message begins, 0.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Marks(pub(crate) [[u64; SUMS]; STEP_BLOCKS]);

impl Marks {
    pub(crate) const ALL: Self = Self([[MARK; SUMS]; STEP_BLOCKS]);
}

/// A vector unit.
///
/// # Safety
/// All functions need a processor that has the unit: the caller has asked it, and holds the kernel as the proof. Further
/// demands stand at each function.
pub(crate) trait Kernel: Copy + Sync {
    /// One-time keys of 8 packets, as powers of r and the final addends.
    type Powers: Copy;
    /// 8 unfinished sums.
    type Sums: Copy;

    /// Short name of the provider on this kernel.
    const LABEL: &'static str;
    /// What holds no secret yet.
    const POWERS: Self::Powers;
    /// Sums of nothing.
    const SUMS: Self::Sums;

    /// Whether a batch of so many packets and bytes of text is faster by this kernel than by the library: measured.
    fn worth_it(packets: usize, bytes: usize) -> bool;

    /// Runs `work` compiled for the kernel's features, if it is inlined, so that small functions need no call.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn enter<R>(work: impl FnOnce() -> R) -> R;

    /// Makes [`BLOCKS`] blocks, or the first [`BLOCKS_FEW`] if the group says so.
    ///
    /// # Safety
    /// Of the lanes that are made, every `src` can be read and every `dst` written for 64 bytes; destinations do not overlap, nor does one overlap a
    /// source other than its own. Every segment's key is among `keys`.
    unsafe fn chacha(keys: &[crate::batch::Key], group: &Group);

    /// Prepares 8 one-time keys, each the first 32 bytes of its block.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn powers(powers: &mut Self::Powers, keys: [&Block; SUMS]);

    /// Adds `steps` times 64 bytes of each packet to its sum; sums whose bit in `active` is not set are zero afterwards.
    ///
    /// # Safety
    /// Every pointer can be read for `steps` times 64 bytes.
    unsafe fn absorb(
        sums: &mut Self::Sums,
        powers: &Self::Powers,
        at: &[*const u8; SUMS],
        steps: usize,
        marks: &Marks,
        active: u8,
    );

    /// Makes tags of the sums.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn finish(sums: &Self::Sums, powers: &Self::Powers) -> Tags;

    /// Fills a block with what two parts cover, the lengths, and zeroes.
    ///
    /// # Safety
    /// The bytes of each part that fall into the block can be read.
    unsafe fn stage(block: &mut Block, parts: [Part; 2], lengths: Option<Lengths>);

    /// Copies the first `len` bytes of a block, at most 64.
    ///
    /// # Safety
    /// `dst` can be written for `len` bytes.
    unsafe fn emit(dst: *mut u8, block: &Block, len: usize);
}
