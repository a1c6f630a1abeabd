//! Files of wg-quick.

use std::path::Path;

use dataplane_gateway::config::{Config, KeySource, emit, parse};

use super::applied;

/// Between two files in one input: a byte that is not in UTF-8.
const BETWEEN: u8 = 0xff;

/// One file or two: each is refused with the lines that are wrong, or says the same when it is written again; and an interface
/// that has had the first is, with the second, as one that has had the second alone.
pub fn config(data: &[u8]) {
    let files: Vec<Option<Config>> = data.split(|byte| *byte == BETWEEN).take(2).map(read).collect();
    if let [Some(first), Some(second)] = &files[..] {
        applied::reload(&applied::of_config(first), &applied::of_config(second));
        applied::reload(&applied::of_config(second), &applied::of_config(first));
    }
}

fn read(bytes: &[u8]) -> Option<Config> {
    let path = Path::new("wg0.conf");
    let config = match parse(path, bytes) {
        Ok(config) => config,
        Err(error) => {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(!error.problems.is_empty());
            assert!(error.problems.iter().all(|problem| problem.line <= lines), "{error}");
            return None;
        }
    };
    let text = emit(&config);
    let again = parse(path, text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}, of what was written: {}", *text));
    assert_eq!(without_lines(again), without_lines(config.clone()), "{}", *text);
    let _ = config.nested_allowed_ips();
    Some(config)
}

/// A configuration but for where its parts stand in the file.
fn without_lines(mut config: Config) -> Config {
    fn unplace(key: &mut Option<KeySource>) {
        if let Some(KeySource::File { line, .. }) = key {
            *line = 0;
        }
    }
    config.lines.clear();
    let interface = &mut config.interface;
    unplace(&mut interface.private_key);
    let hooks =
        [&mut interface.pre_up, &mut interface.post_up, &mut interface.pre_down, &mut interface.post_down];
    hooks.into_iter().flatten().for_each(|hook| hook.line = 0);
    for peer in &mut config.peers {
        peer.line = 0;
        unplace(&mut peer.preshared_key);
    }
    config
}
