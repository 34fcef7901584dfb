//! What a run is narrowed to: axes, profiles and filters over ids, with suggestions for the ones that match nothing.
//!
//! Whether the target claims what is left is the plan's question.

use std::fmt;

use duplex_vectors::{Codec, Framing, Profile, Role, Transport};

use crate::event::Configuration;

/// What was asked for. An empty list is no restriction.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Transports to run over.
    pub transports: Vec<Transport>,
    /// Roles of the target.
    pub roles: Vec<Role>,
    /// Framings to run in.
    pub framings: Vec<Framing>,
    /// Codecs to run in.
    pub codecs: Vec<Codec>,
    /// Profiles whose cases run.
    pub profiles: Vec<Profile>,
    /// Cases that match any of these run.
    pub filters: Vec<Filter>,
}

impl Selection {
    /// Whether cases of this configuration were asked for.
    #[must_use]
    pub fn has_configuration(&self, configuration: Configuration) -> bool {
        let Configuration { transport, role, framing, codec } = configuration;
        admits(&self.transports, transport)
            && admits(&self.roles, role)
            && admits(&self.framings, framing)
            && admits(&self.codecs, codec)
    }

    /// Whether a case with this id, deciding these rules, was asked for.
    #[must_use]
    pub fn has_case(&self, id: &str, rules: &[String]) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.has_case(id, rules))
    }

    /// Whether cases of this profile were asked for.
    #[must_use]
    pub fn has_profile(&self, profile: Profile) -> bool {
        admits(&self.profiles, profile)
    }

    /// Whether cases are left out by a filter or a profile.
    #[must_use]
    pub fn narrows_cases(&self) -> bool {
        !self.filters.is_empty() || !self.profiles.is_empty()
    }
}

/// Whether a list of wanted values, empty for all, has this one.
#[must_use]
pub fn admits<T: PartialEq>(wanted: &[T], value: T) -> bool {
    wanted.is_empty() || wanted.contains(&value)
}

/// A pattern over case ids and rule ids: `=id` is exactly that one, one with `*` or `?` is a glob over the whole id,
/// anything else is a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    kind: FilterKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FilterKind {
    Exact,
    Glob,
    Part,
}

impl Filter {
    /// Reads a filter; an empty one, which would match everything, is an error.
    pub fn parse(text: &str) -> Result<Self, EmptyFilter> {
        let (kind, rest) = match text.strip_prefix('=') {
            Some(exact) => (FilterKind::Exact, exact),
            None if text.contains(['*', '?']) => (FilterKind::Glob, text),
            None => (FilterKind::Part, text),
        };
        if rest.trim().is_empty() { Err(EmptyFilter) } else { Ok(Self { text: rest.to_owned(), kind }) }
    }

    /// Whether a case with this id, deciding these rules, matches.
    #[must_use]
    pub fn has_case(&self, id: &str, rules: &[String]) -> bool {
        self.has(id) || rules.iter().any(|rule| self.has(rule))
    }

    /// Whether this id matches.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        match self.kind {
            FilterKind::Exact => id == self.text,
            FilterKind::Glob => glob(self.text.as_bytes(), id.as_bytes()),
            FilterKind::Part => id.contains(&self.text),
        }
    }

    /// The pattern without the sign that makes it exact.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.kind == FilterKind::Exact { "=" } else { "" };
        write!(f, "{sign}{}", self.text)
    }
}

/// A filter without text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a filter needs text: part of a case or rule id, a glob such as `call.*`, or `=id` for exactly one")]
pub struct EmptyFilter;

/// Whether a text matches a glob as a whole. Linear in practice: only the last star is tried again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|&c| c == b'?' || c == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// The ids nearest to a text that matches none: at most `count`, the nearest first, none that is far off.
#[must_use]
pub fn nearest<'a>(text: &str, ids: impl IntoIterator<Item = &'a str>, count: usize) -> Vec<&'a str> {
    let text = text.trim_matches(['*', '?']);
    let words: Vec<&str> = words(text).collect();
    let mut scored: Vec<(usize, &str)> = ids
        .into_iter()
        .filter_map(|id| {
            let whole = distance(text, id);
            let by_words = words
                .iter()
                .map(|word| self::words(id).map(|other| distance(word, other)).min().unwrap_or(word.len()))
                .sum::<usize>();
            let score = whole.min(by_words * 2 + 1);
            (score <= text.chars().count() / 2 + 1).then_some((score, id))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored.into_iter().take(count).map(|(_, id)| id).collect()
}

fn words(id: &str) -> impl Iterator<Item = &str> {
    id.split(['.', '-', ':', '_']).filter(|word| !word.is_empty())
}

/// How many letters must be changed, added or removed to make one text of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(filter: &str, id: &str) -> bool {
        Filter::parse(filter).expect("a filter").has(id)
    }

    #[test]
    fn a_filter_is_a_part_a_glob_or_exact() {
        assert!(has("reply", "call.reply.id"));
        assert!(has("call.*", "call.reply.id"));
        assert!(!has("call.*", "a.call.reply"));
        assert!(has("*.id", "call.reply.id"));
        assert!(has("c?ll*id", "call.reply.id"));
        assert!(has("=call.reply.id", "call.reply.id"));
        assert!(!has("=call.reply", "call.reply.id"));
        assert_eq!(Filter::parse(" "), Err(EmptyFilter));
        assert_eq!(Filter::parse("="), Err(EmptyFilter));
    }

    #[test]
    fn near_ids_are_suggested_and_far_ones_are_not() {
        let ids = ["call.reply.id", "call.reply.once", "greeting.form", "streaming.last"];
        assert_eq!(nearest("call.reply.ids", ids, 1), ["call.reply.id"]);
        assert_eq!(nearest("greting", ids, 3), ["greeting.form"]);
        assert_eq!(nearest("zzzzzz", ids, 3), Vec::<&str>::new());
    }
}
