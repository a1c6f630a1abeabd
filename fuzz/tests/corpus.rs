//! Every target over its committed corpus, as any test: `scripts/fuzz` looks for more.

use std::collections::BTreeSet;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use dataplane_fuzz::TARGETS;
use sha1::{Digest, Sha1};

/// Most files of a corpus, and bytes of one: what is committed is minimised, and runs with every test.
const FILES_MAX: usize = 320;
const FILE_LEN_MAX: u64 = 8 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Whether a name is, or ends behind a dash with the first eight digits of, the SHA-1 of what is in the file: as libFuzzer names
/// what it finds, so that an input that was damaged is noticed.
fn is_named_after(name: &str, data: &[u8]) -> bool {
    let digest: String = Sha1::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    let told = name.rsplit('-').next().unwrap_or(name);
    told.len() >= 8 && digest.starts_with(told)
}

/// Names and contents of a target's inputs.
///
/// # Errors
/// What is wrong with the corpus and what to do, with the file's name.
fn inputs(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, String> {
    let shown = folder.display();
    let entries = fs::read_dir(folder).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{shown} cannot be read: {error}"))?.path();
        let wrong = |what: String| format!("{}: {what}", path.display());
        let meta = fs::symlink_metadata(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        if !meta.is_file() {
            return Err(wrong("an input is a plain file".into()));
        }
        if meta.len() > FILE_LEN_MAX {
            let len = meta.len();
            return Err(wrong(format!(
                "{len} bytes; {FILE_LEN_MAX} is the most: minimise it (cargo fuzz tmin)"
            )));
        }
        let data = fs::read(&path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !is_named_after(&name, &data) {
            return Err(wrong(
                "is not what it is named after: take it back from the history; a new one is called NAME- and the first \
                 eight digits that sha1sum says of it"
                    .into(),
            ));
        }
        found.push((path, data));
    }
    match found.len() {
        0 => Err(format!("{shown} has no inputs: commit at least one")),
        count if count > FILES_MAX => Err(format!(
            "{shown} has {count} inputs; {FILES_MAX} is the most: minimise it (scripts/fuzz keep)"
        )),
        _ => {
            found.sort();
            Ok(found)
        }
    }
}

#[test]
fn every_target_holds_over_its_corpus() {
    for (name, target) in TARGETS {
        let inputs = inputs(&corpus().join(name)).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        for (path, data) in inputs {
            let held = panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "{name} fails on {}", path.display());
        }
    }
}

#[test]
fn a_corrupt_corpus_is_named_with_its_file() {
    let folder = std::env::temp_dir().join(format!("dataplane-corpus-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let said = || inputs(&folder).expect_err("a corrupt corpus");
    assert!(said().contains("cannot be read"), "{}", said());
    fs::create_dir(&folder).expect("a folder");
    assert!(said().contains("has no inputs"), "{}", said());
    fs::write(folder.join("large"), vec![0; FILE_LEN_MAX as usize + 1]).expect("a file");
    assert!(said().contains("large: 8193 bytes"), "{}", said());
    fs::remove_file(folder.join("large")).expect("a file");
    fs::create_dir(folder.join("folder")).expect("a folder");
    assert!(said().contains("folder: an input is a plain file"), "{}", said());
    fs::remove_dir(folder.join("folder")).expect("a folder");
    std::os::unix::fs::symlink("nowhere", folder.join("link")).expect("a link");
    assert!(said().contains("link: an input is a plain file"), "{}", said());
    fs::remove_file(folder.join("link")).expect("a link");
    // The SHA-1 of nothing; of what a bit makes of it; and a name that tells nothing.
    for (name, data) in [("bent-da39a3ee", &[1][..]), ("bent", &[]), ("da39a3e", &[])] {
        fs::write(folder.join(name), data).expect("a file");
        assert!(said().contains(&format!("{name}: is not what it is named after")), "{}", said());
        fs::remove_file(folder.join(name)).expect("a file");
    }
    for number in 0..=FILES_MAX {
        fs::write(folder.join(format!("{number}-da39a3ee")), []).expect("a file");
    }
    assert!(said().contains("321 inputs"), "{}", said());
    fs::remove_file(folder.join("0-da39a3ee")).expect("a file");
    assert_eq!(inputs(&folder).map(|found| found.len()), Ok(FILES_MAX));
    fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders: BTreeSet<_> = fs::read_dir(corpus())
        .expect("the corpora")
        .map(|entry| entry.expect("a folder").file_name().to_string_lossy().into_owned())
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
    for (name, target) in TARGETS {
        // A whole network costs as much as a thousand messages.
        let step = if *name == "engine_sim" { 31 } else { 1 };
        for first in [0_u8, 1, 2, 3, 4, 0x40, 0x45, 0x4f, 0x60, 0xff] {
            for len in (0..200).step_by(step).chain([576, 1500, 65_535]) {
                let mut data: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
                if let Some(byte) = data.first_mut() {
                    *byte = first;
                }
                target(&data);
            }
        }
    }
}
