//! What may happen, written down without a look at how the code under test does it.
//!
//! Enters: every packet that is handed to an inner side, every datagram that is seen leaving or entering a host, every packet
//! that an inner side gets, and the counters of the hosts. Leaves: nothing, or the [`Violation`] of a rule.
//!
//! | file | rules |
//! |---|---|
//! | `ledger` | what is delivered: unchanged, once, to the one it was for, from the one who sent it, in the order of its flow |
//! | `books` | nothing vanishes: every datagram and packet is accounted for, and what waits is bounded |

mod books;
mod ledger;

pub(crate) use books::{Account, Books, Wire};
pub(crate) use ledger::{Arrival, Ledger, Order};

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An inner side got something that no inner side was given.
    #[error("{host} was given a packet that nobody sent")]
    Invented {
        /// Who got it.
        host: String,
    },
    /// A packet came out changed.
    #[error("packet {id} was delivered with {fault}")]
    Altered {
        /// Which packet.
        id: u64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A packet came out where it was not for.
    #[error("packet {id} for {wanted} was delivered to {host}")]
    WrongHost {
        /// Which packet.
        id: u64,
        /// Who got it.
        host: String,
        /// Who should have.
        wanted: String,
    },
    /// A packet came out under the name of another peer than the one who sent it, or with a source that is not its sender's.
    #[error("packet {id} of {sender} was delivered as if {claimed} had sent it")]
    WrongPeer {
        /// Which packet.
        id: u64,
        /// Who sent it.
        sender: String,
        /// Who is said to have.
        claimed: String,
    },
    /// A packet came out again.
    #[error("packet {id} was delivered twice")]
    Twice {
        /// Which packet.
        id: u64,
    },
    /// A packet came out behind one of its flow that was sent later, though the network kept their order.
    #[error("packet {id} was delivered behind packet {before} of the same flow")]
    Overtaken {
        /// Which packet.
        id: u64,
        /// The later one.
        before: u64,
    },
    /// A packet came out of a datagram whose tag cannot have been right.
    #[error("packet {id} came out of datagram {datagram}, which is not as it was sent")]
    Forged {
        /// Which packet.
        id: u64,
        /// Which datagram.
        datagram: u64,
    },
    /// A datagram carries an inner packet that anybody can read.
    #[error("{host} sent packet {id} in the clear")]
    Plaintext {
        /// Who sent it.
        host: String,
        /// Which packet.
        id: u64,
    },
    /// Something vanished, or came from nowhere.
    #[error("{host}: {what}: {seen} were seen, {counted} are accounted for ({account})")]
    Unaccounted {
        /// Whose books do not balance; `the network` for what is on the way.
        host: String,
        /// Which side of them.
        what: &'static str,
        /// How many went in.
        seen: i64,
        /// How many came out, were dropped or wait.
        counted: i64,
        /// The terms of the sum.
        account: String,
    },
    /// More waits, or is kept, than there is room for.
    #[error("{host} keeps {held} {what}, at most {most} were agreed")]
    Unbounded {
        /// Who.
        host: String,
        /// Of what.
        what: &'static str,
        /// How many.
        held: u64,
        /// How many may be.
        most: u64,
    },
    /// A state machine has always one thing more to do.
    #[error("{host} never comes to rest")]
    Restless {
        /// Who.
        host: String,
    },
    /// Two ends that could reach each other did not.
    #[error("packet {id} of {from} did not reach {to}, though nothing was in its way for {quiet_s} s")]
    Unreached {
        /// A packet that is missing.
        id: u64,
        /// Who sent it.
        from: String,
        /// Who never got it.
        to: String,
        /// For how long the network had been good when it was sent.
        quiet_s: u64,
    },
    /// What a scenario expects of itself.
    #[error("expected: {0}")]
    Unexpected(String),
}
