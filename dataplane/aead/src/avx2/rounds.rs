//! Hot: the rounds of ChaCha20 (RFC 8439 §2.3) on 16 blocks, and Poly1305 (RFC 8439 §2.5) in their shadow.
//!
//! Rounds on 8 blocks are a chain in which one operation waits for the other; a second state of 8 gives the processor what to
//! do meanwhile. 16 registers hold one state, so the two take turns, a double round each, from memory to memory: the last
//! quarter rounds of one and the first of the other overlap. Quarter rounds start one after the other, two operations apart,
//! so that what needs one unit, shifts and shuffles, and what needs any do not come at once. Between them stand the
//! multiplications of two Poly1305 sums, each of another packet, on the integer units, which rounds leave idle.
//!
//! In assembler, because registers are short and because the order matters: rounds by the optimiser take twice the time.
//!
//! Registers: `ymm0` to `ymm7` are words 0 to 7, `ymm8` to `ymm11` words 12 to 15, `ymm12` to `ymm14` words 9 to 11, `ymm15`
//! is for rotations and for word 8, which stays in memory. `rbx` points to [`Work`]; `r8` to `r10` and `r11` to `r13` are sums,
//! `rsi` and `rdi` their places; `rax`, `rcx`, `rdx`, `r14`, `r15` are for products.
//!
//! Constant time: jumps count double rounds; addresses are those of texts and of [`Work`].
//!
//! Contains unsafe: assembler with pointers.

use crate::lanes::kernel::{Chain, NOTHING};

/// Double rounds, and blocks of each chain beside one of them.
const DOUBLE_ROUNDS: usize = 10;
pub(super) const BESIDE: usize = 3;

/// What the rounds work on.
#[repr(C, align(64))]
pub(super) struct Work {
    /// Words of 8 lanes, before and after the rounds, twice.
    pub(super) words: [[[u32; 8]; 16]; 2],
    /// Where bytes come from when words are rotated by 16 and by 8 bits.
    rotations: [[u8; 32]; 2],
    /// Sums to be carried on, by [`BESIDE`] blocks in a double round, in the last of the double rounds.
    pub(super) chains: [Chain; 2],
    /// Double rounds with and without them, and what is left to be done of either.
    with: usize,
    without: usize,
    left: usize,
    /// What is read without them.
    nothing: *const u8,
    /// `rbx`, which is not the compiler's to give.
    rbx: u64,
}

impl Work {
    pub(super) const EMPTY: Self = Self {
        words: [[[0; 8]; 16]; 2],
        rotations: ROTATIONS,
        chains: [Chain::IDLE; 2],
        with: 0,
        without: 0,
        left: 0,
        nothing: NOTHING.as_ptr(),
        rbx: 0,
    };
}

const ROTATIONS: [[u8; 32]; 2] = {
    let mut from = [[0; 32]; 2];
    let mut i = 0;
    while i < 32 {
        from[0][i] = (i & 12 | (i + 2) & 3) as u8;
        from[1][i] = (i & 12 | (i + 3) & 3) as u8;
        i += 1;
    }
    from
};

/// A register from or to the place of its word in [`Work`], if the half of the quarter round is one that does so: `take`, the
/// first of a double round, or `put`, the last.
macro_rules! place {
    (put, $at:literal, $register:literal, $word:expr) => {
        concat!("vmovdqa [rbx + ", $at, " + 32 * ", $word, "], ymm", $register, "\n")
    };
    ($other:ident, $at:literal, $register:literal, $word:expr) => {
        ""
    };
}

/// a += b, d ^= a
macro_rules! mix_d {
    (take, $at:literal, [$a:literal $b:literal $c:tt $d:literal]) => {
        concat!(
            "vmovdqa ymm",
            $b,
            ", [rbx + ",
            $at,
            " + 32 * ",
            $b,
            "]\n",
            "vpaddd ymm",
            $a,
            ", ymm",
            $b,
            ", [rbx + ",
            $at,
            " + 32 * ",
            $a,
            "]\n",
            "vpxor ymm",
            $d,
            ", ymm",
            $a,
            ", [rbx + ",
            $at,
            " + 32 * ",
            $d,
            " + 128]\n",
        )
    };
    ($half:ident, $at:literal, [$a:literal $b:literal $c:tt $d:literal]) => {
        concat!(
            "vpaddd ymm",
            $a,
            ", ymm",
            $a,
            ", ymm",
            $b,
            "\n",
            place!($half, $at, $a, $a),
            "vpxor ymm",
            $d,
            ", ymm",
            $d,
            ", ymm",
            $a,
            "\n",
        )
    };
}

