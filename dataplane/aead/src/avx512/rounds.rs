//! Hot: the rounds of ChaCha20 (RFC 8439 §2.3) on 32 blocks, and Poly1305 (RFC 8439 §2.5) in their shadow.
//!
//! Two states of 16 blocks take turns, so that eight quarter rounds that do not wait for each other hide that a rotation takes
//! two cycles. Rounds keep the vector units busy and leave the integer units idle: between them stand the multiplications of
//! four Poly1305 sums, two at a time, each of another packet.
//!
//! In assembler, because all 32 vector registers are taken, and because the order matters: the optimiser would put registers
//! aside and sort the two kinds of work apart.
//!
//! Registers: `zmm0` to `zmm15` and `zmm16` to `zmm31` are a state each. `rbx` points to two chains; `r8` to `r10` and `r11`
//! to `r13` are their sums, `rsi` and `rdi` their places; `rax`, `rcx`, `rdx`, `r14`, `r15` are for products.
//!
//! Constant time: the two jumps count double rounds and pairs of chains; addresses are those of texts and chains.
//!
//! Contains unsafe: assembler with pointers; to be included, it is text only.

/// Half of four quarter rounds (RFC 8439 §2.1), columns or diagonals: 24 instructions.
macro_rules! half {
    ($left:literal, $right:literal, $([$a:literal, $b:literal, $c:literal, $d:literal])*) => {
        concat!(
            $("vpaddd zmm", $a, ", zmm", $a, ", zmm", $b, "\n",)*
            $("vpxord zmm", $d, ", zmm", $d, ", zmm", $a, "\n",)*
            $("vprold zmm", $d, ", zmm", $d, ", ", $left, "\n",)*
            $("vpaddd zmm", $c, ", zmm", $c, ", zmm", $d, "\n",)*
            $("vpxord zmm", $b, ", zmm", $b, ", zmm", $c, "\n",)*
            $("vprold zmm", $b, ", zmm", $b, ", ", $right, "\n",)*
        )
    };
}

/// A block into the sum of the first chain of the pair.
macro_rules! first_sum {
    ($at:literal) => {
        sum!(["r8", "r9", "r10"], $at, "rbx")
    };
}

/// A block into the sum of the second.
macro_rules! second_sum {
    ($at:literal) => {
        sum!(["r11", "r12", "r13"], $at, "rbx + 64")
    };
}

/// Ten double rounds of two states, from registers to the same registers, and 20 blocks of each of
/// [`CHAINS`] chains at `$chains`, 4 in a double round.
///
/// [`CHAINS`]: crate::lanes::kernel::CHAINS
macro_rules! rounds_and_sums {
    ($chains:expr, [$($register:tt $from:expr, $to:expr;)*]) => {
        core::arch::asm!(
            // `rbx` is not the compiler's to give; it is kept in the second chain's scratch.
            "mov [rax + 64 + 56], rbx",
            "mov rbx, rax",
            // A pair of chains
            "3:",
            "mov r8, [rbx]",
            "mov r9, [rbx + 8]",
            "mov r10, [rbx + 16]",
            "mov rsi, [rbx + 48]",
            "mov r11, [rbx + 64]",
            "mov r12, [rbx + 64 + 8]",
            "mov r13, [rbx + 64 + 16]",
            "mov rdi, [rbx + 64 + 48]",
            "mov qword ptr [rbx + 56], 5",
            // At a cache line, so that its place does not change from build to build.
            ".p2align 6",
            // A double round
            "2:",
            half!(16, 12, [0, 4, 8, 12] [1, 5, 9, 13] [2, 6, 10, 14] [3, 7, 11, 15]),
            first_sum!("rsi"),
            half!(16, 12, [16, 20, 24, 28] [17, 21, 25, 29] [18, 22, 26, 30] [19, 23, 27, 31]),
            second_sum!("rdi"),
            half!(8, 7, [0, 4, 8, 12] [1, 5, 9, 13] [2, 6, 10, 14] [3, 7, 11, 15]),
            first_sum!("rsi + 16"),
            half!(8, 7, [16, 20, 24, 28] [17, 21, 25, 29] [18, 22, 26, 30] [19, 23, 27, 31]),
            second_sum!("rdi + 16"),
            half!(16, 12, [0, 5, 10, 15] [1, 6, 11, 12] [2, 7, 8, 13] [3, 4, 9, 14]),
            first_sum!("rsi + 32"),
            half!(16, 12, [16, 21, 26, 31] [17, 22, 27, 28] [18, 23, 24, 29] [19, 20, 25, 30]),
            second_sum!("rdi + 32"),
            half!(8, 7, [0, 5, 10, 15] [1, 6, 11, 12] [2, 7, 8, 13] [3, 4, 9, 14]),
            first_sum!("rsi + 48"),
            half!(8, 7, [16, 21, 26, 31] [17, 22, 27, 28] [18, 23, 24, 29] [19, 20, 25, 30]),
            second_sum!("rdi + 48"),
            "add rsi, 64",
            "add rdi, 64",
            "dec qword ptr [rbx + 56]",
            "jnz 2b",
            "mov [rbx], r8",
            "mov [rbx + 8], r9",
            "mov [rbx + 16], r10",
            "mov [rbx + 64], r11",
            "mov [rbx + 64 + 8], r12",
            "mov [rbx + 64 + 16], r13",
            // Four chains of 64 bytes lie at a multiple of 256: after the second pair bit 7 is clear again.
            "add rbx, 128",
            "test bl, 128",
            "jnz 3b",
            "mov rbx, [rbx - 256 + 64 + 56]",
            forget_sums!(),
            inout("rax") $chains => _,
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            $(inout($register) $from => $to,)*
            options(nostack),
        )
    };
}
