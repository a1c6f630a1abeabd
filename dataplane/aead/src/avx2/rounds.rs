//! Hot: the rounds of ChaCha20 (RFC 8439 §2.3) on 8 blocks, and Poly1305 (RFC 8439 §2.5) in their shadow.
//!
//! In assembler, because 16 registers have no room for 16 words and what a rotation needs: two of the words 8 to 11 wait in memory
//! while the quarter rounds of the other two run, which change places once in a round. The optimiser moves words
//! to and fro so often that rounds take twice the time. Between them stand the multiplications of two Poly1305 sums, each of another
//! packet, on the integer units, which rounds leave idle.
//!
//! Registers: `ymm0` to `ymm7` are words 0 to 7, `ymm8` and `ymm9` words 8 and 9 or 10 and 11, `ymm10` to `ymm13` words 12 to
//! 15, `ymm14` and `ymm15` for rotations. `rbx` points to [`Work`]; `r8` to `r10` and `r11` to `r13` are sums, `rsi` and
//! `rdi` their places; `rax`, `rcx`, `rdx`, `r14`, `r15` are for products.
//!
//! Constant time: the one jump counts double rounds; addresses are those of texts and of [`Work`].
//!
//! Contains unsafe: assembler with pointers.

use crate::lanes::kernel::Chain;

/// What the rounds work on.
#[repr(C, align(64))]
pub(super) struct Work {
    /// Words of 8 lanes, before and after the rounds.
    pub(super) words: [[u32; 8]; 16],
    /// Where bytes come from when words are rotated by 16 and by 8 bits.
    pub(super) rotations: [[u8; 32]; 2],
    /// Sums to be carried on by 10 blocks.
    pub(super) chains: [Chain; 2],
}

/// Two quarter rounds (RFC 8439 §2.1).
macro_rules! quarters {
    ($([$a:literal, $b:literal, $c:literal, $d:literal, $t:literal])*) => {
        concat!(
            quarters!(@half $([$a, $b, $c, $d, $t])*, "512", 12, 20),
            quarters!(@half $([$a, $b, $c, $d, $t])*, "544", 7, 25),
        )
    };
    (@half $([$a:literal, $b:literal, $c:literal, $d:literal, $t:literal])*, $bytes:literal, $left:literal, $right:literal) => {
        concat!(
            $("vpaddd ymm", $a, ", ymm", $a, ", ymm", $b, "\n",)*
            $("vpxor ymm", $d, ", ymm", $d, ", ymm", $a, "\n",)*
            $("vpshufb ymm", $d, ", ymm", $d, ", [rbx + ", $bytes, "]\n",)*
            $("vpaddd ymm", $c, ", ymm", $c, ", ymm", $d, "\n",)*
            $("vpxor ymm", $b, ", ymm", $b, ", ymm", $c, "\n",)*
            $("vpslld ymm", $t, ", ymm", $b, ", ", $left, "\n",)*
            $("vpsrld ymm", $b, ", ymm", $b, ", ", $right, "\n",)*
            $("vpor ymm", $b, ", ymm", $b, ", ymm", $t, "\n",)*
        )
    };
}

/// A word from or to its place in [`Work`].
macro_rules! word {
    (load $($register:literal $word:literal),*) => {
        concat!($("vmovdqa ymm", $register, ", [rbx + 32 * ", $word, "]\n",)*)
    };
    (store $($register:literal $word:literal),*) => {
        concat!($("vmovdqa [rbx + 32 * ", $word, "], ymm", $register, "\n",)*)
    };
}

/// Ten double rounds, and 10 blocks of 16 bytes of each chain.
///
/// # Safety
/// AVX2 and BMI2; 160 bytes can be read where each chain is.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) unsafe fn rounds_and_sums(work: &mut Work) {
    const {
        assert!(core::mem::offset_of!(Work, rotations) == 512 && core::mem::offset_of!(Work, chains) == 576);
        assert!(core::mem::offset_of!(Chain, r) == 24 && core::mem::offset_of!(Chain, s) == 40);
        assert!(core::mem::offset_of!(Chain, at) == 48 && core::mem::offset_of!(Chain, scratch) == 56);
    }
    // SAFETY: everything is read and written within `work`, at the offsets asserted above, and read where the caller says.
    unsafe {
        core::arch::asm!(
            // `rbx` is not the compiler's to give; it is kept in the second chain's scratch.
            "mov [rax + 640 + 56], rbx",
            "mov rbx, rax",
            "mov r8, [rbx + 576]",
            "mov r9, [rbx + 576 + 8]",
            "mov r10, [rbx + 576 + 16]",
            "mov rsi, [rbx + 576 + 48]",
            "mov r11, [rbx + 640]",
            "mov r12, [rbx + 640 + 8]",
            "mov r13, [rbx + 640 + 16]",
            "mov rdi, [rbx + 640 + 48]",
            "mov qword ptr [rbx + 576 + 56], 10",
            word!(load 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9, 10 12, 11 13, 12 14, 13 15),
            ".p2align 6",
            "2:",
            quarters!([0, 4, 8, 10, 14] [1, 5, 9, 11, 15]),
            sum!(["r8", "r9", "r10"], "rsi", "rbx + 576"),
            word!(store 8 8, 9 9),
            word!(load 8 10, 9 11),
            quarters!([2, 6, 8, 12, 14] [3, 7, 9, 13, 15]),
            quarters!([0, 5, 8, 13, 14] [1, 6, 9, 10, 15]),
            sum!(["r11", "r12", "r13"], "rdi", "rbx + 640"),
            word!(store 8 10, 9 11),
            word!(load 8 8, 9 9),
            quarters!([2, 7, 8, 11, 14] [3, 4, 9, 12, 15]),
            "add rsi, 16",
            "add rdi, 16",
            "dec qword ptr [rbx + 576 + 56]",
            "jnz 2b",
            word!(store 0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 6 6, 7 7, 8 8, 9 9, 10 12, 11 13, 12 14, 13 15),
            "mov [rbx + 576], r8",
            "mov [rbx + 576 + 8], r9",
            "mov [rbx + 576 + 16], r10",
            "mov [rbx + 640], r11",
            "mov [rbx + 640 + 8], r12",
            "mov [rbx + 640 + 16], r13",
            "mov rbx, [rbx + 640 + 56]",
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