/// d is rotated.
macro_rules! turn_d {
    ($half:ident, $at:literal, $bytes:literal, [$a:literal $b:literal $c:tt $d:literal]) => {
        concat!(
            "vpshufb ymm",
            $d,
            ", ymm",
            $d,
            ", [rbx + ",
            $bytes,
            "]\n",
            place!($half, $at, $d, concat!($d, " + 128")),
        )
    };
}

/// c += d, b ^= c
macro_rules! mix_b {
    ($half:ident, $at:literal, [$a:literal $b:literal word8 $d:literal]) => {
        concat!(
            "vpaddd ymm15, ymm",
            $d,
            ", [rbx + ",
            $at,
            " + 256]\n",
            "vmovdqa [rbx + ",
            $at,
            " + 256], ymm15\n",
            "vpxor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm15\n",
        )
    };
    (take, $at:literal, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "vpaddd ymm",
            $c,
            ", ymm",
            $d,
            ", [rbx + ",
            $at,
            " + 32 * ",
            $c,
            " - 96]\n",
            "vpxor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm",
            $c,
            "\n",
        )
    };
    ($half:ident, $at:literal, [$a:literal $b:literal $c:literal $d:literal]) => {
        concat!(
            "vpaddd ymm",
            $c,
            ", ymm",
            $c,
            ", ymm",
            $d,
            "\n",
            place!($half, $at, $c, concat!($c, " - 96")),
            "vpxor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm",
            $c,
            "\n",
        )
    };
}

/// b is rotated.
macro_rules! turn_b {
    ($half:ident, $at:literal, $left:literal, $right:literal, [$a:literal $b:literal $c:tt $d:literal]) => {
        concat!(
            "vpslld ymm15, ymm",
            $b,
            ", ",
            $left,
            "\n",
            "vpsrld ymm",
            $b,
            ", ymm",
            $b,
            ", ",
            $right,
            "\n",
            "vpor ymm",
            $b,
            ", ymm",
            $b,
            ", ymm15\n",
            place!($half, $at, $b, $b),
        )
    };
}

/// A quarter of a half of a quarter round (RFC 8439 §2.1), 1 to 8.
macro_rules! part {
    (1, $at:literal, $first:ident, $second:ident, $q:tt) => {
        mix_d!($first, $at, $q)
    };
    (2, $at:literal, $first:ident, $second:ident, $q:tt) => {
        turn_d!($first, $at, "1024", $q)
    };
    (3, $at:literal, $first:ident, $second:ident, $q:tt) => {
        mix_b!($first, $at, $q)
    };
    (4, $at:literal, $first:ident, $second:ident, $q:tt) => {
        turn_b!($first, $at, 12, 20, $q)
    };
    (5, $at:literal, $first:ident, $second:ident, $q:tt) => {
        mix_d!($second, $at, $q)
    };
    (6, $at:literal, $first:ident, $second:ident, $q:tt) => {
        turn_d!($second, $at, "1056", $q)
    };
    (7, $at:literal, $first:ident, $second:ident, $q:tt) => {
        mix_b!($second, $at, $q)
    };
    (8, $at:literal, $first:ident, $second:ident, $q:tt) => {
        turn_b!($second, $at, 7, 25, $q)
    };
}

/// Four quarter rounds, each one part behind the one before, and what stands after the 10th and the 26th of the 32 parts.
macro_rules! round {
    ($at:literal, $first:ident, $second:ident, $q0:tt $q1:tt $q2:tt $q3:tt, $early:expr, $late:expr) => {
        round!(@ $at, $first, $second, {$q0 $q1 $q2 $q3}
            [1 0] [2 0] [1 1] [3 0] [2 1] [1 2] [4 0] [3 1] [2 2] [1 3]; $early;
            [5 0] [4 1] [3 2] [2 3] [6 0] [5 1] [4 2] [3 3] [7 0] [6 1] [5 2] [4 3] [8 0] [7 1] [6 2] [5 3]; $late;
            [8 1] [7 2] [6 3] [8 2] [7 3] [8 3];)
    };
    (@ $at:literal, $first:ident, $second:ident, $q:tt
        $([$a:tt $qa:tt])*; $early:expr; $([$b:tt $qb:tt])*; $late:expr; $([$c:tt $qc:tt])*;) => {
        concat!(
            $(round!(@@ $a $qa $at, $first, $second, $q),)*
            $early,
            $(round!(@@ $b $qb $at, $first, $second, $q),)*
            $late,
            $(round!(@@ $c $qc $at, $first, $second, $q),)*
        )
    };
    (@@ $part:tt 0 $at:literal, $first:ident, $second:ident, {$q:tt $q1:tt $q2:tt $q3:tt}) => {
        part!($part, $at, $first, $second, $q)
    };
    (@@ $part:tt 1 $at:literal, $first:ident, $second:ident, {$q0:tt $q:tt $q2:tt $q3:tt}) => {
        part!($part, $at, $first, $second, $q)
    };
    (@@ $part:tt 2 $at:literal, $first:ident, $second:ident, {$q0:tt $q1:tt $q:tt $q3:tt}) => {
        part!($part, $at, $first, $second, $q)
    };
    (@@ $part:tt 3 $at:literal, $first:ident, $second:ident, {$q0:tt $q1:tt $q2:tt $q:tt}) => {
        part!($part, $at, $first, $second, $q)
    };
}

