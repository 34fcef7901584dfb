//! What a run takes of the machine, whatever the target does.

use crate::run::{Run, at_once};

/// Descriptors that a run is given: a few more than one process and one connection need, and fewer than there are processes.
const DESCRIPTORS: usize = 28;

/// Cases that fail each for itself.
const MANY: &[&str] = &["--filter", "message:invalid."];

/// Kibibytes of memory that no flood may exceed. A run without one needs a tenth.
const PEAK: u64 = 256 * 1024;

#[test]
fn many_broken_processes_leave_no_descriptor_open() {
    let rows = [
        ("grandchild greeting 3", "closed"),
        ("resets connect 3 tcp acceptor length", "closed"),
        ("resets greeted 3 tcp initiator length", "closed"),
        ("closes start 3 tcp acceptor length", "not_started"),
        ("4gib greeting 3", "garbage"),
        ("closes greeting 3", "closed"),
    ];
    at_once(&rows, |(fault, kind)| {
        let run = Run::new(fault);
        let (status, stderr) = run.to_end(run.measured(DESCRIPTORS, MANY));
        assert_eq!(status, Some(1), "{fault}: {stderr}");
        let findings = run.findings();
        assert!(findings.len() > 10, "{fault}: {} findings", findings.len());
        assert_eq!(findings.iter().find(|told| told.kind != *kind), None, "{fault}");
        assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    });
}

#[test]
fn no_flood_fills_the_memory() {
    for fault in [
        "floods:100 reply",
        "floods:1000000 reply",
        "floods:4000000 reply",
        "floods:1000000 reply 1 tcp acceptor newline",
        "floods:1000 greeted 3",
        "floods:4000000 end",
        "floods:100 start 3 tcp acceptor length",
        "line reply",
        "line reply 1 stdio acceptor newline",
        "line greeting 3",
        "line start 3 tcp acceptor newline",
        "4gib reply",
        "4gib greeting 3",
        "log reply",
    ] {
        let run = Run::new(fault);
        let (status, stderr) = run.to_end(run.measured(DESCRIPTORS, &[]));
        assert!(matches!(status, Some(0 | 1)), "{fault}: {status:?}: {stderr}");
        assert!(run.peak() < PEAK, "{fault}: {} KiB", run.peak());
    }
}
