//! Dialogues: blocks fenced `dialogue`, in which `->` is what the caller's side sends and `<-` what comes back.
//!
//! A block fenced `dialogue` is held with the reference peer, by the test `book` of the target `reference`; one fenced
//! `dialogue,shape` draws what no single peer can show, and is only counted. Here dialogues are told apart and rendered.

use std::fmt::Write as _;

/// What a fence says of a dialogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A test holds it.
    Held,
    /// A drawing.
    Shape,
}

/// The kind that the words behind a fence's mark ask for.
pub(crate) fn kind(info: &str) -> Option<Kind> {
    match info {
        "dialogue" => Some(Kind::Held),
        "dialogue,shape" => Some(Kind::Shape),
        _ => None,
    }
}

/// A line of a dialogue: who sends, what, and a remark.
pub(crate) struct Line<'a> {
    /// What stands before the arrow: the name of a connection, in a shape.
    on: &'a str,
    pub(crate) is_sent: bool,
    pub(crate) frame: &'a str,
    /// Spaces and words behind the frame.
    remark: &'a str,
}

/// The line, if it has an arrow.
pub(crate) fn line(text: &str) -> Option<Line<'_>> {
    let at = text.find("->").into_iter().chain(text.find("<-")).min()?;
    let on = &text[..at];
    if on.split_whitespace().count() > 1 || on.contains(|c: char| !c.is_alphanumeric() && c != ' ') {
        return None;
    }
    let rest = text[at + 2..].strip_prefix(' ')?;
    let end = rest.find("  ").unwrap_or(rest.len());
    Some(Line { on, is_sent: text[at..].starts_with("->"), frame: &rest[..end], remark: &rest[end..] })
}

/// The block as HTML, without an empty line.
pub(crate) fn html(lines: &[&str]) -> String {
    // Named as a language that is highlighted already, it is left alone.
    let mut out = String::from("<pre class=\"dialogue\"><code class=\"language-text hljs\">");
    for text in lines {
        match line(text) {
            Some(Line { on, is_sent, frame, remark }) => {
                let (class, arrow) = if is_sent { ("out", "-&gt;") } else { ("in", "&lt;-") };
                let _ = write!(out, "{}<span class=\"{class}\">{arrow} {}</span>", escaped(on), escaped(frame));
                if !remark.is_empty() {
                    let _ = write!(out, "<span class=\"remark\">{}</span>", escaped(remark));
                }
            }
            None => {
                let _ = write!(out, "<span class=\"remark\">{}</span>", escaped(text));
            }
        }
        out.push('\n');
    }
    out.push_str("</code></pre>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_arrow_a_frame_and_a_remark() {
        let one = line("b <- {\"a\":\"x y\"}   a remark").expect("a line of a dialogue");
        assert_eq!((one.on, one.is_sent, one.frame, one.remark), ("b ", false, "{\"a\":\"x y\"}", "   a remark"));
        assert!(line("-> SIMPLEX/1.0;json").is_some_and(|line| line.is_sent));
        for other in ["   the caller ends it", "a map -> b", "fn f() -> u8 {", "->x", ""] {
            assert!(line(other).is_none(), "{other}");
        }
    }
}