/// A double round of the state at `$at`, three sums beside it. Diagonals come in the order in which columns end.
macro_rules! double_round {
    ($at:literal, $one:expr, $two:expr, $three:expr) => {
        concat!(
            round!($at, take, stay, [0 4 word8 8] [1 5 12 9] [2 6 13 10] [3 7 14 11], "", $one),
            round!($at, stay, put, [3 4 12 10] [0 5 13 11] [1 6 14 8] [2 7 word8 9], $two, ""),
            $three,
        )
    };
}

/// A block into the sum of the first chain.
macro_rules! first_sum {
    ($at:literal) => {
        sum!(["r8", "r9", "r10"], $at, "rbx + 1088")
    };
}

/// A block into the sum of the second.
macro_rules! second_sum {
    ($at:literal) => {
        sum!(["r11", "r12", "r13"], $at, "rbx + 1152")
    };
}

/// Ten double rounds of both states, and `blocks` of the chains.
///
/// # Safety
/// AVX2 and BMI2; so many blocks can be read where each chain is, a multiple of [`BESIDE`] that ten double rounds have room for.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
pub(super) unsafe fn rounds_and_sums(work: &mut Work, blocks: usize) {
    const {
        assert!(
            core::mem::offset_of!(Work, rotations) == 1024 && core::mem::offset_of!(Work, chains) == 1088
        );
        assert!(core::mem::offset_of!(Work, with) == 1216 && core::mem::offset_of!(Work, without) == 1224);
        assert!(core::mem::offset_of!(Work, left) == 1232 && core::mem::offset_of!(Work, nothing) == 1240);
        assert!(core::mem::offset_of!(Work, rbx) == 1248);
        assert!(core::mem::offset_of!(Chain, r) == 24 && core::mem::offset_of!(Chain, s) == 40);
        assert!(core::mem::offset_of!(Chain, at) == 48);
    }
    work.with = blocks / BESIDE;
    work.without = DOUBLE_ROUNDS - work.with;
    // SAFETY: everything is read and written within `work`, at the offsets asserted above, and read where the caller says or
    // where there is nothing.
    unsafe {
        core::arch::asm!(
            "mov [rax + 1248], rbx",
            "mov rbx, rax",
            forget_sums!(),
            "mov rsi, [rbx + 1240]",
            "mov rdi, rsi",
            "mov rax, [rbx + 1224]",
            "test rax, rax",
            "jz 3f",
            "mov [rbx + 1232], rax",
            ".p2align 6",
            "2:",
            double_round!("0", first_sum!("rsi"), second_sum!("rdi"), first_sum!("rsi + 16")),
            double_round!("512", second_sum!("rdi + 16"), first_sum!("rsi + 32"), second_sum!("rdi + 32")),
            "add rsi, 48",
            "add rdi, 48",
            "dec qword ptr [rbx + 1232]",
            "jnz 2b",
            "3:",
            "mov rax, [rbx + 1216]",
            "test rax, rax",
            "jz 4f",
            "mov [rbx + 1232], rax",
            "mov qword ptr [rbx + 1216], 0",
            "mov r8, [rbx + 1088]",
            "mov r9, [rbx + 1088 + 8]",
            "mov r10, [rbx + 1088 + 16]",
            "mov rsi, [rbx + 1088 + 48]",
            "mov r11, [rbx + 1152]",
            "mov r12, [rbx + 1152 + 8]",
            "mov r13, [rbx + 1152 + 16]",
            "mov rdi, [rbx + 1152 + 48]",
            "jmp 2b",
            "4:",
            "mov [rbx + 1088], r8",
            "mov [rbx + 1088 + 8], r9",
            "mov [rbx + 1088 + 16], r10",
            "mov [rbx + 1152], r11",
            "mov [rbx + 1152 + 8], r12",
            "mov [rbx + 1152 + 16], r13",
            "mov rbx, [rbx + 1248]",
            forget_sums!(),
            inout("rax") core::ptr::from_mut(work) => _,
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        );
    }
}
