//! Checks the built pages: every relative link leads to a page and an anchor that exist, and nothing is loaded from the
//! network.
//!
//! The pages are read as HTML tags, not as Markdown: what counts is what a browser gets, generated parts included. Links to
//! other sites are not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::Problem;

/// What the check of a built book gives.
pub(crate) struct Links {
    /// How many links were followed.
    pub(crate) checked: usize,
    /// Those that lead nowhere.
    pub(crate) problems: Vec<Problem>,
}

/// Checks every page below `out`. The error names the file that cannot be read.
pub(crate) fn check(out: &Path) -> Result<Links, (PathBuf, io::Error)> {
    let mut files = BTreeSet::new();
    collect(out, Path::new(""), &mut files)?;
    let mut pages = BTreeMap::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "html")) {
        let html = fs::read_to_string(out.join(path)).map_err(|error| (out.join(path), error))?;
        pages.insert(path.clone(), Page::read(&html));
    }
    let mut links = Links { checked: 0, problems: Vec::new() };
    for (path, page) in &pages {
        for link in &page.links {
            links.checked += 1;
            if let Err(what) = follow(path, link, &files, &pages) {
                links.problems.push(Problem::new(path.display().to_string(), what));
            }
        }
    }
    Ok(links)
}

fn collect(out: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), (PathBuf, io::Error)> {
    let here = out.join(folder);
    let fail = |error| (here.clone(), error);
    for entry in fs::read_dir(&here).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = folder.join(entry.file_name());
        if entry.file_type().map_err(fail)?.is_dir() {
            collect(out, &path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

fn follow(from: &Path, link: &Link, files: &BTreeSet<PathBuf>, pages: &BTreeMap<PathBuf, Page>) -> Result<(), String> {
    let target = link.target.as_str();
    let scheme = target.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
    if scheme || target.starts_with("//") {
        let local = !link.loads || target.starts_with("data:");
        return if local { Ok(()) } else { Err(format!("loads `{target}` from the network: keep a copy in the book")) };
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = path.split('?').next().unwrap_or(path);
    let to = if path.is_empty() { Some(from.to_owned()) } else { resolve(from, path) };
    let Some(to) = to.filter(|to| files.contains(to)) else {
        return Err(format!("links to `{target}`, and there is no such page"));
    };
    match pages.get(&to) {
        Some(page) if !anchor.is_empty() && !page.ids.contains(&decoded(anchor)) => {
            Err(format!("links to `{target}`, and that page has no `{anchor}`"))
        }
        _ => Ok(()),
    }
}

/// `path` as seen from the page `from`, below the book's root; nothing if it leaves the book.
fn resolve(from: &Path, path: &str) -> Option<PathBuf> {
    let mut to = from.parent().map_or_else(PathBuf::new, Path::to_owned);
    for part in Path::new(&decoded(path)).components() {
        match part {
            Component::Normal(name) => to.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !to.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    if path.ends_with('/') {
        to.push("index.html");
    }
    Some(to)
}

/// Percent-encoding undone; what is none stays.
pub(crate) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

struct Page {
    ids: BTreeSet<String>,
    links: Vec<Link>,
}

struct Link {
    target: String,
    /// Whether a browser fetches it by itself.
    loads: bool,
}

impl Page {
    fn read(html: &str) -> Self {
        let mut page = Self { ids: BTreeSet::new(), links: Vec::new() };
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            rest = &rest[start..];
            if let Some(comment) = rest.strip_prefix("<!--") {
                rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
                continue;
            }
            let (name, attributes, behind) = tag(&rest[1..]);
            page.take(name, &attributes);
            // The text of these is no HTML.
            let raw = ["script", "style"].into_iter().find(|raw| name.eq_ignore_ascii_case(raw));
            rest = raw.map_or(behind, |raw| behind.find(&format!("</{raw}")).map_or("", |end| &behind[end..]));
        }
        page
    }

    fn take(&mut self, tag: &str, attributes: &[(String, String)]) {
        for (name, value) in attributes {
            match name.as_str() {
                "id" => drop(self.ids.insert(value.clone())),
                "href" => self.links.push(Link { target: value.clone(), loads: tag == "link" }),
                "src" => self.links.push(Link { target: value.clone(), loads: true }),
                _ => {}
            }
        }
    }
}

/// A tag's name, its attributes, and what stands behind its `>`.
fn tag(text: &str) -> (&str, Vec<(String, String)>, &str) {
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return (name, attributes, rest);
        }
        if let Some(behind) = rest.strip_prefix('>') {
            return (name, attributes, behind);
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=>".contains(c)).unwrap_or(rest.len());
        let (key, behind) = rest.split_at(end);
        rest = behind.trim_start();
        if let Some(value) = rest.strip_prefix('=') {
            let value = value.trim_start();
            let quote = value.chars().next().filter(|c| "\"'".contains(*c));
            let (text, behind) = match quote {
                Some(quote) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
                None => value.split_at(value.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(value.len())),
            };
            attributes
                .push((key.to_ascii_lowercase(), text.replace("&amp;", "&").replace("&quot;", "\"").replace("&#x27;", "'")));
            rest = behind;
        } else if key.is_empty() {
            // A lone `=`: no attribute, and no reason to stand still.
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        }
    }
}
