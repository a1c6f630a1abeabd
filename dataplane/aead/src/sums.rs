//! Hot: Poly1305 (RFC 8439 §2.5) on the integer units, as text for the assembler, to stand between the rounds of ChaCha20.
//!
//! Numbers are three words of 64 bits, the last below 5. `rax`, `rcx`, `rdx`, `r14`, `r15` are for products.
//!
//! Constant time: no jump; addresses are those of the text and the chain.
//!
//! Contains unsafe: assembler with pointers; to be included, it is text only.

/// A block of 16 bytes at `$at` into the sum `$h`, by the multiplier of the chain at `$chain`, which is a
/// [`Chain`](crate::lanes::kernel::Chain): r at 24, its upper half times 5 / 4 at 40.
macro_rules! sum {
    ([$h0:literal, $h1:literal, $h2:literal], $at:literal, $chain:literal) => {
        concat!(
            // The block, and 2^128.
            "add ",
            $h0,
            ", [",
            $at,
            "]\n",
            "adc ",
            $h1,
            ", [",
            $at,
            " + 8]\n",
            "adc ",
            $h2,
            ", 1\n",
            // h0 * r0 and h0 * r1
            "mov rdx, ",
            $h0,
            "\n",
            "mulx rax, ",
            $h0,
            ", [",
            $chain,
            " + 24]\n",
            "mulx rcx, r14, [",
            $chain,
            " + 32]\n",
            // h1 * r0
            "mov rdx, ",
            $h1,
            "\n",
            "mulx r15, ",
            $h1,
            ", [",
            $chain,
            " + 24]\n",
            "add ",
            $h1,
            ", r14\n",
            "adc rcx, r15\n",
            // h1 * r1 weighs 2^128
            "mulx r15, r14, [",
            $chain,
            " + 40]\n",
            "add ",
            $h0,
            ", r14\n",
            "adc rax, r15\n",
            // h2 is small: no upper halves
            "mov rdx, ",
            $h2,
            "\n",
            "imul ",
            $h2,
            ", [",
            $chain,
            " + 24]\n",
            "imul rdx, [",
            $chain,
            " + 40]\n",
            "add ",
            $h1,
            ", rdx\n",
            "adc ",
            $h2,
            ", rcx\n",
            "add ",
            $h1,
            ", rax\n",
            "adc ",
            $h2,
            ", 0\n",
            // What is above 2^130 comes back times 5.
            "mov rdx, ",
            $h2,
            "\n",
            "mov rax, ",
            $h2,
            "\n",
            "and rdx, -4\n",
            "shr rax, 2\n",
            "and ",
            $h2,
            ", 3\n",
            "add rdx, rax\n",
            "add ",
            $h0,
            ", rdx\n",
            "adc ",
            $h1,
            ", 0\n",
            "adc ",
            $h2,
            ", 0\n",
        )
    };
}

/// Empties the registers that sums of `r8` to `r13` and their products were in.
macro_rules! forget_sums {
    () => {
        concat!(
            "xor eax, eax\n",
            "xor ecx, ecx\n",
            "xor edx, edx\n",
            "xor r8d, r8d\n",
            "xor r9d, r9d\n",
            "xor r10d, r10d\n",
            "xor r11d, r11d\n",
            "xor r12d, r12d\n",
            "xor r13d, r13d\n",
            "xor r14d, r14d\n",
            "xor r15d, r15d\n",
        )
    };
}
