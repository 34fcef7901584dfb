//! Text on a terminal: colours by meaning, wrapping, counts in words. Whoever prints decides whether colours reach the
//! screen; here they are always written.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// Headings and names.
pub(crate) const BOLD: Style = Style::new().bold();
/// What is less important.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// What holds.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What fails.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What a person may want to look at.
pub(super) const CARE: Style = AnsiColor::Yellow.on_default();
/// What belongs to the tester.
pub(super) const OURS: Style = AnsiColor::Cyan.on_default();

/// A text in a style.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Breaks a text into lines of at most `width` characters, at spaces where there are any.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(20);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let mut word = word;
            if !line.is_empty() {
                if count(&line) + 1 + count(word) <= width {
                    line.push(' ');
                    line.push_str(word);
                    continue;
                }
                lines.push(std::mem::take(&mut line));
            }
            while count(word) > width {
                let cut = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                lines.push(word[..cut].to_owned());
                word = &word[cut..];
            }
            line = word.to_owned();
        }
        lines.push(line);
    }
    lines
}

/// How many characters a text has.
pub(super) fn count(text: &str) -> usize {
    text.chars().count()
}

/// A text cut to `width` characters, with an ellipsis where it was cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if count(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Control characters made visible, so that a target's output cannot move the cursor.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Vec<char> = if c.is_control() { c.escape_default().collect() } else { vec![c] };
            escaped
        })
        .collect()
}

/// `1 case`, `3 cases`.
pub(super) fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A duration in the unit that fits: `0.42 s`, `12 s`, `2 min 5 s`.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        10_000..120_000 => format!("{} s", ms / 1000),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// A heading with a rule to the right margin.
pub(super) fn heading(text: &str, width: usize) -> String {
    let line = "─".repeat(width.saturating_sub(count(text) + 1));
    format!("{} {}", paint(BOLD, text), paint(FAINT, line))
}
