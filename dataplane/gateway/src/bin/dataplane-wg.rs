//! Userspace WireGuard for one interface, in the place of wireguard-go.
#![forbid(unsafe_code)]

use dataplane_io::memory::LargePages;

/// Records of very many sessions lie in huge pages.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

fn main() -> std::process::ExitCode {
    dataplane_gateway::wg::main()
}
