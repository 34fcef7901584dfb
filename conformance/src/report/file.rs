//! Reports that are files: chosen with `--report FORM=FILE`, made when the run is over, live or from saved events.
//!
//! The file is opened before the run starts, so that a path that cannot be written is told at once, and what an earlier run
//! left there cannot pass for this one's.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::event::Event;
use crate::report::Report;
use crate::report::human::Options;
use crate::report::tally::Tally;
use crate::report::{badge, html, junit, markdown, results};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One page for a browser, with nothing beside it.
    Html,
    /// XML, as build servers read it.
    Junit,
    /// Short, for a comment or a README.
    Markdown,
    /// A picture in SVG.
    Badge,
    /// What shields.io makes a badge of.
    Shields,
    /// Rule by rule in JSON, small: what the book compares.
    Results,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 6] = [Self::Html, Self::Junit, Self::Markdown, Self::Badge, Self::Shields, Self::Results];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Badge => "badge",
            Self::Shields => "shields",
            Self::Results => "results",
        }
    }

    fn render(self, tally: &Tally, options: &Options) -> io::Result<String> {
        match self {
            Self::Html => html::render(tally, options).map_err(io::Error::other),
            Self::Junit => junit::render(tally, options).map_err(io::Error::other),
            Self::Markdown => markdown::render(tally, options).map_err(io::Error::other),
            Self::Badge => badge::svg(tally).map_err(io::Error::other),
            Self::Shields => Ok(badge::shields(tally)),
            Self::Results => Ok(results::render(tally)),
        }
    }
}

/// A form and a path: `html=report.html`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The form.
    pub form: Form,
    /// Where it goes.
    pub path: PathBuf,
}

impl Wanted {
    /// Reads `FORM=FILE`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names = || Form::ALL.map(Form::name).join(", ");
        let (form, path) = text.split_once('=').ok_or_else(|| format!("a form and a file, such as html={text}"))?;
        let form = Form::ALL.into_iter().find(|one| one.name() == form);
        let form = form.ok_or_else(|| format!("the forms are {}", names()))?;
        if path.is_empty() {
            Err(format!("a file, such as {}=report", form.name()))
        } else {
            Ok(Self { form, path: path.into() })
        }
    }
}

/// What could not be written, told when the run is over.
#[derive(Clone, Debug, Default)]
pub struct Unwritten(Rc<RefCell<Vec<(PathBuf, io::Error)>>>);

impl Unwritten {
    /// The first path that could not be written, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<(PathBuf, io::Error)> {
        let mut all = self.0.borrow_mut();
        if all.is_empty() { None } else { Some(all.remove(0)) }
    }
}

/// A report that is a file.
#[derive(Debug)]
pub struct FileReport {
    form: Form,
    path: PathBuf,
    file: File,
    is_written: bool,
    tally: Tally,
    options: Options,
    unwritten: Unwritten,
}

impl FileReport {
    /// Opens the file. The error is that of the file system.
    pub fn create(wanted: &Wanted, options: Options, unwritten: Unwritten) -> io::Result<Self> {
        let file = File::create(&wanted.path)?;
        let (form, path) = (wanted.form, wanted.path.clone());
        let options = Options { book: from_file(&options.book, &path), ..options };
        Ok(Self { form, path, file, is_written: false, tally: Tally::default(), options, unwritten })
    }

    fn write(&mut self) -> io::Result<()> {
        let text = self.form.render(&self.tally, &self.options)?;
        self.file.write_all(text.as_bytes())?;
        self.file.flush()
    }
}

impl Report for FileReport {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.tally.event(event);
        match event {
            Event::RunStarted { target, .. } => self.options.target.clone_from(target),
            Event::RunFinished { .. } => match self.write() {
                Ok(()) => self.is_written = true,
                Err(error) => self.unwritten.0.borrow_mut().push((self.path.clone(), error)),
            },
            _ => {}
        }
        Ok(())
    }
}

impl Drop for FileReport {
    /// A run that has no end has no report: what would stay is an empty file.
    fn drop(&mut self) {
        if !self.is_written && self.file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            // Nothing more can be done about a file that does not go.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renders a whole run in one form.
pub fn render(form: Form, events: &[Event], options: &Options) -> io::Result<String> {
    let mut tally = Tally::default();
    events.iter().for_each(|event| tally.event(event));
    form.render(&tally, options)
}

/// The book as seen from a report's file: an address is the same from everywhere, a folder is not.
fn from_file(book: &str, file: &Path) -> String {
    let absolute = (std::path::absolute(book), std::path::absolute(file));
    let (Ok(book_path), Ok(file)) = absolute else { return book.to_owned() };
    if book.contains("://") || Path::new(book).is_absolute() {
        return book.to_owned();
    }
    let folder: Vec<_> = file.parent().unwrap_or(Path::new("/")).components().collect();
    let to: Vec<_> = book_path.components().collect();
    let shared = folder.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), folder.len() - shared);
    let down = to[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    if parts.is_empty() { String::new() } else { format!("{}/", parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_asked_for_by_form_and_file() {
        assert_eq!(Wanted::parse("html=a=b.html"), Ok(Wanted { form: Form::Html, path: "a=b.html".into() }));
        assert!(Wanted::parse("report.html").is_err_and(|what| what.contains("html=report.html")));
        assert!(Wanted::parse("pdf=x").is_err_and(|what| what.contains("junit")));
        assert!(Wanted::parse("html=").is_err_and(|what| what.contains("html=report")));
    }

    #[test]
    fn links_to_the_book_start_at_the_report() {
        assert_eq!(from_file("target/book/", Path::new("report.html")), "target/book/");
        assert_eq!(from_file("target/book/", Path::new("target/report.html")), "book/");
        assert_eq!(from_file("target/book/", Path::new("out/a/report.html")), "../../target/book/");
        assert_eq!(from_file("https://book.example/", Path::new("out/report.html")), "https://book.example/");
    }
}
