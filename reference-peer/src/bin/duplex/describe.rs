//! `duplex describe`: what a peer says of itself, if it does.

use std::time::Duration;

use clap::Args;
use duplex_peer::{Address, Code, Error, Peer, Rpc};
use serde_json::{Map, Value, json};

use crate::{Failure, Metadata, Wire, print_line, with_ext};

const EXAMPLES: &str = "\
Duplex has no built-in description. Asked for are, in this order:
  conformance.describe                   of peers that are tested with the conformance suite
  reflect.methods and reflect.describe   as the book's chapter on patterns has them

The published libraries die of a call to a method that they do not have, of these too, or do not answer it; no answer within ten
seconds is no description.

Examples:
  duplex describe tcp://localhost:7000
  duplex describe 'exec:duplex serve stdio:'";

/// How long each answer may take: who does not know a method may be silent about it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints what a peer says of itself, as JSON
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where the peer is
    address: Address,
    #[command(flatten)]
    metadata: Metadata,
    #[command(flatten)]
    wire: Wire,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let ext = options.metadata.parse()?;
    // A connection for each: there are peers that die of a method that they do not have.
    let peer = options.wire.connect(&Rpc::new(), &options.address).await?;
    let mut description = ask(&peer, &ext, "conformance.describe", &Value::Null).await?;
    close(&peer).await;
    if description.is_none() {
        let peer = options.wire.connect(&Rpc::new(), &options.address).await.map_err(|failure| match failure {
            Failure::Unreachable(text) => {
                Failure::Unreachable(format!("{text}\n  it does not describe itself, and is gone since it was asked to"))
            }
            failure => failure,
        })?;
        description = reflect(&peer, &ext).await?.map(|methods| json!({ "methods": methods }));
        close(&peer).await;
    }
    let Some(description) = description else {
        return Err(Failure::Local(format!(
            "{} does not describe itself: it has neither `reflect.methods` nor `conformance.describe`",
            options.address
        )));
    };
    print_line(&format!("{description:#}"))
}

async fn close(peer: &Peer) {
    peer.close();
    peer.closed().await;
}

async fn reflect(peer: &Peer, ext: &Map<String, Value>) -> Result<Option<Map<String, Value>>, Failure> {
    let Some(Value::Array(names)) = ask(peer, ext, "reflect.methods", &Value::Null).await? else { return Ok(None) };
    let mut methods = Map::new();
    for name in names.iter().filter_map(Value::as_str) {
        let description = ask(peer, ext, "reflect.describe", &Value::from(name)).await?;
        methods.insert(name.to_owned(), description.unwrap_or_default());
    }
    Ok(Some(methods))
}

/// What a method says; `None` if there is no such method, if nothing is said of it, or if asking for it ended the connection.
async fn ask(peer: &Peer, ext: &Map<String, Value>, method: &str, argument: &Value) -> Result<Option<Value>, Failure> {
    let request = with_ext(peer.request(method).timeout(PATIENCE), ext)?;
    match request.call::<_, Value>(argument).await {
        Ok(value) => Ok(Some(value)),
        Err(Error::Remote(error)) if error.code == Code::METHOD_NOT_FOUND => Ok(None),
        Err(Error::Closed | Error::Timeout) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
