//! `dataplane` as a process.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn dataplane(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dataplane"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn generated_keys_are_new_and_their_public_keys_are_those_of_wg() {
    let key = out(&dataplane(&["genkey"], b""));
    assert_ne!(key, out(&dataplane(&["genkey"], b"")));
    assert_eq!(out(&dataplane(&["genpsk"], b"")).len(), 45);
    let public = out(&dataplane(&["pubkey"], key.as_bytes()));
    assert_eq!((public.len(), public.ends_with("=\n")), (45, true));
    // A pair of `wg genkey` and `wg pubkey`.
    let public = out(&dataplane(&["pubkey"], b" QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=\r\n"));
    assert_eq!(public, "WY5QRQx9N+/BZnMAYSa8JDLfu3ZylZM3EfEwf6RIvjU=\n");
}

#[test]
fn what_is_no_key_is_refused_with_what_was_expected() {
    let key = b"QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=";
    for input in [&b""[..], b"QMVS", &[0xff; 44], &key[..43], &[&key[..], key].concat(), &[b'A'; 1_000_000]] {
        let output = dataplane(&["pubkey"], input);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.starts_with("dataplane: expected a private key on standard input: 44 characters"),
            "{text}"
        );
    }
}

#[test]
fn a_wrong_command_line_is_answered_with_usage_and_code_2() {
    for arguments in [&[][..], &["nonsense"], &["genkey", "extra"]] {
        let output = dataplane(arguments, b"");
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: dataplane"), "{arguments:?}");
    }
    assert!(out(&dataplane(&["version"], b"")).starts_with("dataplane 0."));
    assert_eq!(out(&dataplane(&["version"], b"")), out(&dataplane(&["--version"], b"")));
}

#[test]
fn a_closed_standard_output_is_an_error_and_no_panic() {
    let output = Command::new("sh")
        .args(["-c", &format!("{} genkey >/dev/full", env!("CARGO_BIN_EXE_dataplane"))])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("dataplane: cannot write to standard output"), "{text}");
}
