//! Draws a session as a sequence diagram: the tester's line, the target's line, and an arrow for each frame.
//!
//! The picture is for the eye. Its exact text, the steps, stands below it in the page, so that labels can be short.

use std::fmt::Write as _;

use duplex_vectors::words::{message, plain};
use duplex_vectors::{Action, BytesPart, BytesSource, FrameSource, RawFrame, Session, Step};

const WIDTH: usize = 520;
const TESTER: usize = 34;
const TARGET: usize = 486;
const ROW: usize = 30;
/// Characters of a label that fit between the two lines.
const LABEL: usize = 56;

/// What stands in one row.
enum Row {
    /// The tester sends.
    Out(String),
    /// The target sends.
    In(String),
    /// A question and its answer.
    Ask(String),
    /// No frame: what the runner does, or how to read the rows below.
    Note(String),
}

/// The diagram of a session, as an HTML block without an empty line.
pub(crate) fn draw(session: &Session) -> String {
    let mut rows = Vec::new();
    steps(&session.steps, &mut rows);
    let height = 40 + rows.len() * ROW + 8;
    let mut out = format!(
        "<figure class=\"sequence\" tabindex=\"0\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Sequence diagram of {}; its steps follow as text.\">\n\
         <path class=\"line\" d=\"M{TESTER} 24V{height}M{TARGET} 24V{height}\"/>\
         <text class=\"who\" x=\"{TESTER}\" y=\"16\">tester</text><text class=\"who\" x=\"{TARGET}\" y=\"16\">target</text>\n",
        session.id
    );
    for (index, row) in rows.iter().enumerate() {
        let y = 56 + index * ROW;
        let (text, arrow) = match row {
            Row::Out(text) => (text, format!("<path class=\"out\" d=\"M{TESTER} {y}H{TARGET}m-7 -4l7 4l-7 4\"/>")),
            Row::In(text) => (text, format!("<path class=\"in\" d=\"M{TARGET} {y}H{TESTER}m7 -4l-7 4l7 4\"/>")),
            Row::Ask(text) => (
                text,
                format!("<path class=\"ask\" d=\"M{TESTER} {y}H{TARGET}m-7 -4l7 4l-7 4M{} {}l-7 4l7 4\"/>", TESTER + 7, y - 4),
            ),
            Row::Note(text) => (text, String::new()),
        };
        let class = if arrow.is_empty() { " class=\"note\"" } else { "" };
        let _ = writeln!(out, "{arrow}<text{class} x=\"260\" y=\"{}\">{}</text>", y - 6, escaped(&cut(text)));
    }
    out.push_str("</svg></figure>\n\n");
    out
}

fn steps(steps: &[Step], rows: &mut Vec<Row>) {
    for step in steps {
        let on = step.on.as_ref().map_or_else(String::new, |name| format!("({name}) "));
        let sent = |text: String| Row::Out(format!("{on}{text}"));
        let came = |text: String| Row::In(format!("{on}{text}"));
        let noted = |text: String| Row::Note(format!("{on}{text}"));
        match &step.action {
            Action::Send(value) => rows.push(sent(message(value))),
            Action::SendFrame(frame) => rows.push(sent(frame_label(frame))),
            Action::SendBytes(bytes) => rows.push(sent(bytes_label(bytes))),
            Action::Expect(value) => rows.push(came(message(value))),
            Action::ExpectAll(all) => {
                rows.push(noted("in any order".to_owned()));
                for value in all {
                    let sequence = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    rows.extend(sequence.iter().map(|value| came(message(value))));
                }
            }
            Action::ExpectOneOf(all) => {
                rows.push(noted("one of".to_owned()));
                for (index, way) in all.iter().enumerate() {
                    let sequence = way.as_array().map_or(std::slice::from_ref(way), Vec::as_slice);
                    let is_first = |place: usize| index > 0 && place == 0 && way.is_array();
                    for (place, value) in sequence.iter().enumerate() {
                        rows.extend(is_first(place).then(|| noted("or".to_owned())));
                        rows.push(came(message(value)));
                    }
                }
            }
            Action::ExpectStream(stream) => {
                let head = format!("{} {}", stream.kind, plain(&stream.id));
                rows.extend(stream.items.iter().map(|item| came(format!("{head} {} …", plain(item)))));
                rows.push(came(format!("{head}: the end, on the last item or alone")));
            }
            Action::ExpectFrame(pattern) => rows.push(came(format!("a frame like /{pattern}/"))),
            Action::ExpectClose(_) => rows.push(came("ends the connection".to_owned())),
            Action::Fence(_) => rows.push(Row::Ask(format!("{on}fence: an echo and its answer"))),
            Action::Settle(_) => rows.push(Row::Ask(format!("{on}settle: until no handler runs"))),
            Action::Eventually(asked) => {
                rows.push(Row::Ask(format!("{on}until {} gives {}", asked.method, plain(&asked.result))));
            }
            Action::Connect(name) => rows.push(noted(format!("connection {name} opens"))),
            Action::Close(_) => rows.push(sent("ends the connection".to_owned())),
            Action::HalfClose(_) => rows.push(sent("ends its side".to_owned())),
            Action::PauseReading(_) => rows.push(noted("the tester reads no more".to_owned())),
            Action::ResumeReading(_) => rows.push(noted("the tester reads again".to_owned())),
            Action::ExpectTaken(_) => rows.push(noted("all that was sent is taken".to_owned())),
            Action::ExpectRefused(_) => rows.push(came("ends the connection, unread".to_owned())),
            Action::Repeat(repeat) => {
                rows.push(noted(format!("{} times:", plain(&repeat.times))));
                self::steps(&repeat.steps, rows);
                rows.push(noted("… and on".to_owned()));
            }
        }
    }
}

