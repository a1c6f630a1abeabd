//! Fields at fixed places: the compiler checks that they lie inside, so nothing is checked or can panic at run time.

/// The `N` bytes at `AT` of a message of `L` bytes.
#[inline(always)]
pub(crate) fn field<const AT: usize, const N: usize, const L: usize>(bytes: &[u8; L]) -> &[u8; N] {
    const { assert!(AT + N <= L, "the field lies outside of its message") }
    match bytes[AT..].first_chunk() {
        Some(field) => field,
        None => unreachable!(),
    }
}

/// The `N` bytes at `AT` of a message of `L` bytes, to be written.
#[inline(always)]
pub(crate) fn field_mut<const AT: usize, const N: usize, const L: usize>(
    bytes: &mut [u8; L],
) -> &mut [u8; N] {
    const { assert!(AT + N <= L, "the field lies outside of its message") }
    match bytes[AT..].first_chunk_mut() {
        Some(field) => field,
        None => unreachable!(),
    }
}
