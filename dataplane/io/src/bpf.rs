//! Classic BPF programs for sockets: their instructions, jumps by place, and how one is given to a socket.
//!
//! Contains unsafe: one `setsockopt`.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The instructions that are used (linux/bpf_common.h, linux/filter.h).
pub(crate) mod op {
    pub(crate) const LOAD_LEN: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_LEN;
    pub(crate) const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    pub(crate) const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    pub(crate) const LOAD_BYTE_X: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_IND;
    pub(crate) const LOAD_WORD_X: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_IND;
    pub(crate) const LOAD_X: u32 = libc::BPF_LDX | libc::BPF_W | libc::BPF_IMM;
    pub(crate) const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
    pub(crate) const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    pub(crate) const TO_X: u32 = libc::BPF_MISC | libc::BPF_TAX;
    pub(crate) const SUB: u32 = libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K;
    pub(crate) const SUB_X: u32 = libc::BPF_ALU | libc::BPF_SUB | libc::BPF_X;
    pub(crate) const SHIFT_RIGHT: u32 = libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K;
    pub(crate) const JUMP_EQ: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    pub(crate) const JUMP_GE: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    pub(crate) const JUMP_GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
    pub(crate) const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    pub(crate) const RETURN_A: u32 = libc::BPF_RET | libc::BPF_A;
    /// Where a load yields a random number: SKF_AD_OFF + SKF_AD_RANDOM.
    pub(crate) const RANDOM: u32 = (-0x1000_i32 + 56) as u32;

    /// From where on loads see the IP header: SKF_NET_OFF.
    pub(crate) const NETWORK_HEADER: u32 = -0x10_0000_i32 as u32;

    /// The step behind this one.
    pub(crate) const NEXT: u8 = u8::MAX;

    /// A step without a jump, that needs no [`super::assemble`].
    pub(crate) const fn step(code: u32, k: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
    }

    /// Jumps over so many steps, likewise.
    pub(crate) const fn jump(over: u32) -> libc::sock_filter {
        step(libc::BPF_JMP | libc::BPF_JA, over)
    }

    pub(crate) const fn plain(code: u32, k: u32) -> libc::sock_filter {
        branch(code, k, NEXT, NEXT)
    }

    /// A jump to one of two places, counted from the start of the program.
    pub(crate) const fn branch(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
    }
}

/// Makes jumps relative to the step behind them, as the kernel wants them.
pub(crate) fn assemble<const N: usize>(steps: [libc::sock_filter; N]) -> [libc::sock_filter; N] {
    let mut place = 0;
    steps.map(|step| {
        place += 1;
        let distance = |to: u8| if to == op::NEXT { 0 } else { to - place };
        libc::sock_filter { jt: distance(step.jt), jf: distance(step.jf), ..step }
    })
}

/// Gives a program to a socket by `option`: `SO_ATTACH_FILTER` or `SO_ATTACH_REUSEPORT_CBPF`.
pub(crate) fn attach(
    socket: impl AsFd,
    option: libc::c_int,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: `program` points at its instructions, which live until the end of this function; the kernel copies and
    // verifies them within the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
