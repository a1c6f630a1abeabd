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

#[test]
fn check_says_what_is_in_a_file_or_everything_that_is_wrong_with_it() {
    let folder = std::env::temp_dir().join(format!("dataplane-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write(
        "wg0.conf",
        b"[Interface]\nAddress = 10.0.0.1/24\nPrivateKey = QMVSYcTWXZcJNGkAcdNAxQqJPeVmoaT13CAWAWDYCXg=\n\
          [Peer]\nPublicKey = iqc4h5/rFqUtdV9eYzsqBmgwzcEHPH7gra+4S0mgXk0=\nAllowedIPs = 10.0.0.2/32\n",
    );
    let output = dataplane(&["check", &good], b"");
    assert_eq!(out(&output), format!("{good}: interface wg0, 1 peer, 1 allowed IP: nothing is wrong\n"));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("others may read this file and the private key in it: chmod 600"), "{notes}");

    let pipe = folder.join("pipe.conf").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let bad = write("bad.conf", b"[Interface]\nMTU = 7\nColour = red\n");
    let cases = [
        (bad.clone(), format!("{bad}:2: `MTU` is `7`: expected bytes")),
        (bad.clone(), format!("{bad}:3: unknown key `Colour` in [Interface]")),
        (
            write("k.conf", b"[Interface]\nPrivateKeyFile = none\n"),
            "none cannot be read: No such file".into(),
        ),
        (pipe, "it is a pipe or a device; expected a file".into()),
        (write("wg0.txt", b""), "the name of a configuration file is INTERFACE.conf".into()),
        (write("far-too-long-name.conf", b""), "the name of an interface has 1 to 15 letters".into()),
        ("no-such-name".into(), "/etc/wireguard/no-such-name.conf: cannot be read: No such file or directory (os error 2); write it".into()),
    ];
    for (file, message) in cases {
        let output = dataplane(&["check", &file], b"");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{file}: {text}");
        assert!(text.contains(&message), "{file}: {text}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
