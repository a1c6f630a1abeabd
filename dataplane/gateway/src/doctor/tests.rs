use std::path::Path;

use dataplane_io::tun::{Offloads, TunError};

use super::*;

/// EN-19
#[test]
fn a_kernel_that_damages_packets_is_named_with_the_first_good_one() {
    for (text, level) in [
        ("6.6.43", Level::Ok),
        ("6.6.44-generic", Level::Warning),
        ("6.6.46", Level::Ok),
        ("6.10.4", Level::Warning),
        ("6.18.44-fc", Level::Ok),
        ("7.0.0-rc3", Level::Warning),
        ("7.1.4", Level::Warning),
        ("7.1.5", Level::Ok),
        ("4.19.0-26-amd64", Level::Warning),
        ("", Level::Warning),
    ] {
        let finding = kernel::judge_version(text);
        assert_eq!(finding.level, level, "{text}: {finding:?}");
        assert_eq!(finding.remedy.is_some(), level != Level::Ok);
    }
    assert!(kernel::judge_version("7.1.0").remedy.unwrap().contains("7.1.5"));
}

#[test]
fn a_missing_right_or_driver_is_a_failure_with_its_remedy_apart() {
    let finding = kernel::judge_tun(Err(TunError::Rights { what: "creating an interface" }));
    assert_eq!(finding.level, Level::Failure);
    assert_eq!(finding.found, "creating an interface needs the capability CAP_NET_ADMIN");
    assert!(finding.remedy.unwrap().starts_with("run as root"));
    let finding = kernel::judge_tun(Err(TunError::NoDriver));
    assert!(finding.remedy.unwrap().contains("modprobe tun"));
    let levels = [Offloads::ALL, Offloads { uso: false, ..Offloads::ALL }, Offloads::NONE]
        .map(|offloads| kernel::judge_tun(Ok(offloads)).level);
    assert_eq!(levels, [Level::Ok, Level::Note, Level::Warning]);
}

/// FT-5
#[test]
fn limits_that_are_too_low_are_named_with_the_value_that_would_do() {
    let finding = machine::judge_open_files(Some(100), 16);
    assert_eq!(finding.level, Level::Warning);
    assert!(finding.remedy.unwrap().contains("LimitNOFILE=192"));
    assert_eq!(machine::judge_open_files(Some(192), 16).level, Level::Ok);
    assert_eq!(machine::judge_open_files(None, 64).level, Level::Ok);
    let finding = machine::judge_buffers((425_984, 7 << 20), 7 << 20);
    assert_eq!(finding.level, Level::Warning);
    assert!(finding.found.contains("416 KiB"), "{finding:?}");
    assert!(finding.remedy.unwrap().contains("net.core.rmem_max=7340032"));
    assert_eq!(machine::judge_buffers((7 << 20, 7 << 20), 7 << 20).level, Level::Ok);
}

#[test]
fn wg_quick_is_said_to_use_the_kernel_wherever_that_has_wireguard() {
    let folder = std::env::temp_dir().join(format!("dataplane-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let judge = |loaded| machine::judge_wg_quick(loaded, &folder);
    assert_eq!(judge(false).level, Level::Ok);
    assert!(judge(true).found.contains("is loaded"));
    // A module that others only need for something is not it.
    std::fs::write(folder.join("modules.dep"), "kernel/net/x/wireguard-like.ko: kernel/wireguard.ko\n")
        .unwrap();
    assert_eq!(judge(false).level, Level::Ok);
    let line = "kernel/drivers/net/wireguard/wireguard.ko.xz: kernel/lib/x.ko\n";
    std::fs::write(folder.join("modules.dep"), line).unwrap();
    assert!(judge(false).found.contains("as a module"));
    std::fs::write(folder.join("modules.builtin"), "kernel/drivers/net/wireguard/wireguard.ko\n").unwrap();
    assert!(judge(false).found.contains("built in"));
    assert!(judge(false).remedy.unwrap().contains("modprobe.d"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(machine::judge_wg_quick(false, Path::new("/nonexistent")).level, Level::Ok);
}

#[test]
fn the_cipher_comes_with_the_reason_for_it() {
    let finding = machine::judge_cipher("avx2", &["AVX2"]);
    assert_eq!((finding.level, finding.found.contains("avx2: the fastest")), (Level::Ok, true));
    assert_eq!(machine::judge_cipher("ring", &[]).level, Level::Note);
}

#[test]
fn a_report_reads_the_same_for_people_and_programs() {
    let report = Report {
        findings: vec![
            Finding::ok("a", "good"),
            Finding::warning("b", "bad", "mend it"),
            Finding::note("c", "x", "y"),
        ],
    };
    assert!(!report.has_failures());
    let text = report.to_string();
    assert!(text.contains("b           warning  bad\n"), "{text}");
    assert!(text.contains("-> mend it\n"), "{text}");
    assert!(text.ends_with("3 checks: 0 failures, 1 warning, 1 note"), "{text}");
    let value = report.to_json();
    assert_eq!(value["findings"][1]["remedy"], "mend it");
    assert_eq!(value["findings"][0]["remedy"], Value::Null);
    assert_eq!((&value["failures"], &value["warnings"]), (&json!(0), &json!(1)));
}

#[test]
fn this_machine_is_examined_and_every_fault_comes_with_a_remedy() {
    let report = examine();
    assert!(report.findings.len() >= 12);
    for finding in &report.findings {
        assert_eq!(finding.remedy.is_some(), finding.level != Level::Ok, "{finding:?}");
        assert!(!finding.found.is_empty() && !finding.found.contains('\n'), "{finding:?}");
    }
    let mut names: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), report.findings.len(), "each check once");
}
