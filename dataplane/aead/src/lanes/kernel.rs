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

    /// 8 bytes of the block as a number.
    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[8 * at..8 * at + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Puts a number where [`Block::word`] finds it.
    #[inline(always)]
    pub(crate) fn put_word(&mut self, at: usize, word: u64) {
        self.0[8 * at..8 * at + 8].copy_from_slice(&word.to_le_bytes());
    }
}

/// Lanes of a [`Group`], from `first` to the next run's, that share a key.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    /// First lane.
    pub(crate) first: u32,
    /// Which of the keys of the call.
    pub(crate) key: u32,
}

/// A word of the state of every lane. What lies behind the last lane means nothing: a row is written in whole vectors.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Row(pub(crate) [u32; 2 * BLOCKS]);

/// Blocks to be made: what from, and where to.
///
/// Of each lane 64 bytes at `src` are combined with the keystream block and written to `dst`; both may be the same place.
pub(crate) struct Group {
    /// Runs of lanes that share a key; the first begins at lane 0.
    pub(crate) runs: [Run; BLOCKS],
    pub(crate) count: usize,
    /// Block counters and the three words of nonces.
    pub(crate) rows: [Row; 4],
    /// Whether only the first [`BLOCKS_FEW`] lanes have work, and runs.
    pub(crate) few: bool,
    /// As with rows, only the first [`BLOCKS`] mean something.
    pub(crate) src: [*const u8; 2 * BLOCKS],
    pub(crate) dst: [*mut u8; 2 * BLOCKS],
}

impl Group {
    /// A group without work.
    pub(crate) const EMPTY: Self = Self {
        runs: [Run { first: 0, key: 0 }; BLOCKS],
        count: 0,
        rows: [Row([0; 2 * BLOCKS]); 4],
        few: false,
        src: [core::ptr::null(); 2 * BLOCKS],
        dst: [core::ptr::null_mut(); 2 * BLOCKS],
    };

    /// Gives `count` lanes from `first` on a key, a nonce and rising block counters.
    #[inline(always)]
    pub(crate) fn segment(&mut self, first: usize, count: usize, key: u32, counter: u32, nonce: [u32; 3]) {
        // A run has a lane at least, so there are at most as many as lanes.
        if self.count == 0 || self.runs[(self.count - 1) % BLOCKS].key != key {
            self.runs[self.count % BLOCKS] = Run { first: first as u32, key };
            self.count += 1;
        }
        let first = first % BLOCKS;
        let [counters, nonces @ ..] = &mut self.rows;
        if count == 1 {
            counters.0[first] = counter;
            nonces.iter_mut().zip(nonce).for_each(|(row, word)| row.0[first] = word);
            return;
        }
        // More than needed, for a length that is known makes vectors of it; later segments take their lanes again.
        for (i, word) in (0..).zip(&mut counters.0[first..first + BLOCKS]) {
            *word = counter.wrapping_add(i);
        }
        for (row, word) in nonces.iter_mut().zip(nonce) {
            row.0[first..first + BLOCKS].fill(word);
        }
    }
}

/// Poly1305 sums that a kernel carries on beside the rounds of ChaCha20, one after another by the processor's integer units.
pub(crate) const CHAINS: usize = 4;
/// Bytes of a Poly1305 block.
pub(crate) const SUM_LEN: usize = 16;
/// What no kernel's [`Kernel::CHAIN_BLOCKS`] is above.
pub(crate) const CHAIN_BLOCKS_MAX: usize = 30;
/// What a chain without work reads.
pub(crate) static NOTHING: [u8; CHAIN_BLOCKS_MAX * SUM_LEN] = [0; CHAIN_BLOCKS_MAX * SUM_LEN];

/// A sum to be carried on.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Chain {
    /// The sum, less than 5 * 2^128 before and afterwards.
    pub(crate) sum: [u64; 3],
    /// The multiplier, its bits cleared as RFC 8439 §2.5 wants.
    pub(crate) r: [u64; 2],
    /// The multiplier's upper half times 5 / 4: what 2^128 times it comes back as, for its lower two bits are clear.
    pub(crate) s: u64,
    /// Where the blocks lie.
    pub(crate) at: *const u8,
    /// The kernel's own.
    pub(crate) scratch: u64,
}

impl Chain {
    /// A chain that sums up nothing.
    pub(crate) const IDLE: Self = Self { sum: [0; 3], r: [0; 2], s: 0, at: NOTHING.as_ptr(), scratch: 0 };
}

/// All chains of a call.
#[repr(C, align(256))]
#[derive(Clone, Copy)]
pub(crate) struct Chains {
    pub(crate) chains: [Chain; CHAINS],
    /// By how many blocks those that do not idle are carried on.
    pub(crate) blocks: usize,
}

impl Chains {
    pub(crate) const IDLE: Self = Self { chains: [Chain::IDLE; CHAINS], blocks: 0 };
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

    /// Blocks by which one call of [`Kernel::chacha`] carries each chain on.
    const CHAIN_BLOCKS: usize;
    /// Whether what chains have begun is ended on the integer units too, after any number of blocks. Else chains stop at
    /// whole steps.
    const ENDS: bool;

    /// How many blocks of a text of so many are summed up by chains, because that is what fits beside the rounds for it.
    fn beside(blocks: usize) -> usize;

    /// Makes [`BLOCKS`] blocks, or the first [`BLOCKS_FEW`] if the group says so. Unless it does, every chain is carried on,
    /// too: by [`Kernel::CHAIN_BLOCKS`] or, at the end of what is [`Kernel::beside`], fewer; or idles.
    ///
    /// # Safety
    /// Of the lanes that are made, every `src` can be read and every `dst` written for 64 bytes; destinations do not overlap, nor does one overlap a
    /// source other than its own. Every run's key is among `keys`. Every chain's blocks, [`Kernel::CHAIN_BLOCKS`] of an idle one, can be read and overlap no destination.
    unsafe fn chacha(keys: &[crate::batch::Key], group: &Group, chains: &mut Chains);

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

    /// Adds what chains made to sums: the words of each packet's, the last at most 4. Either is 0.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn join(sums: &mut Self::Sums, words: &[[u64; SUMS]; 3]);

    /// Adds the last `blocks` blocks, 1 to 4, of 64 bytes of each packet to its sum.
    ///
    /// # Safety
    /// Every pointer can be read for 64 bytes.
    unsafe fn last(sums: &mut Self::Sums, powers: &Self::Powers, at: &[*const u8; SUMS], blocks: usize);

    /// Makes tags of the sums.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn finish(sums: &Self::Sums, powers: &Self::Powers) -> Tags;

    /// Empties the vector registers.
    ///
    /// # Safety
    /// Of the trait.
    unsafe fn forget();

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
