//! The transport of the programs, and a tap on it: what a side has put on the wire, frame by frame, held to be legal.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use duplex_proto::codec::{ErrorMember, IdMember, Kind, Message, More};
use duplex_proto::{Codec, Deframer, Framing, Id, Raw};

/// One direction: bytes that were written and have not arrived, in pieces.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) pieces: VecDeque<Bytes>,
    /// What is written from now on is lost, and behind the pieces comes the end.
    pub(crate) is_ended: bool,
}

impl Pipe {
    /// Takes what was written, as pieces of these lengths in turn; as it is if there are none.
    pub(crate) fn write(&mut self, mut bytes: Bytes, lengths: &[usize]) {
        if self.is_ended {
            return;
        }
        for &length in lengths.iter().cycle() {
            if length >= bytes.len() {
                break;
            }
            self.pieces.push_back(bytes.split_to(length));
        }
        self.pieces.push_back(bytes);
    }

    /// Cuts the direction so many bytes from here; the rest never arrives.
    pub(crate) fn cut(&mut self, after: usize) {
        let mut left = after;
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
        self.pieces.retain(|piece| !piece.is_empty());
        self.is_ended = true;
    }
}

impl Pipe {
    /// Cuts a direction of messages so many from here.
    pub(crate) fn cut_messages(&mut self, after: usize) {
        self.pieces.truncate(after);
        self.is_ended = true;
    }
}

/// What a frame carried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sent {
    Item(Raw),
    Last(Raw),
    End,
    Error(i64),
}

impl Sent {
    pub(crate) fn of(message: &Message) -> Self {
        match &message.error {
            ErrorMember::Error(error) => Self::Error(error.code.0),
            ErrorMember::Malformed => panic!("a malformed error was sent"),
            ErrorMember::Absent if message.more == More::Yes => Self::Item(message.payload.clone()),
            ErrorMember::Absent if message.is_itemless_end() => Self::End,
            ErrorMember::Absent => Self::Last(message.payload.clone()),
        }
    }

    pub(crate) fn is_last(&self) -> bool {
        !matches!(self, Self::Item(_))
    }

    pub(crate) fn item(&self) -> Option<&Raw> {
        match self {
            Self::Item(item) | Self::Last(item) => Some(item),
            Self::End | Self::Error(_) => None,
        }
    }
}

/// Everything that one side has written.
pub(crate) struct Tap {
    codec: Arc<dyn Codec>,
    deframer: Deframer,
    buffer: BytesMut,
    is_greeted: bool,
    /// The request frames of each call, in order.
    pub(crate) requests: BTreeMap<Id, Vec<Sent>>,
    /// The reply frames to each call of the other side, in order.
    pub(crate) replies: HashMap<Id, Vec<Sent>>,
    methods: HashMap<Id, Raw>,
    pub(crate) notifications: usize,
}

impl Tap {
    pub(crate) fn new(framing: Framing, codec: Arc<dyn Codec>) -> Self {
        Self {
            codec,
            deframer: Deframer::new(framing),
            buffer: BytesMut::new(),
            is_greeted: false,
            requests: BTreeMap::new(),
            replies: HashMap::new(),
            methods: HashMap::new(),
            notifications: 0,
        }
    }

    pub(crate) fn see(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        while let Some(frame) = self.deframer.next_frame(&mut self.buffer, usize::MAX).expect("there is no limit") {
            if !frame.is_empty() && std::mem::replace(&mut self.is_greeted, true) {
                self.frame(frame);
            }
        }
        assert!(self.buffer.is_empty(), "whole frames are written");
    }

    fn frame(&mut self, frame: Bytes) {
        let message = self.codec.decode(frame, usize::MAX).expect("what is sent can be decoded");
        let sent = Sent::of(&message);
        let id = match message.id {
            IdMember::Valid(id) => id,
            IdMember::Absent => {
                assert_eq!((message.kind, message.more), (Kind::Request, More::No), "a notification is one request frame");
                self.notifications += 1;
                return;
            }
            IdMember::Invalid => panic!("an invalid id was sent"),
        };
        let frames = match message.kind {
            Kind::Request => {
                let next = self.requests.len() as u64 + 1;
                let method = message.method.expect("a request has a method");
                assert_eq!(self.methods.entry(id).or_insert_with(|| method.clone()), &method, "the method stays");
                assert!(self.requests.contains_key(&id) || id.number() == next, "ids count up from 1 without gaps");
                self.requests.entry(id).or_default()
            }
            Kind::Reply => self.replies.entry(id).or_default(),
            Kind::Unknown => panic!("a message without a type was sent"),
        };
        assert!(!frames.last().is_some_and(Sent::is_last), "{:?}: a frame behind the last one of call {id:?}", message.kind);
        frames.push(sent);
    }
}
