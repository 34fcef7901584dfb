//! Programs that the guides print are run as they stand there.
//!
//! The Rust of "The reference peer" is run by the doctests of that crate: no arrow leads from the book to it.

use std::path::Path;
use std::process::Command;

const VECTORS: &str = include_str!("../src/guide/vectors.md");

#[test]
fn the_printed_test_of_a_decoder_reads_every_message() {
    let code = VECTORS.split("```python,run=messages\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the program");
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors");
    let output = Command::new("python3").args(["-c", code]).env("VECTORS", &vectors).output().expect("python3 starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (frames, failed) = said.trim_end().split_once(" frames, ").unwrap_or_else(|| panic!("{said}"));
    assert!(frames.parse::<usize>().is_ok_and(|frames| frames > 100), "{said}");
    assert_eq!(failed, "0 not as the book has it", "{said}");
}
