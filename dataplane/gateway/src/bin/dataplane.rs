//! The operator's program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    dataplane_gateway::cli::main()
}
