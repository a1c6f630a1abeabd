//! Defects on purpose: each breaks one rule in the simulated host or network, so that a test sees the model notice.

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// What comes out of the inner side comes out twice.
    DeliverTwice,
    /// It comes out at another host.
    DeliverElsewhere,
    /// It comes out under the name of another peer.
    NameAnotherPeer,
    /// It does not come out.
    SwallowDelivered,
    /// It comes out with a byte that was not sent.
    Alter,
    /// Something else comes out, which nobody sent.
    Invent,
    /// It comes out behind the one that came after it.
    Swap,
    /// The tag of a datagram is not looked at.
    AcceptForged,
    /// An inner packet leaves without a seal.
    SendPlaintext,
    /// What is handed to the inner side never gets to the shard.
    SwallowOffered,
    /// A datagram leaves that the shard did not send.
    SendTwice,
    /// The network loses datagrams and does not say so.
    LoseUnrecorded,
    /// Nothing gets through to the host, ever.
    Isolate,
    /// A worker always says that it has one thing more to do.
    NeverRest,
}
