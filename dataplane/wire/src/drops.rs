//! Every way in which a datagram or a packet can vanish.

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a datagram or packet went no further. Each is counted per core; none is answered or logged per packet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are: the size of a table of counters.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and `status`: lower case with underscores.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Neither ChannelData, STUN nor WireGuard (DX-1).
    Unclassified = "unclassified",
    /// A WireGuard type with a length that it cannot have (WG-1).
    MalformedLength = "malformed_length",
    /// ChannelData inside of ChannelData (DX-7), or from an address that is no relay of ours.
    UnexpectedChannelData = "unexpected_channel_data",
    /// A STUN message that no controller has asked for.
    UnexpectedStun = "unexpected_stun",
    /// A receiver index that names no session.
    UnknownIndex = "unknown_index",
    /// A receiver index that named a session until a moment ago (DX-10).
    LateIndex = "late_index",
    /// A session of another interface than the socket's.
    WrongInterface = "wrong_interface",
    /// The session is older than 180 s (WG-35).
    SessionExpired = "session_expired",
    /// The counter is past the last one allowed (WG-36).
    CounterExhausted = "counter_exhausted",
    /// The counter was seen before, or lies behind the window (WG-45).
    Replay = "replay",
    /// The tag was wrong.
    BadTag = "bad_tag",
    /// The inner packet is neither IPv4 nor IPv6, or shorter than it claims (WG-48, WG-50).
    InnerMalformed = "inner_malformed",
    /// The inner source does not belong to the peer that sent it (WG-51).
    InnerSource = "inner_source",
    /// Congestion was experienced by an inner packet that is not ECN-capable (RFC 6040 §4.2).
    CongestionNotCapable = "congestion_not_capable",
    /// A handshake message whose mac1 was wrong (WG-16).
    BadMac1 = "bad_mac1",
    /// A handshake message without a valid mac2 while under load (a cookie reply may have gone out).
    NeedsCookie = "needs_cookie",
    /// A handshake message over the rate of its source (WG-26).
    HandshakeRate = "handshake_rate",
    /// The queue of handshakes was full.
    HandshakeQueueFull = "handshake_queue_full",
    /// A handshake message that failed to decrypt, or whose peer is unknown.
    HandshakeInvalid = "handshake_invalid",
    /// An initiation whose timestamp is not newer (WG-13), or too soon after the last (WG-14).
    HandshakeReplay = "handshake_replay",
    /// A response or cookie reply that answers nothing of ours.
    HandshakeUnmatched = "handshake_unmatched",
    /// A packet from the inner side that is no IP packet.
    OutboundMalformed = "outbound_malformed",
    /// No peer has the destination among its allowed IPs (WG-52).
    NoRoute = "no_route",
    /// The peer has no endpoint (WG-52).
    NoEndpoint = "no_endpoint",
    /// A datagram of our own to a peer that was routed into the tunnel to that peer (WG-59).
    RoutingLoop = "routing_loop",
    /// The oldest of more than 128 packets that wait for a session (WG-40).
    StagedOverflow = "staged_overflow",
    /// Waited for a session that never came (WG-39), or whose peer was removed.
    StagedPurged = "staged_purged",
    /// The store of waiting packets was full.
    StagingFull = "staging_full",
    /// The send arena was full.
    TxFull = "tx_full",
    /// The kernel refused to send: no buffers.
    TxNoBuffers = "tx_no_buffers",
    /// The kernel refused to send: unreachable, network down.
    TxUnreachable = "tx_unreachable",
    /// The kernel refused to send: larger than the path takes.
    TxTooBig = "tx_too_big",
    /// The kernel refused to send for another reason.
    TxError = "tx_error",
    /// A datagram larger than the receive buffer (EN-3).
    RxTruncated = "rx_truncated",
    /// No buffer was free (EN-9).
    NoBuffer = "no_buffer",
    /// The hand-off ring to the owning core was full (EN-1).
    HandOffFull = "hand_off_full",
    /// The inner side took no more (FT-11).
    InnerFull = "inner_full",
    /// The inner side refused the packet.
    InnerError = "inner_error",
    /// Dropped by the embedder's hook.
    Policy = "policy",
    /// The interface is going away.
    InterfaceGone = "interface_gone",
}
