//! The provider that a program uses, chosen when it starts.

use crate::batch::{Key, OpenDesc, SealDesc, SealInPlaceDesc};
use crate::library::Ring;
#[cfg(target_arch = "x86_64")]
use crate::own::Own;
use crate::provider::Provider;
use crate::reference::Reference;
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

/// A provider chosen at run time. Costs one branch per batch.
#[derive(Clone, Copy, Debug)]
pub struct Cipher(Kind);

#[derive(Clone, Copy, Debug)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(Own<avx512::Avx512>),
    #[cfg(target_arch = "x86_64")]
    Avx2(Own<avx2::Avx2>),
    Ring(Ring),
    Reference(Reference),
}

impl Cipher {
    /// The fastest provider this processor can run.
    pub fn auto() -> Self {
        Self::available().next().expect("the reference runs on every processor")
    }

    /// The provider of this name, if this processor can run it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().find(|cipher| cipher.0.provider().label() == name)
    }

    /// All providers this processor can run, fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let others = [Kind::Ring(Ring), Kind::Reference(Reference)].map(Self);
        Self::own(false).chain(others)
    }

    /// Our own providers without the library that stands in where a batch is too small for them: slower, and for tests
    /// that want to reach every path.
    pub fn undiluted() -> impl Iterator<Item = Self> {
        Self::own(true)
    }

    #[cfg(target_arch = "x86_64")]
    fn own(always: bool) -> impl Iterator<Item = Self> {
        let avx512 = avx512::lanes().map(|lanes| Kind::Avx512(Own::new(lanes, always)));
        let avx2 = avx2::lanes().map(|lanes| Kind::Avx2(Own::new(lanes, always)));
        [avx512, avx2].into_iter().flatten().map(Self)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn own(_always: bool) -> impl Iterator<Item = Self> {
        core::iter::empty()
    }
}

impl Kind {
    fn provider(&self) -> &dyn Provider {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2,
            Self::Ring(ring) => ring,
            Self::Reference(reference) => reference,
        }
    }
}

impl Provider for Cipher {
    fn label(&self) -> &'static str {
        self.0.provider().label()
    }

    fn seal(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        source: &[u8],
        arena: &mut [u8],
        batch: &[SealDesc],
    ) {
        self.0.provider().seal(prefix, keys, gather, source, arena, batch);
    }

    fn seal_here(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &[SealInPlaceDesc],
    ) {
        self.0.provider().seal_here(prefix, keys, gather, arena, batch);
    }

    fn open(
        &self,
        prefix: u32,
        keys: &[Key],
        gather: &[u8],
        arena: &mut [u8],
        batch: &mut [OpenDesc],
    ) -> usize {
        self.0.provider().open(prefix, keys, gather, arena, batch)
    }
}
