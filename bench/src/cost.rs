//! What connections and channels cost in bytes, and whether calls slow down as their number grows.
//!
//! The server is a process of its own, so that each side's memory is seen apart. Resident memory is read from `/proc`, hence
//! only on Linux.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use duplex_peer::{Channel, Framing, Peer, Rpc, Transport};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{median, reference as subject};

/// The argument that makes this program the server.
pub const SERVE: &str = "--serve";

const CONNECTIONS: usize = 10_000;
const CHANNELS: usize = 100_000;

/// Bytes of resident memory for each, on either side, and calls per second as calls and channels add up.
#[derive(Serialize)]
pub struct Cost {
    connections: usize,
    connection: Sides,
    channels: usize,
    channel: Sides,
    /// Calls made before, calls per second of the next ones.
    after_calls: Vec<(usize, f64)>,
    /// Open channels beside them, calls per second.
    beside_channels: Vec<(usize, f64)>,
}

#[derive(Serialize)]
struct Sides {
    caller: usize,
    provider: usize,
}

/// Serves on a port that the first line of standard output names, until its standard input ends.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("a bound socket has an address"));
        let rpc = subject::service();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let rpc = rpc.clone();
                tokio::spawn(async move {
                    if let Ok(peer) = rpc.accept(Transport::tcp(stream, Framing::Length)).await {
                        peer.closed().await;
                    }
                });
            }
        });
        let mut end = tokio::io::stdin();
        _ = tokio::io::copy(&mut end, &mut tokio::io::sink()).await;
    });
}

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let mut address = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut address).expect("a line with the address");
        Self { process, address: address.trim().to_owned() }
    }

    async fn connect(&self) -> Peer {
        let transport = Transport::connect(&self.address, Framing::Length).await.expect("the server listens");
        Rpc::new().with_limits(subject::limits()).handshake(transport).await.expect("the server answers")
    }

    fn memory(&self) -> Memory {
        Memory { caller: resident("self"), provider: resident(&self.process.id().to_string()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        _ = self.process.wait();
    }
}

#[derive(Clone, Copy)]
struct Memory {
    caller: usize,
    provider: usize,
}

impl Memory {
    fn each(self, before: Self, count: usize) -> Sides {
        Sides {
            caller: self.caller.saturating_sub(before.caller) / count,
            provider: self.provider.saturating_sub(before.provider) / count,
        }
    }
}

fn resident(process: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Measures everything, and prints it; rates in so many rounds.
pub async fn measure(rounds: usize) -> Cost {
    let channel = channels().await;
    println!("\n{CHANNELS} open channels: {} bytes each for the caller, {} for the provider", channel.caller, channel.provider);
    let connection = connections().await;
    println!(
        "{CONNECTIONS} idle connections: {} bytes each for the caller, {} for the provider",
        connection.caller, connection.provider
    );
    let after_calls = after_calls(rounds).await;
    for (calls, rate) in &after_calls {
        println!("after {calls:>6} calls: {rate:.0} calls/s");
    }
    let beside_channels = beside_channels(rounds).await;
    for (open, rate) in &beside_channels {
        println!("beside {open:>5} open channels: {rate:.0} calls/s");
    }
    Cost { connections: CONNECTIONS, connection, channels: CHANNELS, channel, after_calls, beside_channels }
}

async fn connections() -> Sides {
    let server = Server::start();
    let warm = server.connect().await;
    let before = server.memory();
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        held.push(server.connect().await);
    }
    let after = server.memory();
    drop((warm, held));
    after.each(before, CONNECTIONS)
}

async fn channels() -> Sides {
    let server = Server::start();
    let peer = server.connect().await;
    let _one = opened(&peer, 1).await;
    let before = server.memory();
    let _held = opened(&peer, CHANNELS).await;
    server.memory().each(before, CHANNELS)
}

/// Channels on which the provider's handler waits for the next argument.
async fn opened(peer: &Peer, count: usize) -> Vec<Channel> {
    let mut held = Vec::with_capacity(count);
    for i in 0..count {
        let channel = peer.open("wait");
        channel.send(&(i as u64)).await.expect("an open connection");
        held.push(channel);
    }
    // The answer comes after all of them were taken.
    let _: u64 = peer.request("sum").timeout(Duration::from_secs(60)).call(&(1u64, 2u64)).await.expect("a sum");
    held
}

/// The medians of rounds, each with a connection of its own.
async fn after_calls(rounds: usize) -> Vec<(usize, f64)> {
    let mut seen = vec![Vec::new(); 11];
    for _ in 0..rounds {
        let client = subject::client().await;
        for rates in &mut seen {
            rates.push(subject::sum(&client, 10_000, 64).await);
        }
    }
    seen.into_iter().enumerate().filter_map(|(index, rates)| Some((index * 10_000, median(rates)?))).collect()
}

/// The medians of rounds, in each of which every number of channels has its turn.
async fn beside_channels(rounds: usize) -> Vec<(usize, f64)> {
    let mut clients = Vec::new();
    for open in [0, 10, 100, 1_000, 10_000] {
        let client = subject::client().await;
        let held = opened(client.peer(), open).await;
        subject::sum(&client, 10_000, 64).await;
        clients.push((open, client, held, Vec::new()));
    }
    for _ in 0..rounds {
        for (_, client, _, rates) in &mut clients {
            rates.push(subject::sum(client, 20_000, 64).await);
        }
    }
    clients.into_iter().filter_map(|(open, _, _, rates)| Some((open, median(rates)?))).collect()
}
