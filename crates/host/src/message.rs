//! What agent and server say to each other, as JSON in [`crate::Frame::Message`]. The agent dials, so the agent speaks
//! first. The server's certificate names the server; the agent's certificate names the node.

use serde::{Deserialize, Serialize};

use crate::{BootId, Order, Probe, Reading, Refusal, Unit};

/// The protocol's version. Each side says its own; a server speaks with agents of its own version and the one before.
pub const PROTOCOL: u32 = 1;

/// The name in the server's certificate. The authority is the server's own and signs no other server, so the name need
/// not follow the addresses under which agents reach it.
pub const SERVER_NAME: &str = "server.refloat";

/// From the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromAgent {
    /// First on a connection without a client certificate: asks for one. Nothing else is taken there.
    Enrol {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The one-time token.
        token: String,
        /// Certificate request, PEM.
        request: String,
    },
    /// First on a connection with a client certificate.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The agent's version.
        agent: String,
        /// The boot that runs.
        boot: BootId,
        /// The latest generation of an order it has seen on this boot; 0 before any.
        generation: u64,
    },
    /// One probe's reading, as soon as it is there.
    Read {
        /// The ask.
        ask: u64,
        /// The reading.
        reading: Reading,
    },
    /// The next data frames of this ask are of this file.
    File {
        /// The ask.
        ask: u64,
        /// Its name, without a directory.
        name: String,
    },
    /// The ask has ended.
    Done {
        /// The ask.
        ask: u64,
        /// Why it ended early, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// An order was carried out, now or before.
    Acted {
        /// The ask.
        ask: u64,
        /// Whether it succeeded.
        ok: bool,
        /// What it printed.
        output: String,
        /// It had been carried out before and was not again.
        repeated: bool,
    },
    /// An order began before and nobody saw its end; it was not repeated.
    Interrupted {
        /// The ask.
        ask: u64,
    },
    /// An order was not carried out.
    Refused {
        /// The ask.
        ask: u64,
        /// Why.
        refusal: Refusal,
    },
    /// Answers [`ToAgent::Ping`].
    Pong,
}

/// To the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAgent {
    /// The answer to [`FromAgent::Enrol`]: certificate and authority, PEM. Then the connection ends.
    Enrolled {
        /// The agent's certificate.
        certificate: String,
        /// The server's authority.
        authority: String,
    },
    /// The connection ends, and why. The agent comes back later, with growing pauses.
    Goodbye {
        /// Code of the reason.
        code: String,
        /// For the log.
        message: String,
    },
    /// The answer to [`FromAgent::Hello`].
    Welcome {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// Something is asked for.
    Ask {
        /// Its number on this connection.
        ask: u64,
        /// What.
        what: Ask,
    },
    /// Nothing more of this ask is wanted.
    Stop {
        /// The ask.
        ask: u64,
    },
    /// Are you there? Sent after 30 s of silence.
    Ping,
}

/// What can be asked of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Readings of these probes.
    Look {
        /// The probes.
        probes: Vec<Probe>,
    },
    /// A unit's journal as a file.
    Log {
        /// The unit.
        unit: Unit,
        /// From when, in seconds before now.
        since_seconds: u64,
        /// Go on as lines come, until stopped.
        #[serde(default)]
        follow: bool,
    },
    /// The files of an evidence bundle, one after the other.
    Evidence {
        /// Journals from when, in seconds before now.
        since_seconds: u64,
    },
    /// Carry out an order.
    Act {
        /// The order.
        order: Order,
    },
}
