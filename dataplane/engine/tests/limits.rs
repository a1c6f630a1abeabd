//! Limits of the process, which concern all of it: a test binary of its own.

use dataplane::{Depth, Engine, InnerSide, Interface, InterfaceError, StartError, Workers};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn set_files(limit: u64) {
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..getrlimit(Resource::Nofile) }).unwrap();
}

/// FT-5: the message names the limit and what to do about it, and nothing stays behind. Open files are the limit that there is:
/// nothing of an engine over sockets is locked into memory (`dataplane doctor` says so), and who locks rings or frames sizes
/// that. A relay's answer at its limit is the relay's.
#[test]
fn a_limit_on_open_files_is_named_with_its_remedy() {
    let (engine, _events) = Engine::builder().workers(Workers::Count(2)).start().unwrap();
    let (inner, _packets) = InnerSide::queue(Depth::batches(2)).unwrap();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
    let (before, limit) = (open(), getrlimit(Resource::Nofile).current.unwrap());
    set_files(before + 3);
    let refused = engine.add_interface(Interface::new(inner)).err().unwrap();
    assert!(matches!(refused, InterfaceError::Files { limit } if limit == before + 3), "{refused}");
    assert!(refused.to_string().contains("ulimit -n"), "{refused}");
    let refused = Engine::builder().workers(Workers::Count(8)).start().err().unwrap();
    assert!(matches!(refused, StartError::Files { .. }), "{refused}");
    assert!(refused.to_string().contains("LimitNOFILE="), "{refused}");
    set_files(limit);
    assert!(open() <= before, "what was opened on the way is closed");
}
