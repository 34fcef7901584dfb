//! Two cores with each other, in every codec and framing that go together.

use std::collections::HashSet;
use std::sync::Arc;

use duplex_proto::connection::{CallEnd, Ended, Read, Reply};
use duplex_proto::{Codec, Framing, Id, Json, MessagePack, Raw, RemoteError};
use proptest::prelude::*;

use crate::pair::Pair;

type MakeCodec = fn() -> Arc<dyn Codec>;

fn configurations() -> [(Framing, MakeCodec); 3] {
    [(Framing::Length, || Arc::new(Json)), (Framing::Newline, || Arc::new(Json)), (Framing::Length, || Arc::new(MessagePack))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn streams_go_both_ways_whatever_the_pieces(
        configuration in 0..3_usize,
        piece in 1..40_usize,
        items in proptest::collection::vec(".{0,12}", 1..8),
    ) {
        let (framing, codec) = configurations()[configuration];
        let mut pair = Pair::new(framing, codec);
        let format = pair.initiator.core.format();
        let raw = |text: &String| Raw::encode(format, text).expect("a string can be encoded");
        let method = Arc::from("echo");
        let (first, rest) = items.split_first().expect("at least one item");
        let id = pair.initiator.core.call(&method, Some(&raw(first)), true, None).expect("open");
        for item in rest {
            pair.initiator.core.send_arg(id, Some(&raw(item)), true, None).expect("open");
        }
        pair.initiator.core.send_arg(id, None, false, None).expect("open");
        pair.run(piece);

        let key = pair.acceptor.started[0];
        while let Read::Item(item) = pair.acceptor.core.read_args(key) {
            pair.acceptor.core.send_item(key, &item, None).expect("open");
        }
        prop_assert_eq!(pair.acceptor.core.read_args(key), Read::End);
        pair.acceptor.core.reply(key, &Reply::End, None).expect("open");
        pair.acceptor.core.release(key);
        pair.run(piece);

        for item in &items {
            prop_assert_eq!(pair.initiator.core.read_reply(id), Read::Item(raw(item)));
        }
        prop_assert_eq!(pair.initiator.core.read_reply(id), Read::End);
        pair.initiator.core.forget(id);
        prop_assert_eq!(pair.initiator.core.outgoing() + pair.acceptor.core.handlers() + pair.acceptor.core.incoming(), 0);
    }
}

#[test]
fn both_sides_may_have_a_call_1() {
    for (framing, codec) in configurations() {
        let mut pair = Pair::new(framing, codec);
        let format = pair.initiator.core.format();
        let one = Raw::encode(format, &1).expect("a number can be encoded");
        let there = pair.initiator.core.call(&Arc::from("m"), Some(&one), false, None).expect("open");
        let back = pair.acceptor.core.call(&Arc::from("m"), Some(&one), false, None).expect("open");
        assert_eq!(there, back);
        pair.run(usize::MAX);
        let data = RemoteError::new(-5, "no").with_data(&one.decode::<i32>().ok()).expect("a number can be encoded");
        let error = RemoteError { data: data.data.map(|data| data.to_format(format).expect("a number")), ..data };
        let key = pair.acceptor.started[0];
        pair.acceptor.core.reply(key, &Reply::Error(error.clone()), None).expect("open");
        pair.run(1);
        assert!(
            matches!(pair.initiator.core.read_reply(there), Read::Failed(duplex_proto::connection::Failure::Remote(seen)) if seen == error)
        );
        assert_eq!(pair.acceptor.core.read_reply(back), Read::Pending);
    }
}

#[test]
fn what_the_end_of_a_connection_does_is_in_the_order_of_the_calls() {
    let mut pair = Pair::new(Framing::Length, || Arc::new(Json));
    for _ in 0..32 {
        for end in [&mut pair.initiator, &mut pair.acceptor] {
            end.core.call(&Arc::from("m"), None, false, None).expect("open");
        }
    }
    pair.run(usize::MAX);
    let started = std::mem::take(&mut pair.acceptor.started);
    pair.acceptor.core.close();
    let ended = pair.acceptor.ended();
    let served: Vec<Ended> = started.into_iter().map(|key| Ended::Served(key, CallEnd::Closed)).collect();
    let called = (1..=32).filter_map(Id::new).map(|id| Ended::Called(id, CallEnd::Closed));
    assert_eq!(ended, served.into_iter().chain(called).collect::<Vec<_>>());
}

#[test]
fn what_is_written_goes_where_what_was_written_before_lay() {
    for overlaps in [false, true] {
        let mut core = Pair::new(Framing::Length, || Arc::new(Json)).initiator.core;
        let (mut places, mut taken) = (HashSet::new(), Vec::new());
        for _ in 0..8 {
            core.keepalive().expect("open");
            let bytes = core.poll_transmit().expect("a frame");
            if overlaps {
                core.keepalive().expect("open");
            }
            places.insert(bytes.as_ptr());
            core.handle_written(bytes.len());
            core.reuse(bytes);
            // Whatever was let go of is taken: only what the core kept can be where it was.
            taken.extend((0..16).map(|_| Vec::<u8>::with_capacity(8)));
        }
        assert_eq!(places.len(), if overlaps { 2 } else { 1 });
    }
}
