//! The conformance service on the reference peer: a target that is configured by its environment and driven over the wire.
//!
//! How connections come and go stands here; what is served stands in `service`, the test hooks in `hooks`. No protocol of its own.

mod hooks;
mod service;
mod settings;
mod standard;
mod state;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use duplex_peer::{Error, Peer, Rpc, Transport};
use tokio::net::{TcpListener, TcpStream};

use settings::{Role, Settings, Wire};

/// "I do not implement this configuration."
const NOT_IMPLEMENTED: u8 = 89;
/// How long running handlers may go on after the end of standard input.
const LAST_WORDS: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // r[target.unknown-value] r[target.not-implemented]
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("duplex-target-reference: {why}");
            return ExitCode::from(NOT_IMPLEMENTED);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let ended = runtime.block_on(run(&settings));
    // A read of standard input may still be under way; nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &std::io::Error) -> ExitCode {
    eprintln!("duplex-target-reference: {error}");
    ExitCode::FAILURE
}

async fn run(settings: &Settings) -> std::io::Result<()> {
    let rpc = service::rpc(settings);
    match (&settings.wire, settings.role) {
        (Wire::Stdio, role) => {
            serve_stdio(&rpc, role, settings).await;
            Ok(())
        }
        (Wire::Listen(address), _) => {
            let listener = TcpListener::bind(address).await?;
            let mut stdout = std::io::stdout();
            writeln!(stdout, "listening {}", listener.local_addr()?)?;
            stdout.flush()?;
            tokio::select! {
                result = listen(&rpc, settings, listener) => result,
                () = stdin_end() => Ok(()),
            }
        }
        (Wire::Connect(address), _) => {
            tokio::select! {
                () = dial(&rpc, settings, address) => Ok(()),
                () = stdin_end() => Ok(()),
            }
        }
    }
}

async fn serve_stdio(rpc: &Rpc, role: Role, settings: &Settings) {
    let Ok(peer) = greet(rpc, role, Transport::stdio(settings.framing)).await else { return };
    peer.input_ended().await;
    let last_words = async {
        peer.closed().await;
        while peer.counts().handlers > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    // r[target.exit] However it ended.
    _ = tokio::time::timeout(LAST_WORDS, last_words).await;
}

async fn listen(rpc: &Rpc, settings: &Settings, listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (rpc, role, framing) = (rpc.clone(), settings.role, settings.framing);
        tokio::spawn(async move {
            if let Err(error) = greet(&rpc, role, Transport::tcp(stream, framing)).await {
                eprintln!("duplex-target-reference: {error}");
            }
        });
    }
}

/// Session after session, until nobody listens there any more.
async fn dial(rpc: &Rpc, settings: &Settings, address: &str) {
    loop {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return eprintln!("duplex-target-reference: {address}: {error}"),
        };
        match greet(rpc, settings.role, Transport::tcp(stream, settings.framing)).await {
            Ok(peer) => peer.closed().await,
            Err(error) => eprintln!("duplex-target-reference: {error}"),
        }
    }
}

async fn greet(rpc: &Rpc, role: Role, transport: Transport) -> Result<Peer, Error> {
    match role {
        Role::Acceptor => rpc.accept(transport).await,
        Role::Initiator => rpc.handshake(transport).await,
    }
}

/// Waits for the end of standard input, so that no target outlives its harness. r[target.stdin]
async fn stdin_end() {
    // A thread of its own: a blocking task would hold the runtime back at the end.
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut waste = [0; 1024];
        while std::io::stdin().read(&mut waste).is_ok_and(|length| length > 0) {}
        // Nobody to tell means that the process is ending anyway.
        _ = ended.send(());
    });
    _ = end.await;
}
