//! What `dataplane` writes about itself and about the machine.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "each test program uses its own part of it")]
mod support;

use support::{inside, ok, sh};

#[test]
fn every_command_has_a_page_and_every_page_is_one_for_man() {
    let folder = std::env::temp_dir().join(format!("dataplane-man-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    ok(&format!("dataplane man --directory {}", folder.display()));
    let help = ok("dataplane --help");
    for name in ["genkey", "doctor", "check", "demo", "completions", "man"] {
        assert!(help.contains(&format!("\n  {name}")), "{help}");
        let page = std::fs::read_to_string(folder.join(format!("dataplane-{name}.1"))).unwrap();
        assert!(
            page.contains(&format!("dataplane {name}")) || page.contains(&format!("dataplane\\ {name}")),
            "{page}"
        );
        assert_eq!(page, ok(&format!("dataplane man {name}")));
    }
    for (program, command) in
        [("dataplane", "dataplane man"), ("dataplane-wg", "dataplane man --program dataplane-wg")]
    {
        let page = std::fs::read_to_string(folder.join(format!("{program}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {program} 1")), "{page}");
        assert_eq!(page, ok(command));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let (code, text) = sh("dataplane man nonsense");
    assert_eq!((code, text.contains("no command `nonsense`: expected one of genkey, ")), (2, true), "{text}");
    let (code, text) = sh("dataplane man --directory /nonexistent");
    assert_eq!(
        (code, text.contains("cannot write /nonexistent/dataplane.1: No such file")),
        (1, true),
        "{text}"
    );
}

#[test]
fn completions_are_scripts_that_the_shell_takes() {
    for program in ["dataplane", "dataplane-wg"] {
        // Bash also runs it: the function that it names is defined then.
        let script = format!("dataplane completions bash --program {program}");
        let shown = ok(&format!("source <({script}) && complete -p {program}"));
        assert!(shown.contains("-F _dataplane") && shown.ends_with(&format!(" {program}\n")), "{shown}");
        for shell in ["zsh", "fish", "elvish", "powershell"] {
            let text = ok(&format!("dataplane completions {shell} --program {program}"));
            assert!(text.contains(program), "{shell}: {text}");
        }
    }
    assert!(ok("dataplane completions bash").contains("genpsk"));
    let (code, text) = sh("dataplane completions csh");
    assert_eq!((code, text.contains("possible values: bash")), (2, true), "{text}");
}

/// EN-11
#[test]
fn the_doctor_finds_what_a_sandbox_takes_away_and_says_what_to_do() {
    if !inside("the_doctor_finds_what_a_sandbox_takes_away_and_says_what_to_do", &["setpriv"]) {
        return;
    }
    let text = ok("dataplane doctor");
    assert!(text.contains("0 failures"), "{text}");
    assert!(text.contains("\ntun         ok"), "{text}");
    assert_eq!(ok("ip -o link | wc -l"), "1\n", "no interface stays");

    let (code, text) = sh("setpriv --bounding-set -net_admin --inh-caps -net_admin dataplane doctor");
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("tun         failure  creating an interface needs the capability CAP_NET_ADMIN\n"),
        "{text}"
    );
    assert!(text.contains("-> run as root"), "{text}");
    assert!(text.contains("dataplane: no gateway works here"), "{text}");

    let (code, text) = sh("mount -t tmpfs none /dev/net && dataplane doctor --json 2>/dev/null");
    assert_eq!(code, 1, "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let tun = findings.iter().find(|finding| finding["check"] == "tun").unwrap();
    assert_eq!((&tun["level"], &report["failures"]), (&"failure".into(), &1.into()));
    assert!(tun["remedy"].as_str().unwrap().contains("modprobe tun"), "{tun}");
    assert!(findings.iter().any(|finding| finding["check"] == "io_uring"));
}
