//! The environment of a target, read once and judged whole before the wire is touched.

use std::net::SocketAddr;
use std::sync::Arc;

use duplex_peer::{Codec, Framing, Json, MessagePack};

/// The part in the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Acceptor,
    Initiator,
}

/// Where the wire is.
#[derive(Debug)]
pub(crate) enum Wire {
    Stdio,
    Listen(SocketAddr),
    Connect(String),
}

/// What the environment asks for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) wire: Wire,
    pub(crate) framing: Framing,
    /// The one that the environment names stands first.
    pub(crate) codecs: Vec<Arc<dyn Codec>>,
}

impl Settings {
    /// Reads the `DUPLEX_` variables. The error names the one that is at fault.
    pub(crate) fn from_env() -> Result<Self, String> {
        let role = match value("DUPLEX_ROLE")?.as_str() {
            "acceptor" => Role::Acceptor,
            "initiator" => Role::Initiator,
            other => return Err(unknown("DUPLEX_ROLE", other, "acceptor, initiator")),
        };
        let framing = match value("DUPLEX_FRAMING")?.as_str() {
            "length" => Framing::Length,
            "newline" => Framing::Newline,
            other => return Err(unknown("DUPLEX_FRAMING", other, "length, newline")),
        };
        let codecs: Vec<Arc<dyn Codec>> = match value("DUPLEX_CODEC")?.as_str() {
            "json" => vec![Arc::new(Json), Arc::new(MessagePack)],
            "msgpack" if framing == Framing::Newline => {
                return Err("DUPLEX_CODEC is msgpack, which newline framing cannot carry".to_owned());
            }
            "msgpack" => vec![Arc::new(MessagePack), Arc::new(Json)],
            other => return Err(unknown("DUPLEX_CODEC", other, "json, msgpack")),
        };
        let wire = match (value("DUPLEX_TRANSPORT")?.as_str(), role) {
            ("stdio", _) => Wire::Stdio,
            ("tcp", Role::Acceptor) => {
                let address = value("DUPLEX_LISTEN")?;
                Wire::Listen(address.parse().map_err(|_| unknown("DUPLEX_LISTEN", &address, "an ip:port"))?)
            }
            ("tcp", Role::Initiator) => {
                let address = value("DUPLEX_CONNECT")?;
                let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
                port.ok_or_else(|| unknown("DUPLEX_CONNECT", &address, "a host:port"))?;
                Wire::Connect(address)
            }
            (other, _) => return Err(unknown("DUPLEX_TRANSPORT", other, "stdio, tcp")),
        };
        Ok(Self { role, wire, framing, codecs })
    }
}

fn value(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn unknown(name: &str, value: &str, known: &str) -> String {
    format!("{name} is `{value}`: known here: {known}")
}
