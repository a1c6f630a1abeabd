//! Batches that are refused, through the public interface of every provider.

use super::*;
use crate::batch::{Aead, BATCH_MAX, BatchError};

#[test]
fn a_refused_batch_writes_nothing() {
    let keys = Random(11).keys(2);
    let gather = [1; 10];
    let source = [2; 100];
    let good = SealDesc { body: span(0, 100), dst: 0, ..SealDesc::default() };
    let bad = [
        (SealDesc { key: 2, ..good }, BatchError::Key { packet: 1, key: 2 }),
        (SealDesc { aad: span(5, 6), ..good }, BatchError::OutOfBounds { packet: 1, arena: "gather" }),
        (SealDesc { body: span(1, 100), ..good }, BatchError::OutOfBounds { packet: 1, arena: "source" }),
        (SealDesc { dst: 200, ..good }, BatchError::OutOfBounds { packet: 1, arena: "arena" }),
        (SealDesc { dst: 115, ..good }, BatchError::Overlap { first: 0, second: 1 }),
        (SealDesc { pad: u32::MAX, ..good }, BatchError::TooLong { packet: 1 }),
    ];
    for cipher in Cipher::available() {
        for (desc, error) in &bad {
            let mut arena = [GUARD; 300];
            let refused = cipher.seal_batch(&keys, &gather, &source, &mut arena, &[good, *desc]);
            assert_eq!(refused, Err(*error), "{}", cipher.name());
            assert_eq!(arena, [GUARD; 300], "{}", cipher.name());
        }
    }
}

#[test]
fn a_refused_batch_opens_and_seals_nothing_in_place() {
    let keys = Random(12).keys(1);
    for cipher in Cipher::available() {
        let mut arena = [GUARD; 300];
        let mut opens = [OpenDesc { text: span(0, 10), ..OpenDesc::default() }; 2];
        let overlap = Err(BatchError::Overlap { first: 0, second: 1 });
        assert_eq!(cipher.open_batch(&keys, &[], &mut arena, &mut opens), overlap.map(|()| 0));
        let here = SealInPlaceDesc { text: span(0, 284), ..SealInPlaceDesc::default() };
        let past = SealInPlaceDesc { text: span(0, 285), ..here };
        let out = Err(BatchError::OutOfBounds { packet: 0, arena: "arena" });
        assert_eq!(cipher.seal_in_place(&keys, &[], &mut arena, &[past]), out);
        let many = [SealInPlaceDesc::default(); BATCH_MAX + 1];
        let too_many = Err(BatchError::TooMany(BATCH_MAX + 1));
        assert_eq!(cipher.seal_in_place(&keys, &[], &mut arena, &many), too_many);
        assert_eq!(arena, [GUARD; 300], "{}", cipher.name());
        assert_eq!(cipher.seal_in_place(&keys, &[], &mut arena, &[here]), Ok(()));
    }
}

#[test]
fn empty_batches_are_fine() {
    for cipher in Cipher::available() {
        assert_eq!(cipher.seal_batch(&[], &[], &[], &mut [], &[]), Ok(()));
        assert_eq!(cipher.seal_in_place(&[], &[], &mut [], &[]), Ok(()));
        assert_eq!(cipher.open_batch(&[], &[], &mut [], &mut []), Ok(0));
    }
}

#[test]
fn a_cipher_is_found_by_its_name_and_by_no_other() {
    let names: Vec<&str> = Cipher::available().map(|cipher| cipher.name()).collect();
    assert!(names.contains(&"ring") && names.contains(&"reference"));
    for name in &names {
        assert_eq!(Cipher::named(name).map(|cipher| cipher.name()), Some(*name));
    }
    assert_eq!(names.first(), Some(&Cipher::auto().name()));
    assert!(Cipher::named("rot13").is_none());
    assert!(Cipher::named("").is_none());
}
