//! Dialogues of the book, line by line, as sessions.
//!
//! | in a line | is |
//! |---|---|
//! | `-> ` and a message | sent |
//! | `<- ` and a message | the next message, compared in full; a text with `…` in it stands for any text that fits |
//! | `-> SIMPLEX/…` first of all | the tester greets by this; otherwise the runner has greeted |
//! | `<- +…`, `<- -ERR …` | the whole frame; after a refusal the target closes |
//! | two spaces, and words behind a message; a line without an arrow | a remark |
//!
//! What the target chooses is bound where it is first seen: the ids of its calls, and the names of callbacks that it hands out.
//! Nothing here runs.

use std::collections::BTreeSet;

use duplex_vectors::Session;
use serde_json::{Value, json};

/// A dialogue as it stands in a chapter.
#[derive(Debug)]
pub(crate) struct Dialogue {
    /// `calls.md:6`: the chapter below `book/src`, and the line of the fence.
    pub(crate) place: String,
    lines: Vec<String>,
}

/// The dialogues of a chapter that can be held.
pub(crate) fn of_chapter(chapter: &str, markdown: &str) -> Vec<Dialogue> {
    let mut all = Vec::new();
    let mut open: Option<Option<Dialogue>> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => all.extend(open.take().flatten()),
            (Some(info), None) => {
                let dialogue = Dialogue { place: format!("{chapter}:{}", index + 1), lines: Vec::new() };
                open = Some((info == "dialogue").then_some(dialogue));
            }
            (None, Some(Some(dialogue))) => dialogue.lines.push(line.to_owned()),
            (None, _) => {}
        }
    }
    all
}

impl Dialogue {
    /// The session that it is.
    pub(crate) fn session(&self) -> Result<Session, String> {
        let mut reader = Reader::default();
        let mut steps = Vec::new();
        for line in &self.lines {
            steps.extend(reader.steps(line).map_err(|what| format!("`{line}`: {what}"))?);
        }
        let greeting = if reader.greets { "manual" } else { "auto" };
        let session = json!({
            "id": format!("book.{}", self.place),
            "title": "the reference peer holds the dialogue as the book prints it",
            "rules": ["call.reply.id"],
            "profile": "core",
            "greeting": greeting,
            "fresh": true,
            "steps": steps,
        });
        serde_json::from_value(session).map_err(|error| error.to_string())
    }
}

/// What earlier lines said.
#[derive(Default)]
struct Reader {
    greets: bool,
    /// Ids of the target's calls, and callbacks that it handed out.
    calls: BTreeSet<u64>,
    ours: BTreeSet<String>,
    theirs: Vec<String>,
}

impl Reader {
    fn steps(&mut self, line: &str) -> Result<Vec<Value>, String> {
        let line = line.trim_start();
        let (is_sent, rest) = match (line.strip_prefix("->"), line.strip_prefix("<-")) {
            (Some(rest), _) => (true, rest.trim_start()),
            (_, Some(rest)) => (false, rest.trim_start()),
            (None, None) => return Ok(Vec::new()),
        };
        let text = rest.split("  ").next().unwrap_or(rest).trim_end();
        if text.starts_with("SIMPLEX/") && is_sent {
            self.greets = true;
            return Ok(vec![json!({"send_frame": {"text": text}})]);
        }
        if !is_sent && text.starts_with(['+', '-']) {
            let expected = json!({"expect_frame": pattern(text)});
            let refused = text.starts_with('-').then(|| json!({"expect_close": true}));
            return Ok([expected].into_iter().chain(refused).collect());
        }
        let message: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let is_theirs = (message["type"] == "req") != is_sent;
        let id = message["id"].as_u64().filter(|_| is_theirs);
        if let (false, Some(id)) = (is_sent, id) {
            self.calls.insert(id);
        }
        let mut message = self.filled(message, is_sent);
        if let Some(id) = id.filter(|id| self.calls.contains(id)) {
            message["id"] = json!(format!("$id{id}"));
        }
        Ok(vec![if is_sent { json!({"send": message}) } else { json!({"expect": message}) }])
    }

    /// Texts as templates, or as patterns.
    fn filled(&mut self, value: Value, is_sent: bool) -> Value {
        match value {
            Value::String(text) => self.text(text, is_sent),
            Value::Array(items) => items.into_iter().map(|item| self.filled(item, is_sent)).collect(),
            Value::Object(map) => map.into_iter().map(|(name, value)| (name, self.filled(value, is_sent))).collect(),
            other => other,
        }
    }

    fn text(&mut self, text: String, is_sent: bool) -> Value {
        if text.starts_with("_callback.") && !self.ours.contains(&text) {
            if is_sent && !self.theirs.contains(&text) {
                self.ours.insert(text.clone());
                return Value::String(text);
            }
            let known = self.theirs.iter().position(|known| *known == text);
            let number = known.unwrap_or_else(|| {
                self.theirs.push(text);
                self.theirs.len() - 1
            });
            return json!(format!("$callback{number}"));
        }
        if !is_sent && text.contains('…') {
            return json!({"$match": pattern(&text)});
        }
        let escape = if text.starts_with('$') { "$" } else { "" };
        Value::String(format!("{escape}{text}"))
    }
}

/// A regular expression for the text, in which `…` is anything.
fn pattern(text: &str) -> String {
    let parts = text.split('…').map(|part| {
        part.chars().fold(String::new(), |mut literal, c| {
            if c.is_ascii_punctuation() && c != '<' && c != '>' {
                literal.push('\\');
            }
            literal.push(c);
            literal
        })
    });
    format!("^{}$", parts.collect::<Vec<_>>().join(".*"))
}
