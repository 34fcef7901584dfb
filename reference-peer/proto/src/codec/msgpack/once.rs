//! Each key once: of the entries of a map that have one key, only the last is kept, so that everybody who looks at a value
//! sees the same one, and none of them is passed on twice. r[codec.msgpack.duplicate-keys] r[codec.msgpack.duplicate-keys.send]
//!
//! Iterative, so that no nesting can exhaust a stack. The value has been scanned before: it is whole.

use std::collections::HashMap;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::{HeadKind, head, put_map_head, string};

/// What is written in the place of a range.
type Edit = (Range<usize>, Bytes);

/// A container whose values are not all read.
struct Open {
    head: Range<usize>,
    /// How many values it still lacks; those of a map are keys and values in turn.
    left: u64,
    is_map: bool,
    /// Where the starts of its values begin among those of all open maps.
    first: usize,
}

/// The value, without the entries of maps that a later one of the same key supersedes.
pub(super) fn each_key_once(value: Bytes) -> Bytes {
    let mut edits = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    loop {
        let Ok(next) = head(value.get(at..).unwrap_or_default()) else { return value };
        if let Some(outer) = open.last_mut() {
            outer.left -= 1;
            if outer.is_map {
                starts.push(at);
            }
        }
        let head = at..at + next.size;
        at = head.end;
        let container = match next.kind {
            HeadKind::Scalar(length) | HeadKind::String(length) => {
                at = at.saturating_add(length);
                None
            }
            HeadKind::Array(items) => Some((u64::from(items), false)),
            HeadKind::Map(entries) => Some((2 * u64::from(entries), true)),
        };
        open.extend(container.map(|(left, is_map)| Open { head, left, is_map, first: starts.len() }));
        while let Some(full) = open.pop_if(|container| container.left == 0) {
            if full.is_map {
                supersede(&value, full.head, &starts[full.first..], at, &mut edits);
            }
            starts.truncate(full.first);
        }
        if open.is_empty() {
            return if edits.is_empty() { value } else { edited(&value, edits) };
        }
    }
}

/// Notes which entries of a map come again later, and how many are left. `starts` are those of its keys and values in turn.
fn supersede(value: &[u8], head: Range<usize>, starts: &[usize], end: usize, edits: &mut Vec<Edit>) {
    // Most maps are small, and looking is cheaper there than hashing.
    const FEW: usize = 12;
    let entries = starts.len() / 2;
    let key = |entry: usize| key(&value[starts[2 * entry]..starts[2 * entry + 1]]);
    let entry = |entry: usize| starts[2 * entry]..starts.get(2 * entry + 2).copied().unwrap_or(end);
    let before = edits.len();
    if entries <= FEW {
        let is_again = |&earlier: &usize| {
            key(earlier).is_some_and(|earlier_key| (earlier + 1..entries).any(|later| key(later) == Some(earlier_key)))
        };
        edits.extend((0..entries).filter(is_again).map(|again| (entry(again), Bytes::new())));
    } else {
        let mut last = HashMap::with_capacity(entries);
        let superseded = (0..entries).filter_map(|index| last.insert(key(index)?, index));
        edits.extend(superseded.map(|again| (entry(again), Bytes::new())));
    }
    let gone = edits.len() - before;
    if gone > 0 {
        let mut shorter = BytesMut::new();
        put_map_head(&mut shorter, u32::try_from(entries - gone).expect("invariant: a map has fewer than 2^32 entries"));
        edits.push((head, shorter.freeze()));
    }
}

/// A key as it reads: one text can be written in several widths. The flag tells a text from other bytes.
///
/// `None`: a container, which is like no other key. Containers inside each other as keys would be compared again at each level.
fn key(bytes: &[u8]) -> Option<(bool, &[u8])> {
    let is_container = head(bytes).is_ok_and(|head| matches!(head.kind, HeadKind::Array(_) | HeadKind::Map(_)));
    (!is_container).then(|| string(bytes).map_or((false, bytes), |text| (true, text.as_bytes())))
}

fn edited(value: &[u8], mut edits: Vec<Edit>) -> Bytes {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = BytesMut::with_capacity(value.len());
    let mut at = 0;
    for (range, bytes) in edits {
        // What lies inside an entry that goes, goes with it.
        if range.start >= at {
            out.put_slice(&value[at..range.start]);
            out.put_slice(&bytes);
            at = range.end;
        }
    }
    out.put_slice(&value[at..]);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(hexadecimal: &str) -> String {
        let bytes = |digits: &str| u8::from_str_radix(digits, 16).expect("hexadecimal");
        let value: Vec<u8> = hexadecimal.split(' ').map(bytes).collect();
        let shown: Vec<String> = each_key_once(value.into()).iter().map(|byte| format!("{byte:02x}")).collect();
        shown.join(" ")
    }

    #[test]
    fn the_last_of_duplicate_keys_is_kept() {
        assert_eq!(once("83 a1 61 01 a1 62 02 a1 61 03"), "82 a1 62 02 a1 61 03");
        assert_eq!(once("92 82 01 02 01 03 80"), "92 81 01 03 80");
        assert_eq!(once("82 a1 61 01 d9 01 61 02"), "81 d9 01 61 02", "in any width");
        assert_eq!(once("82 a1 61 01 c4 01 61 02"), "82 a1 61 01 c4 01 61 02", "bytes are no text");
    }

    #[test]
    fn what_goes_goes_with_all_that_is_in_it() {
        assert_eq!(once("82 a1 61 82 01 02 01 03 a1 61 04"), "81 a1 61 04");
        assert_eq!(once("82 a1 61 04 a1 61 82 01 02 01 03"), "81 a1 61 81 01 03");
    }

    #[test]
    fn a_key_that_is_a_container_is_like_no_other() {
        let key = "82 01 01 01 02";
        assert_eq!(once(&format!("82 {key} c0 {key} c3")), "82 81 01 02 c0 81 01 02 c3", "and has each of its own keys once");
        assert_eq!(once(&format!("82 01 82 {key} c0 {key} c3 01 c0")), "81 01 c0");
    }

    #[test]
    fn a_map_of_many_keys_is_no_exception() {
        let keys: Vec<String> = (0..14).map(|key| format!("{:02x} c0", key % 13)).collect();
        let kept: Vec<String> = (1..14).map(|key| format!("{:02x} c0", key % 13)).collect();
        assert_eq!(once(&format!("8e {}", keys.join(" "))), format!("8d {}", kept.join(" ")));
    }

    #[test]
    fn other_values_stay_as_they_are() {
        for value in ["01", "c0", "80", "90", "a1 61", "92 80 91 90", "81 a1 61 81 a1 61 01"] {
            assert_eq!(once(value), value);
        }
    }
}