fn frame_label(frame: &FrameSource) -> String {
    let raw = |raw: &RawFrame| match raw {
        RawFrame::Text(text) => format!("frame {text:?}"),
        RawFrame::Hex(digits) => format!("frame {digits}"),
    };
    match frame {
        FrameSource::Raw(one) => raw(one),
        FrameSource::PerCodec(each) => each.json.as_ref().or(each.msgpack.as_ref()).map_or_else(|| "frame".to_owned(), raw),
        FrameSource::Damaged(damaged) => format!("damaged: {}", message(&damaged.of)),
    }
}

fn bytes_label(bytes: &BytesSource) -> String {
    let part = |part: &BytesPart| match part {
        BytesPart::Text(text) => format!("{text:?}"),
        BytesPart::Hex(digits) => digits.clone(),
        BytesPart::Frame(of) => message(of),
        BytesPart::Start(of, count) => format!("first {count} bytes of {}", message(of)),
        BytesPart::Rest(_, _) => "the rest of it".to_owned(),
        BytesPart::Repeat(text, times) => format!("{text:?} {times} times"),
    };
    let parts = if bytes.length.is_empty() { &bytes.newline } else { &bytes.length };
    format!("bytes: {}", parts.iter().map(part).collect::<Vec<_>>().join(", "))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LABEL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(steps: &str) -> String {
        let text = format!(r#"{{"id": "x.y", "title": "t", "rules": ["a.b"], "profile": "core", "steps": {steps}}}"#);
        draw(&serde_json::from_str(&text).expect("a session"))
    }

    #[test]
    fn every_frame_has_an_arrow() {
        let picture = drawn(
            r#"[{"send": {"type": "req", "id": 1, "method": "conformance.echo", "payload": "a<b"}},
                {"expect_all": [{"type": "rep", "id": 1, "payload": "a<b"}, [{"type": "rep", "id": 2, "payload": 1, "more": true}, {"type": "rep", "id": 2, "payload": 2}]]},
                {"fence": true}, {"expect_close": true}]"#,
        );
        assert_eq!(picture.matches("class=\"out\"").count(), 1);
        assert_eq!(picture.matches("class=\"in\"").count(), 4);
        assert_eq!(picture.matches("class=\"ask\"").count(), 1);
        assert!(picture.contains("req 1 echo \"a&lt;b\""), "{picture}");
        assert!(picture.contains("rep 2 1 more"), "{picture}");
    }

    #[test]
    fn a_long_label_is_cut_and_a_line_break_does_not_end_the_block() {
        let long = "x".repeat(200);
        let picture = drawn(&format!(r#"[{{"send_frame": {{"text": "{long}"}}}}, {{"send": "a\n\nb"}}]"#));
        assert!(picture.contains("xxx…"), "{picture}");
        assert!(!picture.trim_end().contains("\n\n"), "{picture}");
    }
}
