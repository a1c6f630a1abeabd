//! Plain UDP traffic in batches: a generator, a sink, and requests with their answers.
//!
//! Enters: which packets, how many per second, for how long. Leaves: one line of JSON. It is told to begin and to end by its
//! standard input (`dataplane_perf::orders`), so that whoever measures reads the clocks of others right before and after.
#![forbid(unsafe_code)]

mod flow;
mod requests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use dataplane_perf::pattern::Sizes;

#[derive(Parser)]
#[command(about = "Sends, receives and answers plain UDP packets in batches")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends to hosts of a net, drawn at random.
    Send(Send),
    /// Counts what comes, until its input ends.
    Sink {
        /// Address and port to listen on.
        #[arg(long)]
        listen: SocketAddrV4,
    },
    /// Sends requests at a steady rate and measures when each answer comes.
    Ask {
        /// Who answers.
        #[arg(long)]
        to: SocketAddrV4,
        /// Requests per second.
        #[arg(long, default_value_t = 1000.0)]
        rate: f64,
        /// For so long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
    /// Sends back what comes, until its input ends.
    Answer {
        /// Address and port to listen on.
        #[arg(long)]
        listen: SocketAddrV4,
    },
}

#[derive(Args)]
struct Send {
    /// The net; its first address is not used.
    #[arg(long)]
    net: Ipv4Addr,
    /// Hosts of the net that packets go to.
    #[arg(long, default_value_t = 1)]
    hosts: usize,
    /// Destination port.
    #[arg(long, default_value_t = 9)]
    port: u16,
    /// Bytes of payload, or `imix`: 64, 512 and 1,300 as 7 to 4 to 1.
    #[arg(long, default_value = "64")]
    size: Sizes,
    /// Packets to a host before the next is drawn; from 2 on they leave as trains.
    #[arg(long, default_value_t = 1)]
    burst: usize,
    /// Packets per second; 0 for full speed.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// For so long.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Of the order of hosts and sizes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Send(send) => flow::send(&send),
        Command::Sink { listen } => flow::sink(listen),
        Command::Ask { to, rate, seconds } => requests::ask(to, rate, seconds),
        Command::Answer { listen } => requests::answer(listen),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("traffic: {error}");
            ExitCode::FAILURE
        }
    }
}
