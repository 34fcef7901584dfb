//! JUnit's XML, as build servers read it: a suite for each configuration, a test for each case in it.
//!
//! A warning passes and says so; a known failure, a blocked case and one that the target does not claim are skipped, with the
//! reason; a harness fault is an error. What XML cannot hold, the library leaves out.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::event::{CaseFinished, Verdict};
use crate::report::failure::explain;
use crate::report::human::Options;
use crate::report::layout::printable;
use crate::report::tally::Tally;

/// Checks that belong to no configuration.
const TARGET: &str = "the target contract";

/// The run as one XML document.
pub(super) fn render(tally: &Tally, options: &Options) -> Result<String, SerializeError> {
    // Wide enough for a dialogue; a build server wraps by itself. Colours are left out by the library.
    let options = Options { width: 110, ..options.clone() };
    let mut report = Report::new(printable(&tally.name()));
    if let Some(ended) = &tally.ended {
        report.set_time(Duration::from_millis(ended.duration_ms));
    }
    let mut suites: BTreeMap<usize, TestSuite> = BTreeMap::new();
    for finished in &tally.finished {
        let at = tally.configurations.iter().position(|one| Some(one.configuration) == finished.configuration);
        let name = finished.configuration.map_or_else(|| TARGET.to_owned(), |at| at.to_string());
        let suite = suites.entry(at.map_or(0, |at| at + 1)).or_insert_with(|| TestSuite::new(name));
        suite.add_test_case(test(finished, &options));
    }
    report.add_test_suites(suites.into_values());
    report.add_test_suites(not_run(tally));
    report.add_test_suites(stale(tally));
    report.to_string()
}

fn test(finished: &CaseFinished, options: &Options) -> TestCase {
    let known = finished.known.as_ref();
    let mut status = match finished.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Warn if known.is_none() => TestCaseStatus::success(),
        Verdict::Fail if known.is_none() => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::HarnessFault => TestCaseStatus::non_success(NonSuccessKind::Error),
        Verdict::Fail | Verdict::Warn | Verdict::Blocked => TestCaseStatus::skipped(),
    };
    let told = explain(finished, "", options);
    if let Some(finding) = &finished.finding {
        let summary = printable(&finding.summary);
        status.set_message(known.map_or(summary, |reason| format!("known failure: {}", printable(reason))));
        status.set_type(finding.rule.clone());
        status.set_description(told.clone());
    }
    let mut test = TestCase::new(finished.case.clone(), status);
    test.set_classname(finished.rules.first().cloned().unwrap_or_default());
    test.set_time(Duration::from_millis(finished.duration_ms));
    if finished.verdict == Verdict::Warn && known.is_none() {
        test.set_system_out(format!("warning: a SHOULD does not hold\n{told}"));
    }
    test
}

/// Cases that run nowhere, skipped with the reason, so that the denominator is the suite.
fn not_run(tally: &Tally) -> Option<TestSuite> {
    let mut suite = TestSuite::new("not run");
    for one in &tally.excluded {
        let mut status = TestCaseStatus::skipped();
        status.set_message(if one.is_claim { format!("not claimed: {}", one.why) } else { one.why.clone() });
        let mut test = TestCase::new(one.case.clone(), status);
        test.set_classname(one.rules.first().cloned().unwrap_or_default());
        suite.add_test_case(test);
    }
    Some(suite).filter(|suite| !suite.test_cases.is_empty())
}

/// Known failures that are out of date fail the run, so they fail here.
fn stale(tally: &Tally) -> Option<TestSuite> {
    let mut suite = TestSuite::new("known failures that are out of date");
    for one in tally.ended.iter().flat_map(|ended| &ended.stale) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message("remove it, or run with --bless");
        suite.add_test_case(TestCase::new(printable(one), status));
    }
    Some(suite).filter(|suite| !suite.test_cases.is_empty())
}
