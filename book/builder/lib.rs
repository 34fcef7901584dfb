//! Builds the spec book: chapters in, a folder of static pages out.
//!
//! A chapter's Markdown is prepared here (rules get headers, lists of vectors and links; tables are generated) and handed
//! to mdBook as a library, so that nobody has to install one. What is checked, is checked in the same pass: rules, JSON
//! examples, and in the built pages every link. Nothing here fetches or runs anything, and no chapter is written.

mod comparison;
mod coverage;
mod dialogue;
mod examples;
mod figures;
mod generate;
mod links;
mod prepare;
mod sequence;
pub mod serve;
mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use duplex_spec::rule::{self, Registry};
use duplex_vectors::Corpus;
use mdbook_driver::MDBook;
use mdbook_driver::config::Config;

use crate::comparison::Results;
use crate::coverage::Mutants;
use crate::examples::{Examples, Seen};
use crate::figures::Figures;
use crate::prepare::Sources;

/// Marks a folder as one that this program wrote and may therefore empty.
const OURS: &str = ".duplex-book";

/// Builds `root/book` into `out` and checks it.
///
/// `root` is the repository: besides the chapters, `root/vectors` and, where they exist, `root/spec/schemas`,
/// `root/conformance/mutants`, `root/conformance/results` and `root/bench/results.json` are read.
/// `out` is emptied first, unless it holds something that no earlier build wrote, which is an error.
pub fn build(root: &Path, out: &Path) -> Result<Report, BookError> {
    let src = root.join("book/src");
    let registry = read_rules(&src)?;
    let corpus = Corpus::load(&root.join("vectors")).map_err(|error| BookError::Vectors(error.to_string()))?;
    let examples = Examples::load(root)?;
    let mutants = Mutants::load(root)?;
    let framed = coverage::framed(root)?;
    let results = Results::load(root)?;
    let figures = Figures::load(root)?;
    let mut book = load(root, out)?;
    let chapters: BTreeMap<String, String> =
        book.book.chapters().filter_map(|c| Some((c.path.as_ref()?.to_str()?.to_owned(), c.name.clone()))).collect();
    let sources = Sources {
        registry: &registry,
        corpus: &corpus,
        chapters: &chapters,
        mutants: &mutants,
        framed: &framed,
        results: &results,
        figures: figures.as_ref(),
    };

    let mut problems = prepare::citations(&sources);
    let mut seen = Seen::default();
    book.book.for_each_chapter_mut(|chapter| {
        let Some(path) = chapter.path.as_ref().and_then(|path| path.to_str()) else { return };
        examples.check(path, &chapter.content, &mut seen, &mut problems);
        chapter.content = prepare::chapter(path, &chapter.content, &sources, &mut problems);
    });
    if !problems.is_empty() {
        return Err(BookError::Problems(Problems(problems)));
    }

    claim(out)?;
    let built = book.build().map_err(|error| BookError::Render(format!("{error:#}")));
    mark(out)?; // mdBook empties the folder, the mark included.
    built?;
    let links = links::check(out).map_err(|error| BookError::Io { path: error.0, source: error.1 })?;
    if !links.problems.is_empty() {
        return Err(BookError::Problems(Problems(links.problems)));
    }
    Ok(Report {
        chapters: chapters.len(),
        rules: registry.iter().count(),
        vectors: corpus.sessions().len() + corpus.messages().len(),
        examples: seen.examples,
        dialogues: seen.dialogues,
        shapes: seen.shapes,
        links: links.checked,
    })
}

/// What a build saw: how many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Chapters in `SUMMARY.md`.
    pub chapters: usize,
    /// Rules in them.
    pub rules: usize,
    /// Session and message vectors shown.
    pub vectors: usize,
    /// JSON examples checked.
    pub examples: usize,
    /// Dialogues that a test holds with the reference peer.
    pub dialogues: usize,
    /// Dialogues and programs that are drawings: nothing runs them.
    pub shapes: usize,
    /// Links checked in the built pages.
    pub links: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chapters, rules, vectors, examples, dialogues, shapes, links } = self;
        write!(f, "{chapters} chapters, {rules} rules, {vectors} vectors, {examples} JSON examples, ")?;
        write!(f, "{dialogues} dialogues, {shapes} shapes that nothing runs, {links} links")
    }
}

/// Why there is no book.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A chapter's rules do not parse, or an id stands twice.
    #[error("book/src/{0}")]
    Rule(#[from] rule::RuleError),
    /// A vector does not load.
    #[error("vectors/{0}")]
    Vectors(String),
    /// A JSON Schema that examples are checked with is none.
    #[error("{}: not a JSON Schema: {what}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A file of mutants does not parse.
    #[error("{}: {what}", path.display())]
    Mutants {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The results of a run do not parse.
    #[error("{}: {what}; `cargo xtask compare` writes it", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The figures of a benchmark do not parse.
    #[error("{}: {what}; `cargo xtask bench` writes it", path.display())]
    Figures {
        /// The file.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// mdBook refuses the configuration, the summary or a chapter.
    #[error("book: {0}")]
    Render(String),
    /// The output folder holds something else.
    #[error("{}: holds files that no build of the book wrote: name an empty or a new folder", .0.display())]
    NotOurs(PathBuf),
    /// Something in the chapters does not hold.
    #[error("{0}")]
    Problems(Problems),
}

/// Every problem of a build, a line each.
#[derive(Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the order of the book.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, with the line where there is one.
    pub place: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Problem {
    fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// The rules of every chapter, in the order of the book.
fn read_rules(src: &Path) -> Result<Registry, BookError> {
    let read = |name: &str| {
        let path = src.join(name);
        fs::read_to_string(&path).map_err(|source| BookError::Io { path, source })
    };
    let mut rules = Vec::new();
    for chapter in rule::chapters(&read("SUMMARY.md")?) {
        rules.extend(rule::parse_chapter(chapter, &read(chapter)?)?);
    }
    Ok(Registry::new(rules)?)
}

/// The book as mdBook sees it. The environment is left out, unlike in mdBook's own command: one input, one book.
fn load(root: &Path, out: &Path) -> Result<MDBook, BookError> {
    let render = |error| BookError::Render(format!("{error:#}"));
    let mut config = Config::from_disk(root.join("book/book.toml")).map_err(render)?;
    config.build.build_dir = std::path::absolute(out).map_err(|source| BookError::Io { path: out.to_owned(), source })?;
    MDBook::load_with_config(root.join("book"), config).map_err(render)
}

/// Makes sure that `out` exists and may be emptied.
fn claim(out: &Path) -> Result<(), BookError> {
    let fail = |source| BookError::Io { path: out.to_owned(), source };
    fs::create_dir_all(out).map_err(fail)?;
    let empty = fs::read_dir(out).map_err(fail)?.next().is_none();
    if empty || out.join(OURS).exists() { Ok(()) } else { Err(BookError::NotOurs(out.to_owned())) }
}

/// Marks `out` as a folder that the next build may empty, also after a build that failed half-way.
fn mark(out: &Path) -> Result<(), BookError> {
    let path = out.join(OURS);
    fs::write(&path, "This folder is a build of the book, and is emptied by the next one.\n")
        .map_err(|source| BookError::Io { path, source })
}
