//! `--report`: opens the files of the reports before anything runs.

use std::fs;
use std::path::Path;

use crate::report::Report;
use crate::report::file::{FileReport, Unwritten};
use crate::report::human::Options;

use super::args::Args;
use super::stop::Stop;

/// Every report that is a file. A file that is two things at once is a slip.
pub(super) fn create(args: &Args, options: &Options, unwritten: &Unwritten) -> Result<Vec<Box<dyn Report>>, Stop> {
    let mut taken: Vec<(&Path, &str)> = Vec::new();
    taken.extend(args.from.as_deref().map(|path| (path, "--from")));
    taken.extend(args.events.as_deref().map(|path| (path, "--events")));
    let mut reports: Vec<Box<dyn Report>> = Vec::new();
    for wanted in &args.report {
        if let Some((_, by)) = taken.iter().find(|(path, _)| is_same(path, &wanted.path)) {
            let form = wanted.form.name();
            let message = format!("`--report {form}={}` would overwrite what `{by}` names", wanted.path.display());
            return Err(Stop::usage(message, format!("--report {form}=other-file")).advise("each report is a file of its own"));
        }
        taken.push((&wanted.path, "--report"));
        let report = FileReport::create(wanted, options.clone(), unwritten.clone());
        reports.push(Box::new(report.map_err(|error| Stop::write(&wanted.path, &error))?));
    }
    Ok(reports)
}

/// Whether two paths are one file, by name or, where it exists, on the disk.
fn is_same(a: &Path, b: &Path) -> bool {
    let on_disk = |path| fs::canonicalize(path).ok();
    a == b || on_disk(a).zip(on_disk(b)).is_some_and(|(a, b)| a == b && a.is_file())
}
