//! Every target over its committed corpus, as any test: `scripts/fuzz` looks for more.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use dataplane_fuzz::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be read").path())
        .collect();
    found.sort();
    found
}

#[test]
fn every_target_holds_over_its_corpus() {
    for (name, target) in TARGETS {
        let inputs = files(&corpus().join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            let data = fs::read(&path).expect("an input that can be read");
            let held = panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "{name} fails on {}", path.display());
        }
    }
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders: BTreeSet<_> = files(&corpus())
        .iter()
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, names);
}

#[test]
fn every_target_has_a_program_for_the_fuzzer() {
    let manifest = include_str!("../Cargo.toml");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} has no program");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn every_target_takes_bytes_of_any_length() {
    // A cheap sweep that needs no corpus: counting bytes under every first byte that means something.
    for (_, target) in TARGETS {
        for first in [0_u8, 1, 2, 3, 4, 0x40, 0x45, 0x4f, 0x60, 0xff] {
            for len in (0..200).chain([576, 1500, 65_535]) {
                let mut data: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                if let Some(byte) = data.first_mut() {
                    *byte = first;
                }
                target(&data);
            }
        }
    }
}
