//! Each dialogue of the book as a test of its own, held with the reference peer: `cargo test -p duplex-target-reference --test book`.
//!
//! A dialogue is a block that is fenced `dialogue`; one that is fenced `dialogue,shape` draws an idea and is not held. The
//! book's own build sees to it that no other block looks like a dialogue, and counts both kinds. The methods of the
//! dialogues are served in this process; the harness meets them over a socket, as it meets any peer.

#[path = "book/dialogue.rs"]
mod dialogue;
#[path = "book/service.rs"]
mod service;

use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use duplex_conformance::event::{Configuration, Description, Event, Verdict};
use duplex_conformance::plan::{Case, ConfigurationPlan, Plan};
use duplex_conformance::run::{RunOptions, run};
use duplex_conformance::target::{Target, TargetKind};
use duplex_peer::{Framing as PeerFraming, Transport as PeerTransport};
use duplex_vectors::{Codec, Framing, Role, Session, Transport};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use dialogue::Dialogue;

/// What the dialogues show: a caller that dialled, and JSON. Frames that cannot be seen in them are of no matter.
const CONFIGURATION: Configuration =
    Configuration { transport: Transport::Tcp, role: Role::Acceptor, framing: Framing::Length, codec: Codec::Json };

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::from_args();
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../book/src");
    let mut dialogues = Vec::new();
    for path in markdown(&chapters)? {
        let chapter = path.strip_prefix(&chapters)?.to_string_lossy().into_owned();
        dialogues.extend(dialogue::of_chapter(&chapter, &fs::read_to_string(&path)?));
    }
    if dialogues.is_empty() {
        return Err(format!("{}: no chapter has a dialogue", chapters.display()).into());
    }
    let book = Arc::new(Book::open()?);
    let wrong = Arc::clone(&book);
    let mut trials = vec![Trial::test("a dialogue that says something else fails", move || wrong.sees_faults())];
    trials.extend(dialogues.into_iter().map(|dialogue| {
        let book = Arc::clone(&book);
        Trial::test(dialogue.place.clone(), move || book.holds(&dialogue))
    }));
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Dialogues with one fault each: another value, another text, a reply too few, no JSON.
const WRONG: [&str; 4] = [
    "-> {\"type\":\"req\",\"id\":1,\"method\":\"add\",\"payload\":[1,2]}\n<- {\"type\":\"rep\",\"id\":1,\"payload\":4}",
    "-> SIMPLEX/1.0;json\n<- +OK;cancel",
    "-> {\"type\":\"req\",\"id\":1,\"method\":\"add\",\"payload\":[1,2]}",
    "-> {\"type\":\"req\"",
];

/// Every chapter, in the order of their paths.
fn markdown(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(markdown(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The peer that has the methods of the book, and what the harness needs to know of it.
struct Book {
    runtime: Runtime,
    target: Target,
    description: Description,
}

impl Book {
    fn open() -> Result<Self, Box<dyn Error>> {
        let runtime = Runtime::new()?;
        let address = runtime.block_on(serve())?;
        let target = Target { name: "book".to_owned(), kind: TargetKind::Address(address) };
        let description = serde_json::from_value(service::description())?;
        Ok(Self { runtime, target, description })
    }

    fn sees_faults(&self) -> Result<(), Failed> {
        for text in WRONG {
            let dialogues = dialogue::of_chapter("wrong.md", &format!("```dialogue\n{text}\n```\n"));
            let [dialogue] = dialogues.as_slice() else { return Err(format!("not one dialogue: {text}").into()) };
            if self.holds(dialogue).is_ok() {
                return Err(format!("nobody minds this:\n{text}").into());
            }
        }
        Ok(())
    }

    fn holds(&self, dialogue: &Dialogue) -> Result<(), Failed> {
        let session = dialogue.session()?;
        let id = session.id.clone();
        // A run takes vectors that live as long as the process, and so does this one.
        let session: &'static Session = Box::leak(Box::new(session));
        let cases = vec![Case::Session(session)];
        let configurations = vec![ConfigurationPlan { configuration: CONFIGURATION, cases, not_applicable: 0 }];
        let plan = Plan { configurations, not_claimed: Vec::new() };
        let options = RunOptions { jobs: 1, ..RunOptions::default() };
        let mut finished = Vec::new();
        self.runtime.block_on(run(&self.target, &self.description, &plan, &options, &mut |event| {
            if let Event::CaseFinished(one) = event {
                finished.push(one);
            }
        }));
        // Standing checks judge each frame of the target besides.
        if let Some(wrong) = finished.iter().find(|one| one.verdict != Verdict::Pass) {
            let finding = wrong.finding.as_ref();
            let summary = finding.map_or("", |finding| finding.summary.as_str());
            let expected = finding.iter().flat_map(|finding| &finding.expected).map(|one| format!("\nexpected {one}"));
            let came = finding.iter().filter_map(|finding| finding.actual.as_ref()).map(|one| format!("\ncame     {one}"));
            return Err(format!("{}: {summary}{}{}", wrong.case, expected.collect::<String>(), came.collect::<String>()).into());
        }
        if finished.iter().any(|one| one.case == id) { Ok(()) } else { Err("the dialogue was not held".into()) }
    }
}

async fn serve() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Some dialogues are refused: that is what they show. State is the connection's, since ids of jobs are, too.
                if let Ok(rpc) = service::rpc()
                    && let Ok(peer) = rpc.accept(PeerTransport::tcp(stream, PeerFraming::Length)).await
                {
                    peer.closed().await;
                }
            });
        }
    });
    Ok(address)
}
