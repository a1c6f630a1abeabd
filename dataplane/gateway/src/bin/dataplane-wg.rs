//! Userspace WireGuard for one interface, in the place of wireguard-go.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    dataplane_gateway::wg::main()
}
